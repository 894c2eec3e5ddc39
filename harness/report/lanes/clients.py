"""Lanes of the clients: runs of attempts answered and lost, for each target and kind of connection.

A run begins when its first attempt was due, and ends when the first attempt of the next was.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby, zip_longest

from harness.report.lanes.model import Lane, Moment, Stretch
from harness.timeline import Event, Timeline

_MOST_MOMENTS = 2000


def lanes(timeline: Timeline) -> list[Lane]:
    """One lane for each stream, those of separate connections first."""
    attempts: dict[tuple[bool, str, str], list[Event]] = {}
    for event in timeline.of("probe"):
        attempts.setdefault((event.stream == "long", event.client, event.target), []).append(event)
    several = len({target for _, _, target in attempts}) > 1
    return [
        _lane(key, made, timeline.span[1], several=several)
        for key, made in sorted(attempts.items(), key=lambda item: item[0])
    ]


def _lane(key: tuple[bool, str, str], made: list[Event], end_ns: int, *, several: bool) -> Lane:
    long, client, target = key
    name = f"{client} {target}" if several else client
    lost = [event for event in made if event.result != "ok"]
    return Lane(
        f"{name}, long" if long else name,
        tuple(_runs(made, end_ns)),
        tuple(_lost(event) for event in lost[:_MOST_MOMENTS]),
        about=frozenset() if long else frozenset({f"{client} to {target}"}),
    )


def _runs(made: list[Event], end_ns: int) -> list[Stretch]:
    runs = [list(run) for _, run in groupby(made, key=lambda event: event.result == "ok")]
    found: list[Stretch] = []
    for run, following in zip_longest(runs, runs[1:]):
        until = min(end_ns, run[-1].end) if following is None else following[0].t
        if run[0].result == "ok":
            by = Counter(str(event.member) for event in run if event.member)
            members = ", ".join(f"{member} {count}" for member, count in sorted(by.items()))
            detail = f"{len(run):,} answered" + (f" by {members}" if members else "")
            found.append(Stretch(run[0].t, max(until, run[0].t), "good", "answered", detail))
            continue
        causes = Counter(event.result for event in run)
        told = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
        label = f"{len(run)} lost"
        detail = f"{told}, in {(until - run[0].t) / 1e9:.3f} s"
        found.append(Stretch(run[0].t, max(until, run[0].t), "bad", label, detail, event=run[0]))
    return found


def _lost(event: Event) -> Moment:
    more = f", {event.detail}" if event.get("detail") else ""
    taken_ms = (event.end - event.t) / 1e6
    text = f"attempt {event.seq} lost: {event.result}{more} after {taken_ms:.1f} ms"
    return Moment(event.t, "bad", text, event=event)
