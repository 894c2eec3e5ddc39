"""A fault that no property judged must not pass: what it does to clients was simply not asked."""

from __future__ import annotations

from collections.abc import Iterable

from harness.properties.facts import Facts, FaultSpan
from harness.properties.hearing import unpromised
from harness.properties.matter import Matter
from harness.verdict import Status, Verdict

NAME = "coverage"


def unjudged(facts: Facts, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One finding for every fault of which none decided anything: `unknown`, unless nothing is promised."""
    judged = {v.fault for v in verdicts if v.status is not Status.NOT_APPLICABLE}
    return [
        Matter.of_fault(NAME, fault, fault.target).verdict(
            Status.NOT_APPLICABLE if unpromised(fault) else Status.UNKNOWN, _sentence(fault)
        )
        for fault in facts.faults
        if fault.id not in judged
    ]


def _sentence(fault: FaultSpan) -> str:
    if why := unpromised(fault):
        return f"the figures are what {fault} cost; nothing is promised of it: {why}"
    return f"no property says what {fault} must do, so nothing was judged of it"
