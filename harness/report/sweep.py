"""What a sweep over the phases of a cycle found: each phase's figures beside what was predicted for it.

Pure: made from a timeline in which the same fault came again and again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from harness.properties.facts import Facts
from harness.properties.streams import outages, streams
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Timeline

_WIDTH, _HEIGHT, _MARGIN = 640, 360, 48


@dataclass(frozen=True)
class Row:
    """One fault: so long after the owner's last advertisement, and what followed from it (seconds).

    `outage_s` is the longest of any client; `None` is what did not happen or is not promised.
    """

    phase_s: float
    takeover_s: float | None
    predicted_s: float | None
    outage_s: float | None

    @property
    def missed_s(self) -> float | None:
        """How far the takeover is from what was predicted."""
        if self.takeover_s is None or self.predicted_s is None:
            return None
        return abs(self.takeover_s - self.predicted_s)


def rows(timeline: Timeline) -> list[Row]:
    """A row for each fault against each virtual router whose owner it ends, in the order of the phases."""
    facts = Facts.of(timeline)
    listed = streams(facts)
    found = []
    for takeover in takeovers(facts):
        if not takeover.due or takeover.timer_from_ns is None:
            continue
        fault_ns, until_ns = takeover.fault.inject_ns, facts.until_next_fault(takeover.fault)
        moved_ns = None if takeover.first is None else takeover.first.t
        lost = [
            run.seconds(stream.end_ns)
            for stream in listed
            if stream.address in takeover.router.addresses
            for run in outages(stream, fault_ns, until_ns, moved_ns)
        ]
        found.append(
            Row(
                phase_s=(fault_ns - _last_before(takeover)) / 1e9,
                takeover_s=takeover.taken_s,
                predicted_s=None if takeover.due_ns is None else (takeover.due_ns - fault_ns) / 1e9,
                outage_s=max(lost, default=0.0) if listed else None,
            )
        )
    return sorted(found, key=lambda row: row.phase_s)


def _last_before(takeover: Takeover) -> int:
    """The owner's last advertisement before the fault: a farewell comes after it."""
    fault_ns = takeover.fault.inject_ns
    said = [advert.t for advert in takeover.router.adverts if advert.t <= fault_ns]
    return max(said, default=fault_ns)


def write(found: Sequence[Row], folder: Path) -> list[Path]:
    """`sweep.csv`, `sweep.json` and `sweep.svg`."""
    paths = [folder / f"sweep.{kind}" for kind in ("csv", "json", "svg")]
    names = [field.name for field in fields(Row)]
    with paths[0].open("w", newline="", encoding="utf-8") as out:
        table = csv.DictWriter(out, names)
        table.writeheader()
        table.writerows(asdict(row) for row in found)
    paths[1].write_text(json.dumps([asdict(row) for row in found], indent=1) + "\n")
    paths[2].write_text(plot(found))
    return paths


def plot(found: Sequence[Row]) -> str:
    """Takeover (points) and outage (circles) against the phase, with the predicted line, as SVG."""
    most_x = max((row.phase_s for row in found), default=0.0) or 1.0
    values = [v for row in found for v in (row.takeover_s, row.predicted_s, row.outage_s) if v is not None]
    most_y = max(values, default=0.0) * 1.1 or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            round(_MARGIN + x / most_x * (_WIDTH - 2 * _MARGIN), 1),
            round(_HEIGHT - _MARGIN - y / most_y * (_HEIGHT - 2 * _MARGIN), 1),
        )

    line = " ".join(f"{x},{y}" for x, y in (at(r.phase_s, r.predicted_s) for r in found if r.predicted_s))
    marks = [f'<polyline points="{line}" fill="none" stroke="#888"/>']
    for row in found:
        for value, style in ((row.takeover_s, 'fill="#c33"'), (row.outage_s, 'fill="none" stroke="#36c"')):
            if value is not None:
                x, y = at(row.phase_s, value)
                marks.append(f'<circle cx="{x}" cy="{y}" r="2.5" {style}/>')
    (left, bottom), (right, top) = at(0, 0), at(most_x, most_y)
    marks.append(f'<path d="M{left},{top}V{bottom}H{right}" fill="none" stroke="#000"/>')
    words = (
        (left, top - 8, f"seconds, up to {most_y:.3f}: takeover (red), outage (blue), predicted (line)"),
        (left, bottom + 20, f"seconds from the last advertisement to the fault, up to {most_x:.3f}"),
    )
    marks += [
        f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="12">{t}</text>' for x, y, t in words
    ]
    body = "\n".join(marks)
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'
