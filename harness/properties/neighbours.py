"""What neighbours believe: whose gratuitous ARP for an address each of them heard last.

A client keeps what it was told until its cache doubts it, which may take seconds or hours.  So whoever
has the address again must say so to all that heard the other: keepalived does when it becomes the owner,
and when it hears a lower advert; else only with garp_master_refresh (keepalived.conf(5)).
"""

from __future__ import annotations

from harness.bounds.bound import Bound, number
from harness.properties.facts import Facts, VirtualRouter, speaker_name
from harness.properties.hearing import untold
from harness.properties.matter import Matter
from harness.properties.owners import wire_owners
from harness.properties.takeover import Takeover
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

ASPECT = "gratuitous ARP"
_CURE = "vrrp_garp_master_refresh or vrrp_higher_prio_send_advert would cure that (keepalived.conf(5))"


def refresh_s(takeover: Takeover) -> float:
    """How long an owner that never gave the address up may wait before it tells neighbours again (s).

    keepalived 2.3.3 begins to refresh once it has told them for the second time, garp_master_delay after it
    became the owner.
    """
    fault, router, facts = takeover.fault, takeover.router, takeover.facts
    instance = router.instances.get(takeover.owner or "")
    if instance is None or not fault.resumes or not instance.garp_master_refresh_us or fault.heal_ns is None:
        return 0.0
    began = [c.from_ns for c in wire_owners(facts, router) if c.node == takeover.owner]
    before = [t for t in began if t <= fault.inject_ns]
    told_ns = (max(before) if before else fault.inject_ns) + instance.garp_master_delay_us * 1000
    return instance.garp_master_refresh_us / 1e6 + max(told_ns - fault.heal_ns, 0) / 1e9


def told_again(takeover: Takeover, name: str) -> list[Verdict]:
    """Whether an owner that has its address back told all those whom its heir had told, by their ARP."""
    facts, router, node = takeover.facts, takeover.router, takeover.owner
    heal_ns = takeover.fault.heal_ns
    if heal_ns is None or node is None or facts.timeline.first("arp") is None:
        return []
    end_ns = facts.next_fault_after(heal_ns)
    own = [a for a in router.claims(heal_ns, end_ns) if speaker_name(a) == node]
    rivals = [a for a in router.claims(takeover.fault.inject_ns, end_ns) if speaker_name(a) != node]
    if not own or (rivals and own[-1].t < rivals[-1].t):
        return []
    since_ns = max(a.t for a in (own[0], *rivals[-1:]))
    misled: dict[str, Event] = {}
    latest_ns = since_ns
    evidence: list[Event] = []
    for neighbour in _neighbours(facts, router):
        for address in router.addresses:
            heard = _heard(facts, address, neighbour, takeover.fault.inject_ns, end_ns)
            other = next((e for e in reversed(heard) if e.node != node), None)
            if other is None:
                continue
            again = next((e for e in heard if e.node == node and e.t > other.t), None)
            if again is None:
                misled.setdefault(neighbour, other)
                continue
            latest_ns = max(latest_ns, again.t)
            evidence += [other, again]
    if not misled and not evidence:
        return []
    bound = _bound(takeover)
    matter = Matter.of_fault(name, takeover.fault, str(router), ASPECT)
    if misled:
        return [_untold(takeover, matter, misled, since_ns, end_ns, bound)]
    measured = (latest_ns - since_ns) / 1e9
    status, words = weigh(measured, bound, facts.lag_s(since_ns, latest_ns))
    sentence = f"{node} told the neighbours {number(measured)} s after it alone had {router} again: {words}"
    sentence += f"; {_CURE}" if status is Status.FAIL and takeover.fault.resumes else ""
    told = tuple(dict.fromkeys(evidence))[:4]
    return [matter.verdict(status, sentence, measured, bound, told)]


def _neighbours(facts: Facts, router: VirtualRouter) -> list[str]:
    """Who asks the address on its own segment: clients and routers."""
    return [
        str(node["name"])
        for node in facts.timeline.run.nodes
        if node["role"] in ("client", "router")
        if any(i["segment"] == router.segment for i in node["interfaces"])
    ]


def _heard(facts: Facts, address: str, neighbour: str, since_ns: int, until_ns: int) -> list[Event]:
    """The gratuitous ARP for an address that reached a neighbour."""
    return [
        e
        for e in facts.timeline.of("arp", since=since_ns, until=until_ns, gratuitous=True)
        if e.sender_ip == address
        if not any(f.surely_acts_at(e.t) and untold(f, str(e.node), neighbour) for f in facts.faults)
    ]


def _bound(takeover: Takeover) -> Bound:
    assert takeover.owner is not None
    interval_s = takeover.router.speakers[takeover.owner].advert_interval_us / 1e6
    refresh = refresh_s(takeover)
    why = f"told at once by who has it again; its next advert is due after {number(interval_s)} s"
    if refresh:
        why += f", its garp_master_refresh after {number(refresh)} s"
    return Bound(0, interval_s + refresh, "s", why)


def _untold(
    takeover: Takeover, matter: Matter, misled: dict[str, Event], since_ns: int, end_ns: int, bound: Bound
) -> Verdict:
    watched = (end_ns - since_ns) / 1e9
    other = next(iter(misled.values()))
    who = ", ".join(misled)
    sentence = (
        f"{who} heard last from {other.node} that it has {other.sender_ip}; {takeover.owner}, which alone "
        f"has it again, told nobody for {number(watched)} s"
    )
    enough = watched > bound.high + takeover.facts.lag_s(since_ns, end_ns)
    status = Status.FAIL if enough else Status.UNKNOWN
    sentence += f": {_CURE}" if enough and takeover.fault.resumes else ""
    measured = watched if enough else None
    return matter.verdict(status, sentence, measured, bound, tuple(misled.values()))
