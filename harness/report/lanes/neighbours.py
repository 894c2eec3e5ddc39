"""Lanes of those who must find the VIP: at which node's hardware address each believes it to be.

By netlink inside the node (`neighbour` events); who asks a VIP by way of a router knows only the router.
"""

from __future__ import annotations

from itertools import zip_longest

from harness.report.lanes.model import Lane, State, Stretch
from harness.timeline import Event, Timeline


def lanes(timeline: Timeline) -> list[Lane]:
    """One lane for each node and VIP that it looked for."""
    run = timeline.run
    vips = {vip["address"] for vip in run.vips}
    owner_of = {i["mac"]: node["name"] for node in run.nodes for i in node["interfaces"]}
    views: dict[tuple[str, str], list[Event]] = {}
    for event in timeline.of("neighbour"):
        if event.address in vips:
            views.setdefault((event.node, event.address), []).append(event)
    down = {node: _down(timeline, node) for node, _ in views}
    several = len({address for _, address in views}) > 1
    return [
        Lane(
            f"{node}: {address}" if several else node,
            _stretches(events, owner_of, down[node], timeline.span[1]),
        )
        for (node, address), events in sorted(views.items())
    ]


def _down(timeline: Timeline, node: str) -> list[int]:
    return [event.t for event in timeline.of("node", node=node, state="crashed")]


def _stretches(
    events: list[Event], owner_of: dict[str, str], down: list[int], end_ns: int
) -> tuple[Stretch, ...]:
    found: list[Stretch] = []
    for event, following in zip_longest(events, events[1:]):
        until = end_ns if following is None else following.t
        until = min([until, *(t for t in down if t > event.t)])
        if event.mac is None:
            found.append(Stretch(event.t, until, "warn", "unknown", "looks for it, or has forgotten it"))
            continue
        node = owner_of.get(event.mac, "")
        state: State = "node" if node else "bad"
        detail = f"its neighbour cache says: {event.address} is at {event.mac}"
        found.append(Stretch(event.t, until, state, node or event.mac, detail, node))
    return tuple(found)
