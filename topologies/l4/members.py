"""What members need for each way of forwarding.

nat   the default route by the directors, whose address moves with the VIPs
dr    the VIP as an address of their own that they tell nobody of (arp_ignore, arp_announce)
tun   the same, and the end of an IP-in-IP tunnel

With two interfaces (dr) packets come from the director by one, and answers go to clients by the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.services.base import Service
from harness.services.tunnel import Tunnel
from harness.topology import Interface, NodeSpec
from topologies.l4.plan import Plan

# Documentation/networking/ip-sysctl.rst: answer only for addresses of the interface asked on; announce the
# address that suits the target best.
SILENT = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}


@dataclass(frozen=True)
class Place:
    """Where members stand: their segment, the network's prefix (`10.0.0`), their default route."""

    segment: str
    prefix: str
    gateway: str


LAN = Place("lan", "10.0.0", "10.0.0.1")
BACK = Place("back", "10.0.1", "10.0.1.1")


def place(plan: Plan) -> Place:
    """Where directors find members with this way of forwarding."""
    return BACK if plan.back else LAN


def addresses(plan: Plan, prefix: str, base: int, count: int) -> dict[str, str]:
    """Members' names and addresses."""
    return {f"{prefix}{n}": f"{place(plan).prefix}.{base + n}" for n in range(1, count + 1)}


def listens_on(plan: Plan, address: str) -> str:
    """Where a member's server listens: with dr and tun packets come for the VIP."""
    return address if plan.nat else "0.0.0.0"  # noqa: S104  # inside a node of its own


def member(plan: Plan, name: str, address: str, vips: Sequence[str], *services: Service) -> NodeSpec:
    """A member that serves these VIPs."""
    where = place(plan)
    tunnel = (Tunnel(),) if plan["forwarding"] == "tun" else ()
    interfaces = [Interface("eth0", where.segment, (f"{address}/24",))]
    if plan["two_nics"]:
        own = f"{LAN.prefix}.{address.rpartition('.')[2]}"
        interfaces = [
            Interface("eth0", LAN.segment, (f"{own}/24",)),
            Interface("eth1", where.segment, (f"{address}/24",)),
        ]
    sysctls = SILENT if plan["arp"] == "sysctl" and not plan.nat else {}
    if plan["rp_filter"]:
        sysctls = {**sysctls, "net.ipv4.conf.all.rp_filter": str(plan["rp_filter"])}
    return NodeSpec(
        name,
        "member",
        tuple(interfaces),
        {"0.0.0.0/0": where.gateway if plan.nat else LAN.gateway},
        sysctls,
        services=(*services, *tunnel),
        loopback=() if plan.nat else tuple(f"{vip}/32" for vip in vips),
    )
