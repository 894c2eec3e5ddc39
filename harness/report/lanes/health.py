"""Lanes of the members: what each balancer's HAProxy says of each, and the checks that it answered."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any

from harness.properties.illness import HEALTH_PATHS
from harness.report.lanes.model import Lane, Moment, State, stretches_of
from harness.timeline import Event, Timeline

_Change = tuple[int, State, str, str]


def lanes(timeline: Timeline) -> list[Lane]:
    """One lane for each balancer and member that it checks."""
    checks = _checks(timeline)
    told: dict[tuple[str, str], list[Event]] = {}
    for event in timeline.of("health"):
        told.setdefault((event.node, event.server), []).append(event)
    return [
        _lane(
            timeline, balancer, member, told.get((balancer, member), []), checks.get((balancer, member), [])
        )
        for balancer, member in sorted({*told, *checks})
    ]


def _checks(timeline: Timeline) -> dict[tuple[str, str], list[Event]]:
    """The health checks that members answered, by the balancer whose address they came from."""
    run = timeline.run
    paths = HEALTH_PATHS | {str(run.options.get("check_path") or "/readyz")}
    balancer_of = dict(_addresses(run.nodes))
    found: dict[tuple[str, str], list[Event]] = {}
    for event in timeline.of("access"):
        balancer = balancer_of.get(str(event.peer).rpartition(":")[0].strip("[]"))
        if balancer is not None and event.path in paths:
            found.setdefault((balancer, event.node), []).append(event)
    return found


def _addresses(nodes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if node["role"] == "balancer":
            for interface in node["interfaces"]:
                for address in interface["addresses"]:
                    yield str(ip_interface(address).ip), node["name"]


def _lane(timeline: Timeline, balancer: str, member: str, told: list[Event], checks: list[Event]) -> Lane:
    changes: list[_Change] = [*_proxy(timeline, balancer)]
    for event in told:
        state: State = "good" if event.up else "bad"
        changes.append((event.t, state, "up" if event.up else "down", str(event.get("reason") or "")))
    changes.sort(key=lambda change: change[0])
    return Lane(
        f"{balancer}: {member}",
        stretches_of(changes, timeline.span[1]),
        tuple(_answered(event) for event in checks),
        about=frozenset({member}),
    )


def _proxy(timeline: Timeline, balancer: str) -> Iterator[_Change]:
    """A proxy takes its members for well when it starts (HAProxy's manual, 5.2 "check"), and then looks."""
    for event in timeline.of("service", node=balancer, service="haproxy"):
        if event.state == "ready":
            yield event.t, "good", "up", "as every server at HAProxy's start"
        elif event.state == "exited":
            yield event.t, "off", "no HAProxy", "haproxy has ended"


def _answered(event: Event) -> Moment:
    good = event.status < 400 if isinstance(event.status, int) else False
    return Moment(event.t, "good" if good else "bad", f"check of {event.path} answered with {event.status}")
