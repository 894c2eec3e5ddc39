"""Which drills are void: the testbed itself was late, and that may be why nothing can be said.

A verdict that lateness alone may explain says nothing about the load balancer, for it or against it, so
such a drill is run again, at most twice, the second time with no other beside it.  A finding (a check that
failed) never is, and neither is an unknown verdict on a machine that was in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.bounds.bound import RESOLUTION_S

if TYPE_CHECKING:
    from harness.timeline import Timeline

MOST_RUNS = 3
_NS = 1_000_000_000


def lateness(timeline: Timeline) -> str:
    """What was late by how much since the steady state, where it may matter; else nothing."""
    steady = timeline.first("phase", name="steady")
    since = timeline.span[0] if steady is None else steady.t
    worst = max(timeline.of("lag", since=since), key=lambda lag: int(lag.lag_ns), default=None)
    if worst is None or worst.lag_ns <= RESOLUTION_S * _NS:
        return ""
    return f"{worst.source} was late by {worst.lag_ns / _NS:.3f} s"
