"""What this machine can and cannot do for vipdrill, and what to do about it.

Everything is tried, in a child of its own and in fresh namespaces, rather than guessed from versions;
nothing of the host is changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.image.ids import id_map
from harness.kernel import syscalls as sc
from harness.kernel.trial import in_namespaces

_NEEDED_FREE_BYTES = 1_500_000_000
_NEEDED_FILES = 4096


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was seen, and the cure where it is not as it should be."""

    name: str
    ok: bool
    saw: str
    cure: str = ""
    required: bool = False

    def line(self) -> str:
        """One line for a person; the mark does not rely on colour."""
        mark = "ok      " if self.ok else "MISSING " if self.required else "without "
        return f"{mark}{self.name:<26}{self.saw}" + (f"; {self.cure}" if self.cure and not self.ok else "")


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


def examine() -> list[Finding]:
    """Look at everything; never raises."""
    return [*_identity(), *_image(), *_kernel(), *_kernels(), *_virtual_time(), *_room()]


# -- who may do what -----------------------------------------------------------------------------------


def _identity() -> Iterator[Finding]:
    refused = in_namespaces(lambda: None)
    who = "root" if os.geteuid() == 0 else "an ordinary user"
    yield Finding(
        "private namespaces",
        refused is None,
        f"{who} can make them" if refused is None else f"refused to {who}: {refused}",
        user_namespace_cure(),
        required=True,
    )
    ids = id_map()
    yield Finding(
        "user ids inside",
        ids.complete,
        "a full range" if ids.complete else "only this user's own id",
        "daemons cannot change their user: ask for `usermod --add-subuids 100000-165535 "
        "--add-subgids 100000-165535 USER`, and install uidmap",
    )


def _image() -> Iterator[Finding]:
    from harness.image import store
    from harness.image.spec import ImageSpec

    spec = ImageSpec()
    found = store.find(spec)
    builder = shutil.which("mmdebstrap")
    yield Finding(
        "node image",
        found is not None or builder is not None,
        spec.key
        if found
        else "not built yet; the first run builds it"
        if builder
        else "not built, no mmdebstrap",
        "install the Debian package mmdebstrap (ci/demo does)",
        required=True,
    )


# -- what the kernel has -------------------------------------------------------------------------------


def _kernel() -> Iterator[Finding]:
    required = (
        ("overlay file system", _overlay, "load the module overlay"),
        ("bridge and veth", _bridge, "load the modules bridge and veth"),
        ("packet sockets", _packet_socket, "use a kernel with CONFIG_PACKET"),
    )
    for name, attempt, cure in required:
        refused = in_namespaces(attempt)
        yield Finding(name, refused is None, refused or "works in a namespace", cure, required=True)


def _kernels() -> Iterator[Finding]:
    """What nodes may need beyond that: on which kernel they have it (`harness.kernel.ladder`)."""
    from harness.kernel import features, ladder

    refused = ladder.why_no_uml() or in_namespaces(_user_mode_linux)
    own = "nodes that need it get a kernel of their own" if not refused else f"no node can have it: {refused}"
    for name, instead in (("ip_vs", own), ("sch_netem", "a userspace wire delays frames instead")):
        lack = features.lack(name)
        yield Finding(name, not lack, lack or "the host's kernel has it", instead)
    yield Finding(
        "kernels of nodes' own",
        not refused,
        refused or _kernel_image(),
        "what needs IPVS can then run only where the host's kernel has it",
    )
    from harness.uml.chassis import TUN, best_transport

    tap = best_transport() == "tap"
    yield Finding(
        "tun/tap",
        tap,
        "can be used" if tap else "not for this user",
        f"nodes with a kernel of their own take packets from a veth instead, which is slower ({TUN})",
    )


def _user_mode_linux() -> None:
    """What User-Mode Linux asks of its host: to trace a process of one's own (ptrace(2))."""
    import signal

    from harness.kernel.trial import trace_a_child

    trace_a_child(signal.SIGKILL)


def _kernel_image() -> str:
    from harness.image import store
    from harness.image.kernel import KernelSpec

    spec = KernelSpec()
    return spec.key if store.find(spec) else "not built yet; the first run that needs it builds it (77 MB)"


def _virtual_time() -> Iterator[Finding]:
    from harness.virtual import library

    saw, cure = library.lacks() or ("can be had", "")
    yield Finding("virtual time", not cure, saw, cure)


def _overlay() -> None:
    base = paths.cache_dir() / "bubble"
    base.mkdir(parents=True, exist_ok=True)
    sc.mount("vipdrill", str(base), "tmpfs")
    for part in ("lower", "upper", "work", "root"):
        (base / part).mkdir()
    options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
    try:
        sc.mount("overlay", f"{base}/root", "overlay", 0, options + ",userxattr")
    except OSError:
        sc.mount("overlay", f"{base}/root", "overlay", 0, options)


def _bridge() -> None:
    from harness.fabric import rtnl
    from harness.fabric.netlink import RouteSocket

    sc.unshare(sc.CLONE_NEWNET)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    RouteSocket().send(
        [
            rtnl.bridge("s1", 101, 1500),
            rtnl.veth_port("p1", 1001, 101, 1500, "doctor:eth0", "eth0", 10, home, "02:00:00:00:00:01"),
        ]
    )


def _packet_socket() -> None:
    import socket

    sc.unshare(sc.CLONE_NEWNET)
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()


# -- how much room there is ----------------------------------------------------------------------------


def _room() -> Iterator[Finding]:
    import resource

    folder = paths.cache_dir()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Finding(
        "disk space",
        free >= _NEEDED_FREE_BYTES,
        f"{free / 1e9:.1f} GB free for the cache",
        f"an image needs {_NEEDED_FREE_BYTES / 1e9:.1f} GB: make room, or set VIPDRILL_CACHE to another disk",
        required=True,
    )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    enough = limit == resource.RLIM_INFINITY or limit >= _NEEDED_FILES
    yield Finding(
        "open files", enough, f"up to {limit}", f"raise `ulimit -Hn` to {_NEEDED_FILES} for large labs"
    )
    cores, memory = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding("cores and memory", True, f"{cores} cores, {memory / 1e9:.0f} GB")
