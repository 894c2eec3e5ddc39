"""The drawing of a topology with the fault marked, as SVG: segments are lines, nodes are boxes on them.

Made from the timeline's `run` event alone.  Nodes that stand on two segments are drawn between them,
clients of the first segment above it, all others below; a crowd of nodes of one role becomes one box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from harness.properties.facts import FaultSpan
from harness.report.summary import Hold, Summary
from harness.timeline import Timeline

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 92, 46, 14, 34
_CROWD = 8


@dataclass
class Box:
    """A node in the drawing, or a crowd of them; `segments` are those it stands on."""

    name: str
    role: str
    detail: str
    segments: tuple[str, ...]
    marks: list[str] = field(default_factory=list)
    colour: int = 5
    x: float = 0.0
    y: float = 0.0
    broken_links: set[str] = field(default_factory=set)
    before: bool = False
    after: bool = False

    @property
    def middle(self) -> float:
        """Where its links leave."""
        return self.x + _WIDTH / 2


@dataclass
class Line:
    """A segment in the drawing, from `left` to `right` at `y`."""

    name: str
    y: float = 0.0
    left: float = 0.0
    right: float = 0.0
    mark: str = ""


def draw(timeline: Timeline, figures: Summary, colours: dict[str, int]) -> Markup:
    """The drawing, or nothing where the run is not described."""
    run = timeline.first("run")
    if run is None:
        return Markup()
    boxes = _boxes(run.nodes, figures, colours)
    for fault in figures.faults[:4]:
        if fault.target not in run.segments:
            _mark(boxes, fault)
    _owners(boxes, figures)
    lines = {name: Line(name) for name in _in_order(run.segments, boxes)}
    for fault in figures.faults[:4]:
        if fault.target in lines:
            lines[fault.target].mark = fault.fault
    width, height = _place(boxes, lines)
    vips = list(dict.fromkeys(vip["address"] for vip in run.vips))
    environment = Environment(loader=PackageLoader("harness.report.html"), autoescape=True)
    template = environment.get_template("drawing.svg.j2")
    words = {"boxes": boxes, "lines": list(lines.values()), "links": list(_links(boxes, lines)), "vips": vips}
    return Markup(template.render(**words, width=width, height=height, w=_WIDTH, h=_HEIGHT))  # noqa: S704


def _boxes(nodes: list[dict[str, Any]], figures: Summary, colours: dict[str, int]) -> list[Box]:
    hit = {node for fault in figures.faults for node in fault.nodes}
    boxes: list[Box] = []
    crowds: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for node in nodes:
        crowds.setdefault((node["role"], _segments(node)), []).append(node)
    for (role, segments), alike in crowds.items():
        apart = [node for node in alike if len(alike) <= _CROWD or node["name"] in hit]
        boxes += [
            Box(n["name"], role, _address(n), segments, colour=colours.get(n["name"], 5)) for n in apart
        ]
        rest = [node for node in alike if node not in apart]
        if rest:
            names = f"{rest[0]['name']} … {rest[-1]['name']}" if len(rest) > 1 else rest[0]["name"]
            boxes.append(Box(names, role, f"{len(rest)} nodes", segments))
    return boxes


def _segments(node: dict[str, Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(interface["segment"] for interface in node["interfaces"]))


def _address(node: dict[str, Any]) -> str:
    addresses = [a.partition("/")[0] for i in node["interfaces"] for a in i["addresses"]]
    return addresses[0] if len(addresses) == 1 else f"{len(addresses)} addresses"


def _mark(boxes: list[Box], fault: FaultSpan) -> None:
    interface = re.search(r":(\w+)", fault.target)
    for box in boxes:
        if box.name in fault.nodes:
            box.marks.append(" ".join([fault.fault, *fault.services_on(box.name)]))
            if fault.fault.startswith("link") or interface:
                box.broken_links |= set(box.segments)


def _owners(boxes: list[Box], figures: Summary) -> None:
    """Who had a VIP when the fault came, and who had it last before the healing."""
    by_name = {box.name: box for box in boxes}
    fault = figures.faults[0] if figures.faults else None
    moment = figures.origin_ns
    ends = [hold.to_ns for hold in figures.holds]
    until = (fault.heal_ns if fault and fault.heal_ns else max(ends, default=moment)) if fault else moment
    for hold in figures.holds:
        box = by_name.get(hold.node)
        if box is not None:
            box.before |= _owned(hold, moment if fault else max(ends))
            box.after |= bool(fault) and _owned(hold, until)


def _owned(hold: Hold, t_ns: int) -> bool:
    """Whether it was held at a moment, or until just before it."""
    return hold.from_ns <= t_ns <= hold.to_ns + 1_000_000_000 and hold.from_ns < hold.to_ns


def _in_order(segments: list[str], boxes: list[Box]) -> list[str]:
    """Segments that share nodes next to each other, the one with the fewest nodes first."""
    size = {s: sum(s in box.segments for box in boxes) for s in segments}
    rest = sorted(segments, key=lambda s: (size[s], s))
    ordered: list[str] = []
    while rest:
        near = [s for s in rest if ordered and any({s, ordered[-1]} <= set(box.segments) for box in boxes)]
        ordered.append((near or rest)[0])
        rest.remove(ordered[-1])
    return ordered


def _place(boxes: list[Box], lines: dict[str, Line]) -> tuple[float, float]:
    """Give every box and line its place; the width and height of it all."""
    order = list(lines)
    rows: list[list[Box]] = [[] for _ in range(len(order) + 1)]
    for box in boxes:
        first = min((order.index(s) for s in box.segments), default=0)
        above = first == 0 and box.role == "client" and len(box.segments) == 1
        rows[0 if above else first + 1].append(box)
    rank = {"router": 0, "balancer": 1, "member": 2, "client": 3}
    widest = max((len(row) for row in rows), default=1)
    width = max(widest * (_WIDTH + _GAP_X) - _GAP_X + 40, 420)
    y = 24.0 if rows[0] else 0.0
    for number, row in enumerate(rows):
        row.sort(key=lambda box: rank.get(box.role, 9))
        taken = len(row) * (_WIDTH + _GAP_X) - _GAP_X
        for column, box in enumerate(row):
            box.x, box.y = (width - taken) / 2 + column * (_WIDTH + _GAP_X), y
        if row:
            y += _HEIGHT + _GAP_Y + (22 if any(box.marks for box in row) else 0)
        if number < len(order):
            line = lines[order[number]]
            line.y, line.left, line.right = y, 12, width - 12
            y += _GAP_Y + 16
    return width, y - _GAP_Y + 6


def _links(boxes: list[Box], lines: dict[str, Line]) -> Iterator[tuple[float, float, float, bool]]:
    """Each as (x, from y, to y, whether it is broken)."""
    for box in boxes:
        for offset, segment in enumerate(box.segments):
            line = lines[segment]
            x = box.middle + (14 * offset - 7 * (len(box.segments) - 1))
            end = box.y if line.y < box.y else box.y + _HEIGHT
            yield x, line.y, end, segment in box.broken_links
