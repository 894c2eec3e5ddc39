"""The verdict in one sentence that a manager understands."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.bounds.bound import RESOLUTION_S, Bound
from harness.properties import coverage, service_tracking
from harness.properties.takeover import Takeover
from harness.report.summary import Summary
from harness.timeline import Timeline
from harness.verdict import Status, Verdict, worst

_WORDS = {
    Status.FAIL: "failed",
    Status.UNKNOWN: "could not be decided",
    Status.LIMITATION: "does not hold (known limitation)",
}


def outcome(verdicts: Sequence[Verdict]) -> Status:
    """What the run amounts to: as `worst`, but a run of which nothing was decided is unknown."""
    status = worst(verdicts)
    return Status.UNKNOWN if status is Status.NOT_APPLICABLE else status


def headline(timeline: Timeline, verdicts: Sequence[Verdict], summary: Summary | None = None) -> str:
    """For example "VIP moved in 0.31 s, promised ≤ 0.36 s; 29 of 3,000 requests lost."."""
    figures = summary or Summary.of(timeline)
    parts = [_move(figures, verdicts), _requests(figures)]
    parts += [_others(verdicts, status) for status in (Status.FAIL, Status.UNKNOWN)]
    parts.append(_others([verdict for verdict in verdicts if verdict.outright], Status.LIMITATION))
    parts += _unpromised(verdicts)
    text = "; ".join(part for part in parts if part)
    return f"{text[:1].upper()}{text[1:]}."


def _unpromised(verdicts: Sequence[Verdict]) -> list[str]:
    """Where nothing was decided of a fault: that its figures are no promise that was kept."""
    said = any(v.property == coverage.NAME and v.status is Status.NOT_APPLICABLE for v in verdicts)
    return ["nothing is promised under this fault"] if said else []


def _move(figures: Summary, verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return "nothing was judged: the run ended too early"
    if not figures.faults:
        return "no fault was injected"
    slowest, bound = figures.slowest, figures.bound
    if slowest is None:
        owners = sorted({move.owner for move in figures.takeovers if move.owner})
        came = [move.first.node for move in figures.takeovers if move.first is not None]
        if tracked := _tracked(verdicts):
            return tracked
        if came:
            called = any(move.effect == "open" for move in figures.takeovers)
            return f"the VIP moved to {came[0]}{'' if called else ' though nothing called for it'}"
        return f"the VIP stayed on {', '.join(owners)}" if owners else "no VIP was announced"
    vips = "VIP" if len(figures.due) == 1 else f"{len(figures.due)} VIPs, the slowest of them,"
    if slowest.taken_s is None:
        promise = f", promised {_promise(bound, 2)}" if bound is not None else ""
        return f"{vips} never moved{promise}"
    if bound is None:
        return f"{vips} moved in {slowest.taken_s:.2f} s"
    early, late = slowest.taken_s < bound.low, slowest.taken_s > bound.high
    passed = _passed(slowest, verdicts)
    places = 2 if passed else _places(slowest.taken_s, bound)
    promise = _promise(bound, places, both=early)
    # Within the resolution of VRRP's timers a value may lie beside the bound and still keep it.
    leeway = f" give or take {RESOLUTION_S:g} s" if passed and (early or late) else ""
    return f"{vips} moved in {slowest.taken_s:.{places}f} s, promised {promise}{leeway}"


def _tracked(verdicts: Sequence[Verdict]) -> str:
    """The slowest takeover that service tracking brought about, if it was to bring one about."""
    made = [v for v in verdicts if v.property == service_tracking.NAME and v.aspect == "takeover"]
    slowest = max(made, key=lambda verdict: verdict.measured or 0.0, default=None)
    if slowest is None or slowest.bound is None or slowest.bound.unit != "s" or slowest.measured is None:
        return ""
    places = _places(slowest.measured, slowest.bound)
    promise = _promise(slowest.bound, places, both=slowest.measured < slowest.bound.low)
    return f"VIP moved in {slowest.measured:.{places}f} s, promised {promise}"


def _passed(takeover: Takeover, verdicts: Sequence[Verdict]) -> bool:
    """Whether its time was judged to keep the promise."""
    about = (str(takeover.router), takeover.fault.inject_ns)
    return any(
        verdict.status is Status.PASS and verdict.aspect == "takeover"
        for verdict in verdicts
        if (verdict.subject, verdict.origin_ns) == about
    )


def _promise(bound: Bound, places: int, *, both: bool = False) -> str:
    if math.isinf(bound.high):
        return f"≥ {bound.low:.{places}f} {bound.unit}"
    high = f"{bound.high:.{places}f} {bound.unit}"
    return f"{bound.low:.{places}f} to {high}" if both else f"≤ {high}"


def _places(measured: float, bound: Bound) -> int:
    """Two decimals, or as many as it takes to see on which side of the bound the value lies."""
    for places in (2, 3, 4):
        shown = round(measured, places)
        low, high = round(bound.low, places), round(bound.high, places)
        seen = (shown > high) - (shown < low)
        if seen == (measured > bound.high) - (measured < bound.low):
            return places
    return 6


def _requests(figures: Summary) -> str:
    sent, lost = figures.requests()
    if not sent:
        return "no client asked anything"
    return f"{f'{lost:,}' if lost else 'none'} of {sent:,} requests lost"


def _others(verdicts: Sequence[Verdict], status: Status) -> str:
    found = dict.fromkeys(verdict.property for verdict in verdicts if verdict.status is status)
    return f"{', '.join(found)} {_WORDS[status]}" if found else ""
