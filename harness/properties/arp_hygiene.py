"""arp-hygiene: does anybody but the VIP's own balancers tell neighbours where the VIP is?

With direct routing and tunnels every member has the VIP and must keep it to itself (arp_ignore,
arp_announce).  One that answers for it, or asks from it, draws clients past the director.
"""

from __future__ import annotations

from harness.bounds.bound import Bound
from harness.properties.facts import Facts, VirtualRouter
from harness.properties.matter import Matter
from harness.timeline import Event
from harness.verdict import Status, Verdict

NAME = "arp-hygiene"
_SHOWN = 6


def judge(facts: Facts) -> list[Verdict]:
    """One finding for every virtual router whose address somebody else has as well."""
    return [_judge(facts, router) for router in facts.routers if _shared(facts, router)]


def _shared(facts: Facts, router: VirtualRouter) -> bool:
    """Whether nodes that do not speak for it have the address: real servers that do without NAT."""
    virtual = [v for config in facts.configs.values() for v in config.virtual_servers]
    return any(v.address in router.addresses and v.forwarding != "NAT" for v in virtual)


def _judge(facts: Facts, router: VirtualRouter) -> Verdict:
    claims = [e for e in facts.timeline.of("arp") if e.sender_ip in router.addresses]
    strange = [e for e in claims if e.node not in router.speakers and not _excused(facts, e)]
    members = sorted({str(e.node) for e in strange})
    bound = Bound(0, 0, "packets", "only the balancers of a VIP tell by ARP where it is (RFC 9568 section 8)")
    sentence = f"of {len(claims)} ARP packets that speak for {router}, {len(strange)} came from others"
    sentence += f": {', '.join(members)}" if members else ""
    status = Status.FAIL if strange else Status.PASS if claims else Status.UNKNOWN
    matter = Matter.of_run(NAME, facts, str(router))
    return matter.verdict(status, sentence, len(strange), bound, tuple(strange[:_SHOWN]))


def _excused(facts: Facts, event: Event) -> bool:
    """Whether a fault makes a node say so."""
    return any(f.fault == "arp-spoof" and event.node in f.nodes and f.acts_at(event.t) for f in facts.faults)
