"""Addresses and routes of a node, as its topology has them: rtnetlink requests for whatever kernel it is."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from harness.fabric import rtnl
from harness.fabric.netlink import Request, RouteSocket

if TYPE_CHECKING:
    from harness.topology import NodeSpec

# Nodes speak IPv6 only where the topology gives them an IPv6 address.
BASE_SYSCTLS = {"net.ipv6.conf.default.disable_ipv6": "1", "net.ipv6.conf.all.disable_ipv6": "1"}
FIRST_INDEX = 10
"""The index of a node's first interface on the engine's own kernel; they are counted from there."""


def ipv6_sysctls(spec: NodeSpec) -> dict[str, str]:
    """What lets a node speak IPv6, if it has an address of it."""
    uses_ipv6 = any(":" in a for i in spec.interfaces for a in i.addresses)
    return dict.fromkeys(BASE_SYSCTLS, "0") if uses_ipv6 else {}


def early_sysctls(spec: NodeSpec) -> dict[str, str]:
    """What is set before a node has its interfaces."""
    early = {key: value for key, value in spec.sysctls.items() if not _of_interface(spec, key)}
    return {**BASE_SYSCTLS, **early}


def late_sysctls(spec: NodeSpec) -> dict[str, str]:
    """What is set once they are there: what lets it speak IPv6, and what is an interface's own."""
    own = {key: value for key, value in spec.sysctls.items() if _of_interface(spec, key)}
    return {**ipv6_sysctls(spec), **own}


def _of_interface(spec: NodeSpec, key: str) -> bool:
    return any(interface.name in key.split(".") for interface in spec.interfaces)


def requests(spec: NodeSpec, index_of: Callable[[int], int]) -> list[Request]:
    """What gives a node its addresses and routes; `index_of` tells the index of its n-th interface."""
    made: list[Request] = [rtnl.set_link(1, f"bring up lo of {spec.name}", up=True)]
    for address in spec.loopback:
        what = f"give {spec.name}:lo the address {address}"
        made.append(rtnl.add_address(1, ip_interface(address), what))
    for position, interface in enumerate(spec.interfaces):
        index = index_of(position)
        made.append(rtnl.set_link(index, f"bring up {spec.name}:{interface.name}", up=True))
        for address in interface.addresses:
            what = f"give {spec.name}:{interface.name} the address {address}"
            made.append(rtnl.add_address(index, ip_interface(address), what))
    for destination, gateway in spec.routes.items():
        what = f"route {destination} by {gateway} on {spec.name}"
        made.append(rtnl.add_route(ip_network(destination), ip_interface(gateway).ip, what))
    return made


def configure(spec: NodeSpec) -> None:
    """Give a node its addresses and routes, in one batch, from inside its network namespace."""
    for key, value in late_sysctls(spec).items():
        Path("/proc/sys", *key.split(".")).write_text(value)
    route = RouteSocket()
    try:
        route.send(requests(spec, lambda position: FIRST_INDEX + position))
    finally:
        route.close()
