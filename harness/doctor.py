"""What this machine can and cannot do for vipdrill, and what to do about it."""

from __future__ import annotations

from pathlib import Path


def user_namespace_cure() -> str:
    """What lets an ordinary user make user namespaces on this machine, as far as can be told."""
    switches = (
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0", "1"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "1", "0"),
        ("/proc/sys/user/max_user_namespaces", "15000", "0"),
    )
    for path, good, bad in switches:
        switch = Path(path)
        if switch.exists() and switch.read_text().strip() == bad:
            key = path.removeprefix("/proc/sys/").replace("/", ".")
            return f"let an administrator run `sysctl -w {key}={good}`, or run as root"
    return "run as root, or in a container that allows user namespaces"
