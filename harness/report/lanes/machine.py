"""Lanes of hosts and services: members' own illness, services that end, and how late the testbed was."""

from __future__ import annotations

from harness.properties.facts import Facts
from harness.properties.illness import no_illness
from harness.report.lanes.model import Lane, Moment, State, Stretch, stretches_of
from harness.timeline import Timeline

_LATE_NS = 10_000_000
_Change = tuple[int, State, str, str]


def lanes(timeline: Timeline, facts: Facts | None) -> list[Lane]:
    """Members that were hit by a fault, every balancer's services, the testbed's own lateness."""
    roles = {node["name"]: node["role"] for node in timeline.run.nodes}
    found: list[Lane] = []
    services = {(event.node, event.service) for event in timeline.of("service")}
    for node, service in sorted(services):
        ended = timeline.first("service", node=node, service=service, state="exited")
        if roles.get(node) == "balancer" or (ended is not None and _before_the_end(timeline, ended.t)):
            found.append(_service(timeline, node, service))
    for node, role in roles.items():
        if role == "member" and facts is not None and (lane := _illness(timeline, facts, node)):
            found.append(lane)
    late = [event for event in timeline.of("lag") if event.lag_ns >= _LATE_NS]
    if late:
        moments = [
            Moment(event.t, "warn", f"{event.source} was late by {event.lag_ns / 1e6:.0f} ms")
            for event in late
        ]
        found.append(Lane("testbed's own lateness", moments=tuple(moments)))
    return found


def _before_the_end(timeline: Timeline, t_ns: int) -> bool:
    done = timeline.last("phase", name="done")
    return done is None or t_ns < done.t


def _service(timeline: Timeline, node: str, service: str) -> Lane:
    words: dict[str, tuple[State, str]] = {
        "started": ("warn", "starting"),
        "ready": ("good", "runs"),
        "exited": ("off", "ended"),
    }
    changes: list[_Change] = []
    for event in timeline.of("service", node=node, service=service):
        state, label = words.get(event.state, ("warn", str(event.state)))
        status = event.get("status")
        changes.append((event.t, state, label, "" if status is None else f"status {status}"))
    return Lane(f"{node}: {service}", stretches_of(changes, timeline.span[1]))


def _illness(timeline: Timeline, facts: Facts, member: str) -> Lane:
    """What was wrong with a member itself, whoever noticed."""
    stretches = [
        Stretch(
            fault.inject_ns,
            fault.healed_ns or fault.heal_ns or timeline.span[1],
            "bad",
            fault.fault,
            " ".join([fault.target, str(fault.inject.get("detail") or "")]).strip(),
        )
        for fault in facts.faults
        if member in fault.nodes and not no_illness(fault)
    ]
    return Lane(f"{member}: ill", tuple(stretches))
