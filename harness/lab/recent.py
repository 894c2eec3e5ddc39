"""What somebody has to be told who begins to watch now: how things stand, and what happened of late."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from harness.timeline import Event, Timeline

# Kinds of which the last event tells how things stand, by these fields.
_STATES: dict[str, tuple[str, ...]] = {
    "run": (),
    "phase": (),
    "node": ("node",),
    "service": ("node", "service"),
    "address": ("node", "interface", "address"),
    "link": ("node", "interface"),
    "health": ("node", "service", "pool", "server"),
}


def catch_up(timeline: Timeline, since_ns: int, acting: Collection[str]) -> list[Event]:
    """The state as of `since_ns` (faults: those that act), then everything since, in order of time."""
    latest: dict[tuple[str, tuple[Any, ...]], Event] = {}
    for event in timeline.of(*_STATES, until=since_ns - 1):
        subject = tuple(event.get(name) for name in _STATES[event.kind])
        latest[event.kind, subject] = event
    faults = [event for event in timeline.of("fault", until=since_ns - 1) if event.id in acting]
    before = sorted([*latest.values(), *faults], key=lambda event: event.t)
    return [*before, *timeline.since(since_ns)]
