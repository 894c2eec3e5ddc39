"""The page of a whole suite run: the matrix, each cell linking to its evidence, and all kept drills.

Only results are read, no timeline, so that hundreds of drills open at once.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.report import markdown
from harness.report.html.page import NAME, write_html
from harness.report.matrix import Cell, Matrix
from harness.report.result import NAME as RESULT

_MOST_RUNS = 12


@dataclass(frozen=True)
class Run:
    """One run behind a cell: its test, and its page if it was kept."""

    test: str
    status: str
    page: str


@dataclass(frozen=True)
class Shown:
    """One cell of the page."""

    status: str
    text: str
    runs: tuple[Run, ...]
    more: int


@dataclass(frozen=True)
class Table:
    """The matrix of one property: rows are faults, columns architectures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shown | None, ...]], ...]


@dataclass(frozen=True)
class Drill:
    """One kept drill, as its result tells it."""

    folder: str
    status: str
    what: str
    summary: str
    outage_s: float | None


def write_suite(root: Path, matrix: Matrix, parts: Sequence[Path] = ()) -> None:
    """Write `index.html` and `summary.md` of a suite run into the folder that holds its drills.

    Of several runs that were merged, `parts` are the folders that do; cells tell theirs from `root`.
    """
    tables = suite_tables(matrix, root)
    counts = Counter(cell.status for cell in matrix.cells())
    drills = kept_drills(root, parts or (root,))
    words: dict[str, Any] = {
        "tables": tables,
        "counts": [(status, counts[status]) for status in _ORDER if counts[status]],
        "status": next((status for status in _ORDER if counts[status]), "unknown"),
        "drills": drills,
        "root": root.name,
    }
    write_html(root / NAME, "suite.html.j2", words)
    (root / markdown.NAME).write_text(suite_summary(matrix), encoding="utf-8")


_ORDER = ("fail", "unknown", "limitation", "pass")


def suite_tables(matrix: Matrix, root: Path) -> list[Table]:
    """The matrix in tables, with links to what is kept below `root`."""
    found = []
    for title in sorted({row.partition(" / ")[0] for row in matrix.rows}):
        rows = [row for row in matrix.rows if row.partition(" / ")[0] == title]
        columns = tuple(c for c in matrix.columns if any(matrix.at(row, c) for row in rows))
        lines = [
            (row.partition(" / ")[2], tuple(_shown(matrix, row, column, root) for column in columns))
            for row in rows
        ]
        found.append(Table(title, columns, tuple(lines)))
    return found


def _shown(matrix: Matrix, row: str, column: str, root: Path) -> Shown | None:
    cells = matrix.at(row, column)
    if not cells:
        return None
    runs = sorted((_run(cell, root) for cell in cells), key=lambda run: (_rank(run.status), not run.page))
    # The worst first, so that what is cut off is more of the same.
    return Shown(
        runs[0].status, matrix.text(row, column), tuple(runs[:_MOST_RUNS]), max(len(runs) - _MOST_RUNS, 0)
    )


def _rank(status: str) -> int:
    return _ORDER.index(status) if status in _ORDER else len(_ORDER)


def _run(cell: Cell, root: Path) -> Run:
    page = f"{cell.folder}/{NAME}"
    kept = bool(cell.folder) and (root / page).is_file()
    return Run(cell.test.rpartition("::")[2] or cell.test, cell.status, page if kept else "")


def kept_drills(root: Path, parts: Sequence[Path]) -> list[Drill]:
    """Every folder below `parts` with a result, as seen from `root`, the gravest first."""
    results = {path for part in parts for depth in ("*", "*/*") for path in part.glob(f"{depth}/{RESULT}")}
    found = [_drill(path, Path(os.path.relpath(path.parent, root)).as_posix()) for path in results]
    return sorted(found, key=lambda drill: (_rank(drill.status), drill.folder))


def _drill(result: Path, folder: str) -> Drill:
    """What a result says; a damaged one says that it is."""
    try:
        data = json.loads(result.read_text(encoding="utf-8"))
        fault = f"{data['fault']} of {data['target']}" if data["fault"] else "no fault"
        outage = data["outage_s"]
        return Drill(
            folder,
            str(data["verdict"]),
            f"{data['architecture']}, {fault}",
            str(data["summary"]),
            float(outage) if outage is not None else None,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Drill(folder, "unknown", "", f"{RESULT} cannot be read ({type(error).__name__})", None)


def suite_summary(matrix: Matrix) -> str:
    """The suite in Markdown: how many findings of which kind, the failures, the matrix."""
    cells = list(matrix.cells())
    counts = Counter(cell.status for cell in cells)
    status = next((status for status in _ORDER if counts[status]), "unknown")
    told = ", ".join(f"{counts[name]} {name}" for name in _ORDER if counts[name])
    lines = [f"### {markdown.sign(status)} {told or 'nothing was judged'}", ""]
    bad: Sequence[Cell] = [cell for cell in cells if cell.status in ("fail", "unknown")]
    lines += [
        f"- {markdown.sign(cell.status)} {markdown.plain(cell.row)}, {markdown.plain(cell.column)}: "
        f"{markdown.plain(cell.test)}"
        for cell in bad[:50]
    ]
    return "\n".join([*lines, "", matrix.markdown()])
