"""What is around the balancers everywhere: a router, a client on the segment, one behind the router."""

from __future__ import annotations

from dataclasses import replace

from harness.topology import Interface, NodeSpec

ROUTER = NodeSpec(
    "rt",
    "router",
    (Interface("eth0", "lan", ("10.0.0.1/24",)), Interface("eth1", "outside", ("198.51.100.1/24",))),
    sysctls={"net.ipv4.ip_forward": "1"},
)
CLIENTS = (
    NodeSpec("cl", "client", (Interface("eth0", "lan", ("10.0.0.10/24",)),), {"0.0.0.0/0": "10.0.0.1"}),
    NodeSpec(
        "clx",
        "client",
        (Interface("eth0", "outside", ("198.51.100.10/24",)),),
        {"0.0.0.0/0": "198.51.100.1"},
    ),
)


def trusting(node: NodeSpec, seconds: int) -> NodeSpec:
    """The same node, which takes what ARP told it for true for so long; the kernel's default for 0.

    Each time a random while between half and one and a half of that: the kernel's base_reachable_time
    (arp(7)).  Until it is over nobody asks again, whether the neighbour answers or not.
    """
    if not seconds:
        return node
    own = {f"net.ipv4.neigh.{i.name}.base_reachable_time_ms": str(1000 * seconds) for i in node.interfaces}
    return replace(node, sysctls={**node.sysctls, **own})
