"""Clients that stand beside members whose network has no VIP: behind directors that translate (IPVS, NAT).

Such a client reaches the VIP only through the director, and members reach it without him.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_interface
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.timeline import Event


def bystanders(run: Event) -> frozenset[str]:
    """The names of those clients, by the head of a timeline."""
    behind = {
        network
        for node in run.nodes
        if node["role"] == "member"
        for network in networks(node)
        if not any(ip_address(vip["address"]) in network for vip in run.vips)
    }
    clients = (node for node in run.nodes if node["role"] == "client")
    return frozenset(str(node["name"]) for node in clients if behind.intersection(networks(node)))


def networks(node: Mapping[str, Any]) -> Iterator[IPv4Network | IPv6Network]:
    """The networks that a node stands on."""
    for interface in node["interfaces"]:
        for address in interface["addresses"]:
            yield ip_interface(address).network
