"""Small beds for the tests of faults, and witnesses that know nothing of how a fault is made."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.services.keepalived import Keepalived, VrrpInstance, render
from harness.services.master import Master
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology, Vip

NewTestbed = Callable[..., Testbed]
VIP = "10.0.0.100"
_PORT = 7000
_SOON_S = 0.25


def hosts(*names: str) -> Topology:
    """Bare hosts on one segment, 10.0.0.1 and so on."""
    return _topology(tuple(_node(name, number) for number, name in enumerate(names, 1)))


def _topology(nodes: tuple[NodeSpec, ...]) -> Topology:
    return Topology("bed", {}, (Segment("lan"),), nodes, (Vip(VIP, 6443, "masters"),), ())


def _node(name: str, number: int, role: Any = "client", services: tuple[Any, ...] = ()) -> NodeSpec:
    return NodeSpec(name, role, (Interface("eth0", "lan", (f"10.0.0.{number}/24",)),), services=services)


def pair(advert_int_s: float = 0.1) -> Topology:
    """Two balancers with keepalived only (lb1 preferred), a fake master and a client."""
    nodes = [_node(f"lb{n}", n, "balancer", (Keepalived(_keepalived(n, advert_int_s)),)) for n in (1, 2)]
    member = _node("m1", 3, "member", (Master("m1", "10.0.0.3", 6443, names=("api.cluster.test",)),))
    return _topology((*nodes, member, _node("cl", 4)))


def _keepalived(number: int, advert_int_s: float) -> str:
    instance = VrrpInstance("api", "eth0", 51, 200 - number, advert_int_s, (f"{VIP}/24",))
    return render((instance,))


def steady(bed: Testbed) -> Testbed:
    """Wait until lb1 announces the VIP and has it, and nobody else has (its address follows its advert)."""

    def owned() -> bool:
        return bed.situation.owner == "lb1" and bed.situation.holders.get(VIP) == {"lb1"}

    bed.recorder.wait(owned, 20, "lb1 to own the VIP", bed.situation.summary)
    return bed


def address(bed: Testbed, node: str) -> str:
    """A node's first address."""
    return bed.topology.node(node).interfaces[0].addresses[0].partition("/")[0]


def fix_neighbours(bed: Testbed) -> None:
    """Let every node know every other's MAC address for ever, so that no ARP is needed."""
    for port in bed.fabric.ports:
        for other in bed.topology.nodes:
            if other.name != port.node:
                words = ["ip", "neigh", "replace", address(bed, port.node), "lladdr", port.mac]
                bed.node(other.name).run([*words, "dev", "eth0", "nud", "permanent"])


def udp(bed: Testbed, node: str, port: int = _PORT) -> socket.socket:
    """A UDP socket of a node."""

    def open_socket() -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((address(bed, node), port))
        return opened

    return namespaces.inside(bed.node(node).netns, sc.CLONE_NEWNET, open_socket)


def tcp(bed: Testbed, node: str) -> socket.socket:
    """A TCP socket of a node, which does not wait."""
    opened = namespaces.inside(bed.node(node).netns, sc.CLONE_NEWNET, socket.socket)
    opened.setblocking(False)
    return opened


def hears(bed: Testbed, sink: str, source: str) -> bool:
    """Whether a datagram from `source` reaches `sink` (needs `fix_neighbours` to be about one direction)."""
    with udp(bed, sink) as into, udp(bed, source) as out:
        into.settimeout(_SOON_S)
        out.sendto(b"hello", (address(bed, sink), _PORT))
        try:
            return into.recv(100) == b"hello"
        except TimeoutError:
            return False


def who_hears(bed: Testbed) -> dict[str, set[str]]:
    """For each node, those whose datagrams do not reach it."""
    names = [node.name for node in bed.topology.nodes]
    deaf: dict[str, set[str]] = {name: set() for name in names}
    for sink in names:
        for source in names:
            if sink != source and not hears(bed, sink, source):
                deaf[sink].add(source)
    return {sink: unheard for sink, unheard in deaf.items() if unheard}


def fabric_state(bed: Testbed) -> str:
    """All that a fault may have changed of the fabric, as the kernel's own tools tell it."""
    commands = ("nft list ruleset", "tc qdisc show", "bridge link show", "ip -json link show")
    rules, queues, ports, links = (bed.hub.run(command.split()) for command in commands)
    # The empty chains stay once they were made; that is no rule.
    kept = [line for line in rules.splitlines() if "drop" in line]
    known = [(link["ifname"], link["flags"], link.get("master"), link["mtu"]) for link in json.loads(links)]
    return "\n".join([*kept, _sorted(queues), _sorted(ports), *sorted(map(str, known))])


def node_state(bed: Testbed, node: str) -> str:
    """All that a fault may have changed of a node, as the kernel's own tools tell it."""
    commands = ("nft list ruleset", "tc qdisc show", "ip -br address", "sysctl -a -r net\\.ipv4", "mount")
    host = bed.node(node)
    return "\n".join(_sorted(host.status(command.split()).stdout) for command in commands)


def _sorted(text: str) -> str:
    return "\n".join(sorted(text.splitlines()))


def lives(bed: Testbed) -> dict[str, list[str]]:
    """For each fault, the states that the timeline tells of it."""
    told: dict[str, list[str]] = {}
    for event in bed.recorder.timeline.of("fault"):
        told.setdefault(event.fault, []).append(event.state)
    return told
