"""What this machine can and cannot do for vipdrill, and what to do about it.

Everything is tried, in a child of its own and in fresh namespaces, rather than guessed from versions;
nothing of the host is changed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.image.ids import id_map
from harness.kernel import syscalls as sc

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
    return [*_identity(), *_image(), *_kernel(), *_room()]


# -- who may do what -----------------------------------------------------------------------------------


def _identity() -> Iterator[Finding]:
    refused = _try_in_namespaces(lambda: None)
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
        refused = _try_in_namespaces(attempt)
        yield Finding(name, refused is None, refused or "works in a namespace", cure, required=True)
    # An ordinary user's namespace cannot load modules, so what counts is what is there already.
    optional = (
        ("ip_vs", Path("/proc/net/ip_vs"), "topologies with IPVS need nodes with a kernel of their own"),
        (
            "tun/tap",
            Path("/dev/net/tun"),
            "nodes with a kernel of their own take packets from a veth instead",
        ),
    )
    for name, path, consequence in optional:
        usable = os.access(path, os.R_OK)
        yield Finding(name, usable, "there" if usable else "not there for this user", consequence)


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


def _try_in_namespaces(attempt: Callable[[], None]) -> str | None:
    """Run `attempt` in a child with namespaces of its own; why it failed, or None."""
    read, write = os.pipe()
    me, group = os.geteuid(), os.getegid()
    child = os.fork()
    if child == 0:
        reason = ""
        try:
            os.close(read)
            sc.unshare(sc.CLONE_NEWNS | (0 if me == 0 else sc.CLONE_NEWUSER))
            if me != 0:
                Path("/proc/self/setgroups").write_text("deny")
                Path("/proc/self/uid_map").write_text(f"0 {me} 1")
                Path("/proc/self/gid_map").write_text(f"0 {group} 1")
            sc.mount("none", "/", "", sc.MS_REC | sc.MS_PRIVATE)
            attempt()
        except OSError as error:
            reason = error.strerror or str(error)
        except Exception as error:
            reason = str(error)
        os.write(write, reason.encode()[:1000])
        os._exit(0)
    os.close(write)
    reason = os.read(read, 1000).decode()
    os.close(read)
    os.waitpid(child, 0)
    return reason or None
