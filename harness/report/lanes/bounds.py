"""The promises on the lanes: the window in which each bound let something happen, as the verdicts have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.properties.facts import Facts, FaultSpan
from harness.report.lanes.model import Group, Lane, Promise
from harness.verdict import Status, Verdict

# From which moment of a fault's life a bound counts.  What is counted from anything else has no window.
_FROM_FAULT = {
    ("vip-migration", "takeover"),
    ("service-tracking", "takeover"),
    ("client-outage", "outage"),
    ("member-removal", "removal"),
}
_FROM_HEALING = {("fail-back", ""), ("member-removal", "return")}


def marked(groups: list[Group], verdicts: Sequence[Verdict], facts: Facts | None) -> list[Group]:
    """The same groups, with every promise on the first lanes that it is about."""
    faults = {} if facts is None else {fault.id: fault for fault in facts.faults}
    for verdict in verdicts:
        promise = _promise(verdict, faults.get(verdict.fault) or _only(faults))
        if promise is not None:
            groups = [Group(g.name, [_with(lane, verdict, promise) for lane in g.lanes]) for g in groups]
    return groups


def _only(faults: dict[str, FaultSpan]) -> FaultSpan | None:
    return next(iter(faults.values())) if len(faults) == 1 else None


def _promise(verdict: Verdict, fault: FaultSpan | None) -> Promise | None:
    bound, kind = verdict.bound, (verdict.property, verdict.aspect)
    if bound is None or fault is None or bound.unit != "s" or math.isinf(bound.high) or not bound.high:
        return None
    begins = fault.inject_ns if kind in _FROM_FAULT else fault.heal_ns if kind in _FROM_HEALING else None
    if begins is None:
        return None
    low, high = begins + round(bound.low * 1e9), begins + round(bound.high * 1e9)
    return Promise(low, high, verdict.status is not Status.FAIL, f"{verdict.title()}: promised {bound}")


def _with(lane: Lane, verdict: Verdict, promise: Promise) -> Lane:
    is_about = verdict.subject in lane.about or verdict.subject.partition(" behind ")[0] in lane.about
    return replace(lane, promises=(*lane.promises, promise)) if is_about else lane
