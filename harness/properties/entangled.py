"""Faults that overlap: what two of them may have done together is no failure of either.

A fault stirs things up from its injection until clients are served and owners stable again (`recovered`),
and from its healing until the same (`healed`).  Where that of two faults overlaps, nothing tells whose
consequences were seen, so a figure beyond its bound cannot be decided; what must never happen, and who did
it, is decided all the same.  Faults of the same nodes are one compound fault, and are judged as such.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harness.properties.facts import Facts, FaultSpan
from harness.verdict import Status, Verdict

_Span = tuple[int, int]
# What only adverts decide: a member that falls ill meanwhile changes nothing.
_OF_OWNERS = ("vip-migration", "single-owner", "fail-back")


def disentangled(facts: Facts, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The same verdicts, but those unknown that fail under a fault which others came on top of."""
    by_id = {fault.id: fault for fault in facts.faults}
    found = []
    for verdict in verdicts:
        fault = by_id.get(verdict.fault)
        others = _others(facts, fault) if fault is not None and _beyond(verdict) else []
        if verdict.property in _OF_OWNERS:
            others = [other for other in others if _touches_owners(facts, other)]
        if others:
            names = " and ".join(map(str, others))
            sentence = f"{verdict.sentence}; but {names} came or went meanwhile, so it may be to blame"
            found.append(replace(verdict, status=Status.UNKNOWN, sentence=sentence))
        else:
            found.append(verdict)
    return found


def _beyond(verdict: Verdict) -> bool:
    """Whether it fails by a figure of which there may be some."""
    return verdict.status is Status.FAIL and verdict.bound is not None and verdict.bound.high > 0


def _touches_owners(facts: Facts, fault: FaultSpan) -> bool:
    return any(facts.effect(fault, router) != "harmless" for router in facts.routers)


def _others(facts: Facts, fault: FaultSpan) -> list[FaultSpan]:
    """The faults of other nodes that stirred things up while this one did."""
    own = _unrest(facts, fault)
    return [
        other
        for other in facts.faults
        if not set(other.nodes) & set(fault.nodes)
        if any(a < d and c < b for a, b in own for c, d in _unrest(facts, other))
    ]


def _unrest(facts: Facts, fault: FaultSpan) -> list[_Span]:
    """From when until when a fault, and its healing, may show (ns)."""
    recovered = facts.timeline.first("phase", name="recovered", since=fault.inject_ns)
    until_ns = facts.end_ns if fault.heal_ns is None else fault.heal_ns
    spans = [(fault.inject_ns, until_ns if recovered is None else min(recovered.t, until_ns))]
    if fault.heal_ns is not None:
        healed = facts.timeline.first("phase", name="healed", since=fault.healed_ns or fault.heal_ns)
        spans.append((fault.heal_ns, facts.end_ns if healed is None else healed.t))
    return spans
