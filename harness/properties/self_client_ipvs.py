"""What becomes of a node that asks its own VIP where IPVS forwards packets, and why.

NAT: the answer of a member reaches a client beside it directly, from an address that it did not ask, and
is refused; the director may also choose the client itself, who drops a packet from its own address.
DR, TUN: the VIP is a member's own address, so it asks itself whatever the director does; a director that
holds the VIP asks from it, and members take a packet from their own address for a martian one (RFC 1812
section 5.3.8).  Masquerading at the director cures NAT: all answers go back to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Literal

from harness.bystanders import networks
from harness.properties.facts import Facts
from harness.properties.ipvs_flows import option
from harness.properties.pools import Pool

Outcome = Literal["served", "itself", "unserved"]


@dataclass(frozen=True)
class Expectation:
    """What must happen to a client: any member serves it, only itself, or nobody; and why."""

    outcome: Outcome
    why: str


def expectation(facts: Facts, pool: Pool, client: str, aspect: str) -> Expectation:
    """What the way of forwarding makes of a member, a bystander, the VIP's holder, or the standby."""
    assert pool.virtual is not None
    method = pool.virtual.forwarding
    if aspect == "standby":
        return Expectation("served", "its own IPVS forwards what it sends, from its own address")
    if aspect == "holder":
        if method == "NAT":
            return Expectation("served", "the answers come back to it, as the VIP is its own")
        why = f"it asks from the VIP, which is the members' own address as well, so they drop it ({method})"
        return Expectation("unserved", why)
    if method != "NAT":
        if pool.server(client) is None:
            return Expectation("served", "it does not have the VIP, so it is a client like any other")
        return Expectation("itself", f"the VIP is its own address ({method}): it never leaves the node")
    if option(facts, "masquerade", False):
        return Expectation("served", "the director masquerades, so every answer goes back through it")
    if _beside_members(facts, pool, client):
        why = "members answer it directly, past the director, from an address that it did not ask"
        return Expectation("unserved", why)
    return Expectation("served", "its answers come through the director")


def _beside_members(facts: Facts, pool: Pool, client: str) -> bool:
    """Whether a node stands on the network of the members, so that they need no router to it."""
    nodes: dict[str, Any] = {node["name"]: node for node in facts.timeline.run.nodes}
    own = list(networks(nodes[client])) if client in nodes else []
    members = [ip_address(server.address) for server in pool.servers]
    return any(member in network for member in members for network in own)
