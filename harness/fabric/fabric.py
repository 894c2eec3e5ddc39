"""The fabric of one testbed: every segment is a bridge, every interface a port of one.

All bridges live in the network namespace of one hidden node, `fabric`, which no fault of the user
can reach.  Whatever a fault needs is addressed by (node, interface); an interface's port is the
bridge's end of its veth pair, so it can be silenced, cut or filtered without the node's help.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from harness.errors import UsageError, WaitExpired, one_of
from harness.fabric import rtnl
from harness.fabric.addressing import FIRST_INDEX
from harness.fabric.netlink import Request, RouteSocket, messages
from harness.fabric.rules import Rules
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.kernel.waiting import readable
from harness.nodes.netns import NetnsNode

_SEGMENT_INDEX, _PORT_INDEX = 100, 1000
_FORWARDING_S = 10.0
# A dead node's links are gone, an unplugged one's port is down.
_NO_LINK = (errno.ENODEV, errno.ENETDOWN)


@dataclass(frozen=True)
class Port:
    """Where a node's interface meets its segment. `number` counts ports, from 1, over the testbed."""

    node: str
    interface: str
    segment: str
    number: int
    mtu: int

    @property
    def name(self) -> str:
        """The bridge port's own name in the fabric (interface names have at most 15 characters)."""
        return f"p{self.number}"

    @property
    def index(self) -> int:
        """The bridge port's interface index in the fabric."""
        return _PORT_INDEX + self.number

    @property
    def detour(self) -> str:
        """The name of the bridge port that stands in for it while a wire is put in."""
        return f"w{self.number}"

    @property
    def mac(self) -> str:
        """The interface's MAC address: locally administered, the same in every run."""
        return f"02:00:00:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    def __str__(self) -> str:
        return f"{self.node}:{self.interface}"


class Fabric:
    """Segments and ports of one testbed."""

    def __init__(self, hub: NetnsNode) -> None:
        self.hub = hub
        self.rules = Rules(hub)
        self._segments: dict[str, int] = {}
        self._ports: dict[tuple[str, str], Port] = {}
        self._silent: dict[Port, set[str]] = {}
        self._unplugged: dict[Port, set[str]] = {}
        self.detours: dict[Port, int] = {}
        """Ports whose frames go by way of another bridge port (`harness.fabric.wire`): its index."""
        self.reconnected: list[Callable[[Port], None]] = []
        """Called for every port that was connected anew, after its node's reboot, by `tell_reconnected`."""
        # IPv6 start-up chatter of idle ports would flood a large segment for seconds.
        hub.sysctl({"net.ipv6.conf.default.disable_ipv6": "1", "net.ipv6.conf.all.disable_ipv6": "1"})
        self._socket = namespaces.inside(hub.netns, sc.CLONE_NEWNET, RouteSocket)

    def close(self) -> None:
        """Close the fabric's socket; the namespace goes with the hub."""
        self._socket.close()

    @property
    def segments(self) -> tuple[str, ...]:
        """The names of the segments."""
        return tuple(self._segments)

    @property
    def ports(self) -> tuple[Port, ...]:
        """All ports, by number."""
        return tuple(self._ports.values())

    def bridge_name(self, segment: str) -> str:
        """The name of a segment's bridge in the fabric, for a capture tool."""
        if segment not in self._segments:
            raise one_of("segment", segment, list(self._segments))
        return f"s{self._segments[segment] - _SEGMENT_INDEX}"

    def segment_index(self, segment: str) -> int:
        """The interface index of a segment's bridge in the fabric."""
        return self._segments[segment]

    def port(self, node: str, interface: str) -> Port:
        """The port of a node's interface; raises UsageError naming the known ones."""
        try:
            return self._ports[node, interface]
        except KeyError:
            raise one_of("interface", f"{node}:{interface}", [str(p) for p in self.ports]) from None

    def ports_of(self, node: str) -> list[Port]:
        """All ports of a node."""
        return [port for port in self.ports if port.node == node]

    def add_segments(self, names_and_mtus: list[tuple[str, int]]) -> None:
        """Create segments, in one batch."""
        requests = []
        for name, mtu in names_and_mtus:
            if name in self._segments:
                raise UsageError(f"the topology has two segments named {name!r}")
            self._segments[name] = _SEGMENT_INDEX + len(self._segments) + 1
            requests.append(rtnl.bridge(self.bridge_name(name), self._segments[name], mtu))
        self._socket.send(requests)

    def plan(self, node: str, interface: str, segment: str, mtu: int) -> Port:
        """Reserve the port of an interface; `connect` makes it."""
        if segment not in self._segments:
            raise one_of("segment", segment, list(self._segments))
        if (node, interface) in self._ports:
            raise UsageError(f"the topology has two interfaces {node}:{interface}")
        port = Port(node, interface, segment, len(self._ports) + 1, mtu)
        self._ports[node, interface] = port
        return port

    def connect(self, ports_and_namespaces: list[tuple[Port, int]]) -> None:
        """Make links: for each port a veth pair whose far end is in the given network namespace."""
        positions: dict[str, int] = {}
        requests: list[Request] = []
        for port, netns in ports_and_namespaces:
            position = positions[port.node] = positions.get(port.node, -1) + 1
            requests.append(
                rtnl.veth_port(
                    port.name,
                    port.index,
                    0 if port in self.detours or self.silent(port) else self._segments[port.segment],
                    port.mtu,
                    str(port),
                    port.interface,
                    FIRST_INDEX + position,
                    netns,
                    port.mac,
                )
            )
            if self.unplugged(port):
                requests.append(rtnl.set_link(port.index, f"unplug {port}", up=False))
        self._socket.send(requests)

    def tell_reconnected(self, ports: list[Port]) -> None:
        """These ports' links are made and their nodes configured, so what acts on them may be put back."""
        for port in ports:
            for tell in self.reconnected:
                tell(port)

    def await_forwarding(self, ports: list[Port]) -> None:
        """Wait until segments pass these ports' frames on; raises WaitExpired.

        The kernel lets a port in only some time after its link came up.  A request that is dropped
        before that is not asked again for a second (ARP, RFC 1122 section 2.3.2.1).
        """
        open_ports = [port for port in ports if not (self.silent(port) or self.unplugged(port))]
        waiting = {port.index: port for port in open_ports if port not in self.detours}
        make_socket = partial(RouteSocket, rtnl.RTMGRP_LINK)
        events = namespaces.inside(self.hub.netns, sc.CLONE_NEWNET, make_socket)
        deadline = time.monotonic() + _FORWARDING_S
        try:
            news = self._socket.dump(rtnl.RTM_GETLINK, rtnl.all_ports())
            while True:
                for kind, body in news:
                    index, forwards = rtnl.parse_port(body)
                    if kind == rtnl.RTM_NEWLINK and forwards:
                        waiting.pop(index, None)
                if not waiting:
                    return
                left = max(0.0, deadline - time.monotonic())
                if not readable([events.socket.fileno()], left):
                    silent = ", ".join(str(port) for port in waiting.values())
                    raise WaitExpired(f"the segments to forward for {silent}", _FORWARDING_S, "no carrier")
                news = self._news(events)
        finally:
            events.close()

    def _news(self, events: RouteSocket) -> list[tuple[int, bytes]]:
        """What has become of links since, or, if that was more than the socket could hold, what is now."""
        try:
            return [(kind, body) for kind, _, _, body in messages(events.socket.recv(1 << 17))]
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return self._socket.dump(rtnl.RTM_GETLINK, rtnl.all_ports())

    # -- what faults do to ports -----------------------------------------------------------------

    def silence(self, ports: list[Port], holder: str = "") -> None:
        """Let nothing pass in either direction; carrier stays, so nobody is told.

        A port is silent until everybody who silenced it (`holder`) has lifted that again; so for unplugging.
        """
        # 'Disabled' silences all at once, and leaving the bridge keeps it so: a change of carrier would
        # let the port forward again.
        paths = [(self.path(port), port) for port in ports if not self.silent(port)]
        requests = [rtnl.port_state(at, rtnl.BR_DISABLED, f"silence {port}") for at, port in paths]
        requests += [rtnl.set_master(at, 0, f"silence {port}") for at, port in paths]
        self._socket.send(requests, ignore=_NO_LINK)
        for port in ports:
            self._silent.setdefault(port, set()).add(holder)

    def unsilence(self, ports: list[Port], holder: str = "") -> None:
        """Let traffic pass again."""
        free = [port for port in ports if _let_go(self._silent, port, holder)]
        requests = [rtnl.set_master(self.path(p), self._segments[p.segment], f"unsilence {p}") for p in free]
        self._socket.send(requests, ignore=_NO_LINK)

    def forwards(self, port: Port) -> bool:
        """Whether the segment passes this port's frames on, as the kernel says."""
        name = port.detour if port in self.detours else port.name
        state = f"/sys/class/net/{name}/brport/state"
        return self.hub.exists(state) and int(self.hub.read(state)) == rtnl.BR_FORWARDING

    def silent(self, port: Port) -> bool:
        """Whether somebody keeps a port silent."""
        return bool(self._silent.get(port))

    def path(self, port: Port) -> int:
        """The interface index of the bridge port by which a port's frames enter and leave its segment."""
        return self.detours.get(port, port.index)

    def unplug(self, ports: list[Port], holder: str = "") -> None:
        """Take the switch's end down: the node's interface loses its carrier."""
        self._socket.send([rtnl.set_link(port.index, f"unplug {port}", up=False) for port in ports])
        for port in ports:
            self._unplugged.setdefault(port, set()).add(holder)

    def plug(self, ports: list[Port], holder: str = "") -> None:
        """Bring the switch's end up again."""
        free = [port for port in ports if _let_go(self._unplugged, port, holder)]
        requests = [rtnl.set_link(port.index, f"plug {port}", up=True) for port in free]
        self._socket.send(requests, ignore=_NO_LINK)

    def unplugged(self, port: Port) -> bool:
        """Whether somebody keeps a port unplugged."""
        return bool(self._unplugged.get(port))

    def remove(self, ports: list[Port]) -> None:
        """Remove the links of a node that lost its power, so that it can be connected anew."""
        # The links of a dead node's namespace may be gone already: the kernel removes them in its own time.
        self._socket.send([rtnl.delete_link(p.index, f"remove {p}") for p in ports], ignore=_NO_LINK)

    def request(self, requests: list[Request], *, ignore: tuple[int, ...] = ()) -> None:
        """Have the fabric's kernel do something more, in one batch."""
        self._socket.send(requests, ignore=ignore)


def _let_go(holders: dict[Port, set[str]], port: Port, holder: str) -> bool:
    """Whether nobody holds the port any more."""
    held = holders.get(port, set())
    held.discard(holder)
    return not held
