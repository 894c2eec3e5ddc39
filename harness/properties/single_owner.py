"""single-owner: over the whole run, never two owners and never none for longer than the arithmetic allows.

The wire decides.  A gap is explained by how the last owner ended: silence by the next one's down
interval, a farewell by its skew; while every speaker is down by fault, nothing can end it.  Addresses
that stay behind without adverts are told as evidence.
"""

from __future__ import annotations

from harness.bounds.bound import RESOLUTION_S, Bound
from harness.bounds.vrrp import separation_us, two_owners
from harness.properties.facts import Facts, VirtualRouter
from harness.properties.gaps import gaps
from harness.properties.matter import Matter
from harness.properties.overlaps import overlaps
from harness.properties.owners import Ownership, disagreements, wire_owners
from harness.properties.takeover import takeovers
from harness.properties.windows import Window, advert_at
from harness.verdict import Status, Verdict

NAME = "single-owner"
_WORST_FIRST = (Status.FAIL, Status.UNKNOWN, Status.LIMITATION, Status.PASS)


def judge(facts: Facts) -> list[Verdict]:
    """Two findings for every virtual router that ever had an owner, and one for each crowded election."""
    verdicts: list[Verdict] = []
    for router in facts.routers:
        claims = wire_owners(facts, router)
        if not claims:
            sentence = f"nobody ever announced {router}"
            verdicts.append(_matter(facts, router, "none").verdict(Status.FAIL, sentence))
            continue
        verdicts.append(_none(facts, router, claims))
        verdicts.append(_two(facts, router, claims))
        verdicts.extend(_crowded(facts, router, claims))
    return verdicts


# -- none ------------------------------------------------------------------------------------------


def _none(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> Verdict:
    found = gaps(facts, router, claims)
    known = [gap for gap in found if gap is not None]
    if found and not known:
        sentence = f"nobody announced {router} for a while, but the faults left no speaker that could have"
        return _matter(facts, router, "none").verdict(Status.NOT_APPLICABLE, sentence)
    if not known:
        sentence = f"{router} was announced from {_at(facts, claims[0].from_ns)} to the end without a gap"
        bound = Bound(0, 0, "s", "no owner ended")
        return _matter(facts, router, "none").verdict(Status.PASS, sentence, 0.0, bound)
    gap = _worst(known)
    sentence = (
        f"nobody announced {router} for {gap.seconds:.4f} s from {_at(facts, gap.from_ns)}: {gap.words}"
    )
    return _matter(facts, router, "none").verdict(gap.status, sentence, gap.seconds, gap.bound, gap.evidence)


# -- two -------------------------------------------------------------------------------------------


def _two(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> Verdict:
    found = overlaps(facts, router, claims)
    residue = tuple(disagreements(facts, router))
    bound = two_owners(router.speakers.values())
    if not found:
        sentence = f"never did two nodes announce {router} at once"
        return _matter(facts, router, "two").verdict(Status.PASS, sentence, 0.0, bound, residue)
    overlap = _worst(found)
    sentence = f"two nodes {overlap.did} {router} for {overlap.seconds:.4f} s"
    sentence += f" from {_at(facts, overlap.from_ns)}"
    parted = any(facts.effect(fault, router) == "parts" for fault in facts.faults)
    return _matter(facts, router, "two").verdict(
        overlap.status,
        f"{sentence}: {overlap.words}",
        overlap.seconds,
        overlap.bound,
        (*overlap.evidence, *residue),
        outright=overlap.status is Status.LIMITATION and parted,
    )


def _crowded(facts: Facts, router: VirtualRouter, claims: list[Ownership]) -> list[Verdict]:
    """Elections between two whose time-outs nothing keeps apart: whether one or both win is chance."""
    verdicts: list[Verdict] = []
    resolution_ns = round(RESOLUTION_S * 1e9)
    for move in takeovers(facts):
        if not move.due or move.first is None or not move.router.same(router):
            continue
        gone = facts.silenced(router, move.fault.inject_ns) | {move.owner}
        pair = sorted(router.others(*(g for g in gone if g)), key=lambda s: s.priority)[-2:]
        if len(pair) < 2 or separation_us(pair) != 0:
            continue
        names = " and ".join(sorted(s.node for s in pair))
        from_ns = move.first.t
        near = [c for c in claims if abs(c.from_ns - from_ns) <= resolution_ns]
        both = {c.node for c in near} >= {s.node for s in pair}
        sentence = f"{names} had their time-outs for {router} at once, at {_at(facts, from_ns)}: "
        sentence += "both took it" if both else "it was chance that only one of them took it"
        bound = Bound(
            1, 1, "claimants", f"equal priority {pair[0].priority} leaves 0 s between their time-outs"
        )
        evidence = tuple(e for c in near if (e := advert_at(router, c.from_ns)) is not None)
        verdicts.append(_matter(facts, router, "election").verdict(Status.FAIL, sentence, 2, bound, evidence))
    return verdicts


# -- common ----------------------------------------------------------------------------------------


def _worst(windows: list[Window]) -> Window:
    """The gravest, and of those the one that exceeds its bound most."""
    return min(windows, key=lambda w: (_WORST_FIRST.index(w.status), w.bound.high - w.seconds))


def _origin_ns(facts: Facts) -> int:
    return facts.faults[0].inject_ns if facts.faults else facts.timeline.span[0]


def _at(facts: Facts, t_ns: int) -> str:
    return f"{(t_ns - _origin_ns(facts)) / 1e9:+.3f} s"


def _matter(facts: Facts, router: VirtualRouter, aspect: str) -> Matter:
    return Matter(NAME, str(router), aspect, _origin_ns(facts))
