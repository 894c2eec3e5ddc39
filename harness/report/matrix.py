"""The matrix of a whole suite run: properties and faults down, architectures and variants across.

A check contributes cells, which travel as plain data (pytest-xdist sends them between processes).  A
cell that several runs share shows its worst status and the range of what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.properties.facts import Facts, FaultSpan
from harness.timeline import Timeline
from harness.verdict import Status, Verdict
from harness.world import REAL

_ORDER = (Status.FAIL, Status.UNKNOWN, Status.LIMITATION, Status.PASS, Status.NOT_APPLICABLE)
_MARKS = {
    "pass": "holds",
    "fail": "FAILS",
    "unknown": "unknown",
    "limitation": "does not hold (known limitation)",
    "not-applicable": "-",
}


@dataclass(frozen=True)
class Cell:
    """One finding of one run: `row` is property and fault, `column` architecture and variant.

    `measured`, `low` and `high` are in `unit`, or None where nothing is measured or bounded.  `subject` is
    what the finding is about, where one run has several of the same row.  `test` and `folder` tell whose
    it is, and where its evidence lies below the suite's own folder, if it is kept.
    `world` is real or virtual.
    """

    row: str
    column: str
    status: str
    measured: float | None
    low: float | None
    high: float | None
    unit: str
    subject: str = ""
    test: str = ""
    folder: str = ""
    world: str = REAL


def cells(
    timeline: Timeline,
    verdicts: Iterable[Verdict],
    defaults: Mapping[str, Any],
    test: str = "",
    folder: str = "",
) -> list[Cell]:
    """The cells that one judged run contributes; `defaults` are the architecture's options as they are."""
    column = _column(timeline, defaults)
    faults = ", ".join(_kind(timeline, f) for f in Facts.of(timeline).faults) or "no fault"
    return [
        Cell(
            f"{verdict.title()} / {faults}",
            column,
            verdict.status.value,
            verdict.measured,
            verdict.bound.low if verdict.bound else None,
            verdict.bound.high if verdict.bound else None,
            verdict.unit,
            verdict.subject,
            test,
            folder,
            timeline.run.world,
        )
        for verdict in verdicts
        if verdict.status is not Status.NOT_APPLICABLE
    ]


def _column(timeline: Timeline, defaults: Mapping[str, Any]) -> str:
    run = timeline.run
    chosen = [f"{key} {value}" for key, value in run.options.items() if value != defaults.get(key, value)]
    return f"{run.architecture}" + (f" ({', '.join(chosen)})" if chosen else "")


def _kind(timeline: Timeline, fault: FaultSpan) -> str:
    """A fault and what it hit, by role: `hang of the active's haproxy`, `backend-status of a member`."""
    roles = {node["name"]: node["role"] for node in timeline.run.nodes}
    role = roles.get(fault.nodes[0] if fault.nodes else "", "")
    what = " ".join([fault.fault, *(f"{key}={_named(value)}" for key, value in fault.parameters.items())])
    owner = timeline.last("vrrp", until=fault.inject_ns)
    place = {"balancer": "the standby", "member": "a member"}.get(role, "a node")
    if owner is not None and owner.node in fault.nodes:
        place = "the active"
    proxy = f"'s {fault.service}" if role == "balancer" and fault.service not in ("", "keepalived") else ""
    return f"{what} of {place}{proxy}"


def _named(value: str) -> str:
    """A parameter's value; of a file of this machine its name only."""
    return value.rpartition("/")[2] if value.startswith("/") else value


def encode(found: Iterable[Cell]) -> str:
    """Cells as text, to be sent between processes."""
    return json.dumps([asdict(cell) for cell in found])


def decode(text: str) -> list[Cell]:
    """The reverse of `encode`."""
    return [Cell(**record) for record in json.loads(text)]


class Matrix:
    """All cells of a suite run, by row and column."""

    def __init__(self, found: Iterable[Cell] = ()) -> None:
        self._cells: dict[tuple[str, str], list[Cell]] = {}
        for cell in found:
            self.add(cell)

    def add(self, cell: Cell) -> None:
        """Take a cell in."""
        self._cells.setdefault((cell.row, cell.column), []).append(cell)

    def __bool__(self) -> bool:
        return bool(self._cells)

    def cells(self) -> Iterator[Cell]:
        """All cells, by row and column."""
        for _, found in sorted(self._cells.items()):
            yield from found

    def at(self, row: str, column: str) -> Sequence[Cell]:
        """The cells of one row and column, one a run."""
        return self._cells.get((row, column), [])

    @property
    def rows(self) -> list[str]:
        """The rows, in order."""
        return sorted({row for row, _ in self._cells})

    @property
    def columns(self) -> list[str]:
        """The columns, the shortest (the architectures as they are by default) first."""
        return sorted({column for _, column in self._cells}, key=lambda column: (len(column), column))

    def text(self, row: str, column: str) -> str:
        """One cell: status, what was measured, how often; empty where nothing was run."""
        # In whatever order the cells came (from workers, from shards), the text is the same.
        found = sorted(self._cells.get((row, column), ()), key=lambda cell: (cell.unit, cell.subject))
        if not found:
            return ""
        worst = min((Status(cell.status) for cell in found), key=_ORDER.index)
        parts = [_MARKS[worst.value], _measured(found), f"({len(found)} runs)" if len(found) > 1 else ""]
        return " ".join(part for part in parts if part)

    def markdown(self) -> str:
        """The matrix as a table of Markdown, one for each property."""
        parts = []
        for title in sorted({row.partition(" / ")[0] for row in self.rows}):
            rows = [row for row in self.rows if row.partition(" / ")[0] == title]
            columns = [c for c in self.columns if any(self.text(row, c) for row in rows)]
            lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
            for row in rows:
                shown = " | ".join(self.text(row, column) for column in columns)
                lines.append(f"| {row.partition(' / ')[2]} | {shown} |")
            parts.append("\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def plain(self) -> list[str]:
        """The matrix as lines for a terminal, one a cell."""
        lines = []
        for row in self.rows:
            lines.append(row)
            lines += [f"    {self.text(row, c):<46} {c}" for c in self.columns if self.text(row, c)]
        return lines


def _measured(found: Sequence[Cell]) -> str:
    values = [cell.measured for cell in found if cell.measured is not None]
    if not values:
        return ""
    unit = found[0].unit
    low, high = _short(min(values)), _short(max(values))
    text = low if low == high else f"{low}-{high}"
    highs = {cell.high for cell in found if cell.high is not None}
    promised = f" of {_short(max(highs))}" if highs and max(highs) != float("inf") else ""
    return f"{text}{promised} {unit}"


def _short(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"
