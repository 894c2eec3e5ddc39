"""Lanes of VRRP: each speaker's state as the wire and its process tell it, and every advert."""

from __future__ import annotations

from itertools import zip_longest

from harness.properties.facts import Facts, speaker_name
from harness.report.announcers import silent_after_ns
from harness.report.lanes.model import Lane, Moment, State, stretches_of
from harness.timeline import Event, Timeline

_CENTISECOND_NS = 10_000_000
_Change = tuple[int, State, str, str]


def lanes(timeline: Timeline, facts: Facts | None) -> list[Lane]:
    """One lane for each speaker of each virtual router."""
    adverts: dict[tuple[str, int, str], list[Event]] = {}
    for event in timeline.of("vrrp"):
        adverts.setdefault((event.segment, event.vrid, speaker_name(event)), []).append(event)
    for router in facts.routers if facts else ():
        for node in router.speakers:
            adverts.setdefault((router.segment, router.vrid, node), [])
    several = len({(segment, vrid) for segment, vrid, _ in adverts}) > 1
    return [
        lane
        for (_, vrid, node), said in sorted(adverts.items())
        if (lane := _lane(timeline, f"{node} VRID {vrid}" if several else node, node, said))
    ]


def _lane(timeline: Timeline, name: str, node: str, adverts: list[Event]) -> Lane:
    changes = sorted([*_alive(timeline, node), *_announcing(adverts, timeline.span[1])], key=lambda c: c[0])
    return Lane(
        name,
        stretches_of(_in_force(changes), timeline.span[1], node),
        tuple(_moment(event, node) for event in adverts),
    )


def _announcing(adverts: list[Event], end_ns: int) -> list[_Change]:
    """When a node begins and ends to announce."""
    changes: list[_Change] = []
    valid = [event for event in adverts if not event.get("bad")]
    for event, following in zip_longest(valid, valid[1:]):
        if event.priority == 0:
            changes.append((event.t, "idle", "backup", "silent after its farewell (priority 0)"))
            continue
        detail = f"announces, priority {event.priority}, every {event.interval_cs / 100:g} s"
        changes.append((event.t, "node", "active", detail))
        last_ns = event.t + event.interval_cs * _CENTISECOND_NS
        if last_ns < end_ns and (following is None or following.t - event.t > silent_after_ns(event)):
            changes.append((last_ns, "idle", "backup", "silent"))
    return changes


def _alive(timeline: Timeline, node: str) -> list[_Change]:
    """When a node or its keepalived comes and goes."""
    changes: list[_Change] = []
    for event in timeline.of("service", "node", node=node):
        if event.kind == "service" and event.service == "keepalived":
            runs = event.state != "exited"
            state: State = "idle" if runs else "off"
            if event.state != "ready":
                changes.append((event.t, state, "backup" if runs else "ended", f"keepalived {event.state}"))
        elif event.kind == "node" and event.state in ("crashed", "frozen"):
            changes.append((event.t, "off", event.state, f"the host is {event.state}"))
        elif event.kind == "node" and event.state == "thawed":
            changes.append((event.t, "idle", "backup", "the host goes on"))
    return changes


def _in_force(changes: list[_Change]) -> list[_Change]:
    """The changes without those that say "silent" of what is dead, or "backup" of what announces."""
    kept: list[_Change] = []
    for change in changes:
        before = kept[-1] if kept else None
        if before is not None and before[1] == "off" and change[3].startswith("silent"):
            continue
        kept.append(change)
    return kept


def _moment(event: Event, node: str) -> Moment:
    if bad := event.get("bad"):
        return Moment(event.t, "bad", f"advert to be discarded: {bad}", node, event)
    if event.priority == 0:
        return Moment(event.t, "warn", f"farewell: VRID {event.vrid}, priority 0", node, event)
    text = f"advert: VRID {event.vrid}, priority {event.priority}, every {event.interval_cs / 100:g} s"
    return Moment(event.t, "node", text, node, event)
