"""single-owner: over the whole run, never two owners and never none for longer than the arithmetic allows.

The wire decides.  A gap is explained by how the last owner ended: silence by the next one's down
interval, a farewell by its skew; while every speaker is down by fault, nothing can end it.  Addresses
that stay behind without adverts are told as evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from harness.bounds.bound import RESOLUTION_S, Bound
from harness.bounds.vrrp import (
    Speaker,
    separation_us,
    successor,
    takeover_after_farewell,
    takeover_after_last_advert,
    two_owners,
)
from harness.properties.facts import CENTISECOND_US, Facts, VirtualRouter, speaker_name
from harness.properties.owners import Ownership, disagreements, wire_owners
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "single-owner"
_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.PASS)


@dataclass(frozen=True)
class _Window:
    """A stretch with none or two owners, weighed against its own bound."""

    from_ns: int
    to_ns: int
    bound: Bound
    status: Status
    words: str
    evidence: tuple[Event | str, ...]

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.to_ns - self.from_ns) / 1e9


def judge(facts: Facts) -> list[Verdict]:
    """Two findings for every virtual router that ever had an owner, and one for each crowded election."""
    verdicts: list[Verdict] = []
    for router in facts.routers:
        claims = wire_owners(facts, router)
        if not claims:
            sentence = f"nobody ever announced {router}"
            verdicts.append(_verdict(facts, router, Status.FAIL, sentence, "none", evidence=()))
            continue
        verdicts.append(_none(facts, router, claims))
        verdicts.append(_two(facts, router, claims))
        verdicts.extend(_crowded(facts, router, claims))
    return verdicts


# -- none ------------------------------------------------------------------------------------------


def _none(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> Verdict:
    found = _gaps(facts, router, claims)
    gaps = [gap for gap in found if gap is not None]
    if found and not gaps:
        sentence = f"nobody announced {router} for a while, but the faults left no speaker that could have"
        return _verdict(facts, router, Status.NOT_APPLICABLE, sentence, "none")
    if not gaps:
        sentence = f"{router} was announced from {_at(facts, claims[0].from_ns)} to the end without a gap"
        bound = Bound(0, 0, "s", "no owner ended")
        return _verdict(facts, router, Status.PASS, sentence, "none", 0.0, bound)
    gap = _worst(gaps)
    sentence = (
        f"nobody announced {router} for {gap.seconds:.4f} s from {_at(facts, gap.from_ns)}: {gap.words}"
    )
    return _verdict(
        facts, router, gap.status, sentence, "none", gap.seconds, gap.bound, evidence=gap.evidence
    )


def _gaps(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[_Window | None]:
    gaps: list[_Window | None] = []
    last = claims[0]
    for claim in claims[1:]:
        if claim.from_ns > last.to_ns:
            gaps.append(_gap(facts, router, last, claim.from_ns, claim))
        if claim.to_ns > last.to_ns:
            last = claim
    if last.to_ns < facts.end_ns:
        gaps.append(_gap(facts, router, last, facts.end_ns, None))
    return gaps


def _gap(
    facts: Facts, router: VirtualRouter, ended: Ownership, to_ns: int, following: Ownership | None
) -> _Window | None:
    """The stretch after a claim; None where no speaker was able to end it."""
    from_ns = ended.to_ns
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
    status, words = weigh(measured, bound, facts.lag_s(from_ns, to_ns))
    if following is None and status is not Status.PASS:
        words = f"nobody took it to the end of the run, {words}"
    first = None if following is None else next(a for a in router.adverts if a.t >= following.from_ns)
    evidence = tuple(e for e in (_advert(router, ended.last_ns), first) if e is not None)
    return _Window(from_ns, to_ns, bound, status, words, evidence)


# -- two -------------------------------------------------------------------------------------------


def _two(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> Verdict:
    overlaps = [
        _overlap(facts, router, one, other)
        for one, other in combinations(claims, 2)
        if one.node != other.node and min(one.to_ns, other.to_ns) > max(one.from_ns, other.from_ns)
    ]
    residue = tuple(disagreements(facts, router))
    bound = two_owners(router.speakers.values())
    if not overlaps:
        sentence = f"never did two nodes announce {router} at once"
        return _verdict(facts, router, Status.PASS, sentence, "two", 0.0, bound, evidence=residue)
    overlap = _worst(overlaps)
    sentence = f"two nodes announced {router} for {overlap.seconds:.4f} s from {_at(facts, overlap.from_ns)}"
    return _verdict(
        facts,
        router,
        overlap.status,
        f"{sentence}: {overlap.words}",
        "two",
        overlap.seconds,
        overlap.bound,
        evidence=(*overlap.evidence, *residue),
    )


def _overlap(facts: Facts, router: VirtualRouter, one: Ownership, other: Ownership) -> _Window:
    from_ns, to_ns = max(one.from_ns, other.from_ns), min(one.to_ns, other.to_ns)
    bound = two_owners([router.speakers[one.node], router.speakers[other.node]])
    status, words = weigh((to_ns - from_ns) / 1e9, bound, facts.lag_s(from_ns, to_ns))
    adverts = [a for a in router.claims(from_ns - 1, to_ns) if speaker_name(a) in (one.node, other.node)]
    return _Window(from_ns, to_ns, bound, status, words, (*adverts[:2], *adverts[2:][-2:]))


def _crowded(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[Verdict]:
    """Two that take a free address within a centisecond, because nothing keeps their timers apart."""
    verdicts: list[Verdict] = []
    resolution_ns = round(RESOLUTION_S * 1e9)
    for sooner, later in combinations(claims, 2):
        if sooner.node == later.node or not 0 <= later.from_ns - sooner.from_ns <= resolution_ns:
            continue
        pair: list[Speaker] = [router.speakers[sooner.node], router.speakers[later.node]]
        apart_us = separation_us(pair)
        held = any(c.node not in (sooner.node, later.node) and c.from_ns < sooner.from_ns for c in claims)
        if apart_us != 0 or not held:
            continue
        bound = Bound(
            1, 1, "claimants", f"equal priority {pair[0].priority} leaves 0 s between their time-outs"
        )
        sentence = f"{sooner.node} and {later.node} took {router} at once, at {_at(facts, sooner.from_ns)}"
        evidence = tuple(e for c in (sooner, later) if (e := _advert(router, c.from_ns)) is not None)
        verdicts.append(
            _verdict(facts, router, Status.FAIL, sentence, "election", 2, bound, evidence=evidence)
        )
    return verdicts


# -- common ----------------------------------------------------------------------------------------


def _worst(windows: list[_Window]) -> _Window:
    """The gravest, and of those the one that exceeds its bound most."""
    return min(windows, key=lambda w: (_WORST_FIRST.index(w.status), w.bound.high - w.seconds))


def _advert(router: VirtualRouter, t_ns: int) -> Event | None:
    return next((a for a in router.adverts if a.t == t_ns), None)


def _origin_ns(facts: Facts) -> int:
    return facts.faults[0].inject_ns if facts.faults else facts.timeline.span[0]


def _at(facts: Facts, t_ns: int) -> str:
    return f"{(t_ns - _origin_ns(facts)) / 1e9:+.3f} s"


def _verdict(
    facts: Facts,
    router: VirtualRouter,
    status: Status,
    sentence: str,
    aspect: str,
    measured: float | None = None,
    bound: Bound | None = None,
    *,
    evidence: tuple[Event | str, ...] = (),
) -> Verdict:
    return Verdict(
        property=NAME,
        status=status,
        sentence=sentence,
        measured=measured,
        bound=bound,
        unit="s" if bound is None else bound.unit,
        evidence=evidence,
        aspect=aspect,
        subject=str(router),
        origin_ns=_origin_ns(facts),
    )
