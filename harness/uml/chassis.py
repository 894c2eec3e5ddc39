"""What surrounds a machine on the host: namespaces of its own, the far ends of its links, its disk.

The chassis is a node of namespaces on the kernel's image, with the node's own disk at /node, and in it
runs nothing but the machine.  Killing its init is what a power cut is: the kernel takes the machine
with all its threads and memory, so nothing can be left of it.

    segment's bridge ── p1 ═ eth0 (veth) ── packet socket of the machine          transport raw
    segment's bridge ── p1 ═ eth0 (veth) ── bridge ── tap ── queue of the machine  transport tap
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.fabric import rtnl
from harness.fabric.addressing import FIRST_INDEX
from harness.fabric.netlink import Request, RouteSocket
from harness.image.kernel import MODULES
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.nodes.netns import NetnsNode, mount_disk
from harness.nodes.process import HostProcess
from harness.observe.lateness import MACHINE
from harness.uml import raw
from harness.uml.command import Transport, Wire, command_line

if TYPE_CHECKING:
    from harness.fabric.fabric import Port

TUN = "/dev/net/tun"
_OURS = Path(__file__).parent
_TUNSETIFF, _TUNSETPERSIST, _TUNSETIFINDEX = 0x400454CA, 0x400454CB, 0x400454DA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_TAP_INDEX, _BRIDGE_INDEX = 100, 200


def best_transport() -> Transport:
    """How frames get into a machine: by a tap where this user may make one, else by a packet socket."""
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return "raw"
    return "tap"


class Chassis(NetnsNode):
    """The host's side of one machine. `interfaces` are the names of its links, in order, with their MTU."""

    def __init__(
        self, name: str, kernel: Path, rootfs: Path, disk: Path, log_dir: Path, interfaces: Mapping[str, int]
    ) -> None:
        super().__init__(name, kernel, disk / "chassis", log_dir)
        self._kernel, self._below, self._node_disk = kernel, rootfs, disk
        self._interfaces = dict(interfaces)
        self.transport = best_transport()
        self._machine: HostProcess | None = None

    def _furnish(self, root: str) -> None:
        """The machine's disk, its modules, our two programs; and room for its memory."""
        mount_disk(self._below, self._node_disk, f"{root}/node")
        ours = Path(root, "node/vipdrill")
        ours.mkdir(exist_ok=True)
        sc.mount("vipdrill", str(ours), "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=0755,size=1m")
        for program in ("agent", "modprobe"):
            (ours / program).write_bytes((_OURS / f"{program}.pl").read_bytes())
            (ours / program).chmod(0o755)
        (ours / "modules").mkdir()
        sc.mount(str(self._kernel / MODULES), str(ours / "modules"), "", sc.MS_BIND)
        # A machine's memory is a file, which has to be executable.
        sc.mount("memory", f"{root}/dev/shm", "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=1777")
        if self.transport == "tap":
            os.mkdir(f"{root}/dev/net")
            Path(root, "dev/net/tun").touch()
            sc.mount(TUN, f"{root}{TUN}", "", sc.MS_BIND)

    def start_machine(self, memory_mb: int, line: socket.socket) -> HostProcess:
        """Start the machine, which finds its line to the engine in `line`."""
        wires = [
            Wire(self.transport, _tap(position) if self.transport == "tap" else name, mtu)
            for position, (name, mtu) in enumerate(self._interfaces.items())
        ]
        self._machine = self.spawn(MACHINE, command_line(self.name, memory_mb, wires), line=line.fileno())
        return self._machine

    def plug(self, ports: Sequence[Port]) -> None:
        """Let the machine have the frames of the links that the fabric has put here, in order."""
        namespaces.inside(self.netns, sc.CLONE_NEWNET, partial(self._plug, ports))

    def _plug(self, ports: Sequence[Port]) -> None:
        requests: list[Request] = []
        for position, port in enumerate(ports):
            end, tap, bridge = FIRST_INDEX + position, _TAP_INDEX + position, _BRIDGE_INDEX + position
            what = f"attach {port}"
            # The machine has the port's own address; the host's end must not, or it would take its frames.
            requests.append(rtnl.dress(end, what, mac=f"02:00:00:01:00:{position:02x}"))
            if self.transport == "tap":
                _make_tap(_tap(position), tap)
                requests += [
                    rtnl.bridge(f"b{position}", bridge, port.mtu),
                    rtnl.set_master(end, bridge, what),
                    rtnl.dress(tap, what, mtu=port.mtu),
                    rtnl.set_master(tap, bridge, what),
                    rtnl.set_link(tap, what, up=True),
                ]
            requests.append(rtnl.set_link(end, what, up=True))
        route = RouteSocket()
        try:
            route.send(requests)
        finally:
            route.close()

    def take_frames(self) -> None:
        """The machine has raised its interfaces: let none of their frames be lost."""
        if self.transport == "raw" and self._machine is not None:
            raw.put_right(self._machine.pid)

    def carrier_news(self) -> RouteSocket:
        """What tells of the carrier of the chassis's links, see `rtnl.parse_link`."""
        return namespaces.inside(self.netns, sc.CLONE_NEWNET, lambda: RouteSocket(rtnl.RTMGRP_LINK))


def _tap(position: int) -> str:
    return f"t{position}"


def _make_tap(name: str, index: int) -> None:
    """A tap that stays, in the calling thread's network namespace."""
    fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR
        fcntl.ioctl(fd, _TUNSETIFINDEX, struct.pack("I", index))
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        fcntl.ioctl(fd, _TUNSETPERSIST, 1)
    finally:
        os.close(fd)
