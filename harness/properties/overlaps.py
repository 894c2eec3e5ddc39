"""When two nodes own a virtual address at once, on the wire or unseen by it, and for how long they may."""

from __future__ import annotations

from itertools import combinations

from harness.bounds.bound import Bound, number
from harness.bounds.vrrp import two_owners
from harness.properties.facts import Facts, FaultSpan, VirtualRouter, speaker_name
from harness.properties.hearing import hidden
from harness.properties.owners import Ownership, address_owners
from harness.properties.windows import Window, advert_at, excused
from harness.verdict import Status, weigh


def overlaps(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[Window]:
    """Every stretch with two owners."""
    announced = [
        _overlap(facts, router, one, other)
        for one, other in combinations(claims, 2)
        if one.node != other.node and min(one.to_ns, other.to_ns) > max(one.from_ns, other.from_ns)
    ]
    return [*announced, *_unannounced(facts, router, claims), *_silent(facts, router, claims)]


def _overlap(facts: Facts, router: VirtualRouter, one: Ownership, other: Ownership) -> Window:
    from_ns, to_ns = max(one.from_ns, other.from_ns), min(one.to_ns, other.to_ns)
    bound = two_owners([router.speakers[one.node], router.speakers[other.node]])
    parted = _parted(facts, router, one, other, from_ns)
    if parted is not None:
        bound = _until_heard(parted, router, bound, from_ns, facts.end_ns)
    status, words = weigh((to_ns - from_ns) / 1e9, bound, facts.lag_s(from_ns, to_ns))
    if parted is not None and status is Status.PASS:
        status, words = (
            Status.LIMITATION,
            f"under {parted} they do not hear each other, and VRRP has no quorum",
        )
    status, words = excused(facts, router, from_ns, to_ns, (status, words))
    adverts = [a for a in router.claims(from_ns - 1, to_ns) if speaker_name(a) in (one.node, other.node)]
    return Window(from_ns, to_ns, bound, status, words, (*adverts[:2], *adverts[2:][-2:]))


def _unannounced(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[Window]:
    """Owners whose adverts a fault keeps off the wire, but who have the address beside another."""
    found: list[Window] = []
    unseen = {node for fault in facts.faults for node in hidden(fault)}
    parting = [fault for fault in facts.faults if facts.effect(fault, router) == "parts"]
    for hold in (h for h in address_owners(facts, router) if h.node in unseen):
        for claim in (c for c in claims if c.node != hold.node):
            for fault in parting:
                from_ns = max(claim.from_ns, hold.from_ns, fault.inject_ns)
                to_ns = min(claim.to_ns, hold.to_ns)
                own = [c for c in claims if c.node == hold.node and c.from_ns < to_ns and c.to_ns > from_ns]
                if from_ns < to_ns and fault.acts_at(from_ns) and not own:
                    found.append(_beside(facts, router, fault, hold, claim, from_ns, to_ns))
    return found


def _silent(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[Window]:
    """Nodes that nothing was done to, and that have the address without announcing it, beside its owner.

    So do two that discard each other's adverts: in keepalived 2.3.3 each of them puts off one's own.
    """
    found: list[Window] = []
    for hold in address_owners(facts, router):
        if hold.node not in router.speakers:
            continue
        interval_s = router.speakers[hold.node].advert_interval_us / 1e6
        bound = Bound(0, interval_s, "s", "who gives way gives the address up before its next advert")
        for claim in (c for c in claims if c.node != hold.node):
            from_ns, to_ns = max(claim.from_ns, hold.from_ns), min(claim.to_ns, hold.to_ns)
            own = [c for c in claims if c.node == hold.node and c.from_ns < to_ns and c.to_ns > from_ns]
            if from_ns >= to_ns or own or _hit(facts, hold.node, from_ns, to_ns):
                continue
            status, words = weigh((to_ns - from_ns) / 1e9, bound, facts.lag_s(from_ns, to_ns))
            if status is not Status.PASS:
                words = f"{hold.node} kept it without announcing it, {words}"
                found.append(Window(from_ns, to_ns, bound, status, words, (), "had"))
    return found


def _hit(facts: Facts, node: str, from_ns: int, to_ns: int) -> bool:
    """Whether a fault may be why a node keeps an address that it does not announce."""
    return any(
        f.inject_ns < to_ns and (f.healed_ns is None or f.healed_ns > from_ns)
        for f in facts.faults
        if node in f.nodes or f.fault == "partition"
    )


def _beside(
    facts: Facts,
    router: VirtualRouter,
    fault: FaultSpan,
    hold: Ownership,
    claim: Ownership,
    from_ns: int,
    to_ns: int,
) -> Window:
    bound = two_owners([router.speakers[hold.node], router.speakers[claim.node]])
    bound = _until_heard(fault, router, bound, from_ns, facts.end_ns)
    status, words = weigh((to_ns - from_ns) / 1e9, bound, facts.lag_s(from_ns, to_ns))
    if status is Status.PASS:
        status = Status.LIMITATION
        words = f"{fault} hides {hold.node}'s adverts from {claim.node}, and VRRP has no quorum"
    advert = advert_at(router, claim.from_ns)
    return Window(from_ns, to_ns, bound, status, words, () if advert is None else (advert,), "had")


def _parted(
    facts: Facts, router: VirtualRouter, one: Ownership, other: Ownership, t_ns: int
) -> FaultSpan | None:
    """The fault that keeps one owner from hearing the other at a moment."""
    for fault in facts.faults:
        if fault.acts_at(t_ns) and facts.effect(fault, router) == "parts":
            deaf = facts.deaf(fault, router)
            if one.node in deaf or other.node in deaf:
                return fault
    return None


def _until_heard(fault: FaultSpan, router: VirtualRouter, bound: Bound, from_ns: int, end_ns: int) -> Bound:
    """Two owners until the fault is healed, and an interval more until the higher is heard."""
    healed_ns = end_ns if fault.healed_ns is None else fault.healed_ns
    interval_s = max(s.advert_interval_us for s in router.speakers.values()) / 1e6
    longest = (healed_ns - from_ns) / 1e9 + interval_s + bound.high
    return Bound(0.0, longest, "s", f"until {fault} is healed, and {number(interval_s)} s until an advert")
