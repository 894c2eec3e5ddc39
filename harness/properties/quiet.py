"""Which attempts were made while nothing was wrong: steady, and outside of all faults and their healing."""

from __future__ import annotations

from collections.abc import Iterable

from harness.properties.facts import SECOND_NS, Facts, FaultSpan
from harness.timeline import Event


def quiet_again(facts: Facts, fault: FaultSpan) -> int:
    """When the consequences of a fault and of its healing are over at the latest."""
    if fault.healed_ns is None:
        return facts.end_ns + SECOND_NS
    phases = [e.t for e in facts.timeline.of("phase", name="healed", since=fault.healed_ns)]
    return phases[0] if phases else facts.end_ns + SECOND_NS


def in_quiet(facts: Facts, attempts: Iterable[Event]) -> list[Event]:
    """Those of these attempts that no fault touched: over before it, or due after its consequences."""
    spans = [(fault.inject_ns, quiet_again(facts, fault)) for fault in facts.faults]
    steady = facts.timeline.first("phase", name="steady")
    return [
        a
        for a in attempts
        if steady is None or a.t >= steady.t
        if not any(a.end >= start and a.t < end for start, end in spans)
    ]
