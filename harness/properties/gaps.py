"""When nobody announced a virtual address: how the last owner ended says for how long that may be."""

from __future__ import annotations

from harness.bounds.bound import Bound
from harness.bounds.vrrp import (
    fail_back_after_start,
    successor,
    takeover_after_farewell,
    takeover_after_last_advert,
)
from harness.properties.facts import CENTISECOND_US, Facts, FaultSpan, VirtualRouter
from harness.properties.owners import Ownership
from harness.properties.windows import Window, advert_at, excused
from harness.verdict import Status, weigh


def gaps(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[Window | None]:
    """The stretches between claims; None for one in which no speaker could make any."""
    found: list[Window | None] = []
    last = claims[0]
    for claim in claims[1:]:
        if claim.from_ns > last.to_ns:
            found.append(_gap(facts, router, last, claim.from_ns, claim))
        if claim.to_ns > last.to_ns:
            last = claim
    if last.to_ns < facts.end_ns:
        found.append(_gap(facts, router, last, facts.end_ns, None))
    return found


def _gap(
    facts: Facts, router: VirtualRouter, ended: Ownership, to_ns: int, following: Ownership | None
) -> Window | None:
    """The stretch after a claim; None where no speaker was able to end it."""
    from_ns = ended.to_ns
    for fault in facts.faults:
        hit = from_ns <= fault.inject_ns < to_ns
        if hit and set(router.speakers) <= facts.silenced(router, fault.inject_ns):
            return _restart(facts, router, fault, to_ns, following)
    silenced = facts.silenced(router, to_ns - 1) | facts.silenced(router, from_ns)
    heir = successor(s for s in router.others(ended.node) if s.node not in silenced)
    if heir is None:
        return None
    advert = next((a for a in reversed(router.adverts) if a.t <= ended.last_ns and a.priority > 0), None)
    interval_us = None if advert is None else int(advert.interval_cs) * CENTISECOND_US
    after = takeover_after_farewell if ended.ended_by == "farewell" else takeover_after_last_advert
    promise = after(heir, interval_us)
    bound = Bound(0, promise.high, "s", promise.source)
    measured = (to_ns - from_ns) / 1e9
    status, words = excused(
        facts, router, from_ns, to_ns, weigh(measured, bound, facts.lag_s(from_ns, to_ns))
    )
    if following is None and status is not Status.PASS:
        words = f"nobody took it to the end of the run, {words}"
    first = None if following is None else next(a for a in router.adverts if a.t >= following.from_ns)
    evidence = tuple(e for e in (advert_at(router, ended.last_ns), first) if e is not None)
    return Window(from_ns, to_ns, bound, status, words, evidence)


def _restart(
    facts: Facts, router: VirtualRouter, fault: FaultSpan, to_ns: int, following: Ownership | None
) -> Window | None:
    """The stretch after all speakers were down at once: it counts from when the first was well again.

    By the timer of that one, or of the highest of those that came back with it.
    """
    well = {f.healed_ns: f for f in facts.faults if f.acts_at(fault.inject_ns) and f.healed_ns is not None}
    for from_ns, healed in sorted(well.items()):
        heir = successor(router.others(*facts.silenced(router, from_ns)))
        if heir is None:
            continue
        if from_ns >= to_ns:
            return None
        promise = fail_back_after_start(heir, heir)
        bound = Bound(0, promise.high, "s", f"{promise.source}, counted from when {healed} was healed")
        status, words = weigh((to_ns - from_ns) / 1e9, bound, facts.lag_s(from_ns, to_ns))
        first = None if following is None else advert_at(router, following.from_ns)
        return Window(from_ns, to_ns, bound, status, words, () if first is None else (first,))
    return None
