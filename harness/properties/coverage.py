"""A fault that no property judged must not pass: what it does to clients was simply not asked."""

from __future__ import annotations

from collections.abc import Iterable

from harness.properties.facts import Facts
from harness.verdict import Status, Verdict

NAME = "coverage"


def unjudged(facts: Facts, verdicts: Iterable[Verdict]) -> list[Verdict]:
    """One `unknown` for every fault of which no finding decided anything."""
    judged = {v.fault for v in verdicts if v.status is not Status.NOT_APPLICABLE}
    return [
        Verdict(
            property=NAME,
            status=Status.UNKNOWN,
            sentence=f"no property says what {fault} must do, so nothing was judged of it",
            subject=fault.target,
            origin_ns=fault.inject_ns,
            fault=fault.id,
        )
        for fault in facts.faults
        if fault.id not in judged
    ]
