"""The fabric of one testbed: every segment is a bridge, every interface a port of one.

All bridges live in the network namespace of one hidden node, `fabric`, which no fault of the user
can reach.  Whatever a fault needs is addressed by (node, interface); an interface's port is the
bridge's end of its veth pair, so it can be silenced, cut or filtered without the node's help.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.errors import UsageError, one_of
from harness.fabric import rtnl
from harness.fabric.netlink import Request, RouteSocket
from harness.fabric.rules import Rules
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.nodes.netns import NetnsNode

_SEGMENT_INDEX, _PORT_INDEX, _NODE_INDEX = 100, 1000, 10


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
                    self._segments[port.segment],
                    port.mtu,
                    str(port),
                    port.interface,
                    _NODE_INDEX + position,
                    netns,
                    port.mac,
                )
            )
        self._socket.send(requests)

    # -- what faults do to ports -----------------------------------------------------------------

    def silence(self, ports: list[Port]) -> None:
        """Let nothing pass in either direction; carrier stays, so nobody is told (port state 'disabled')."""
        self._each(ports, lambda p: rtnl.port_state(p.index, rtnl.BR_DISABLED, f"silence {p}"))

    def unsilence(self, ports: list[Port]) -> None:
        """Let traffic pass again."""
        self._each(ports, lambda p: rtnl.port_state(p.index, rtnl.BR_FORWARDING, f"let {p} forward"))

    def unplug(self, ports: list[Port]) -> None:
        """Take the switch's end down: the node's interface loses its carrier."""
        self._each(ports, lambda p: rtnl.set_link(p.index, f"unplug {p}", up=False))

    def plug(self, ports: list[Port]) -> None:
        """Bring the switch's end up again."""
        self._each(ports, lambda p: rtnl.set_link(p.index, f"plug {p}", up=True))

    def remove(self, ports: list[Port]) -> None:
        """Remove the links of a node that lost its power, so that it can be connected anew."""
        # The links of a dead node's namespace may be gone already: the kernel removes them in its own time.
        no_such_device = 19
        requests = [rtnl.delete_link(p.index, f"remove {p}") for p in ports]
        self._socket.send(requests, ignore=(no_such_device,))

    def _each(self, ports: list[Port], request: Callable[[Port], Request]) -> None:
        self._socket.send([request(port) for port in ports])

    def rate(self, port: Port, bits_per_s: int | None) -> None:
        """Cap what the fabric delivers to an interface (token bucket, tc-tbf(8)); None lifts the cap."""
        base = ["tc", "qdisc"]
        if bits_per_s is None:
            self.hub.run([*base, "del", "dev", port.name, "root"])
            return
        burst = max(port.mtu * 4, bits_per_s // 8 // 250)
        shape = ["tbf", "rate", f"{bits_per_s}bit", "burst", str(burst), "latency", "50ms"]
        self.hub.run([*base, "replace", "dev", port.name, "root", *shape])
