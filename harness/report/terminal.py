"""The terminal: a live view during a drill, the report after it. rich is imported when something is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from harness.report.expected import Expected
from harness.report.expected import lines as expectation_lines
from harness.report.final import report_lines
from harness.report.lines import Glyphs, Line, console, show, wrapped
from harness.report.live import LiveView
from harness.timeline import Timeline
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.report.analyze import Analysis

__all__ = ["LiveView", "print_analysis", "print_report"]


def print_report(
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    folder: Path,
    again: str,
    expected: Sequence[Expected] = (),
    *,
    file: TextIO | None = None,
) -> None:
    """Print the final report of a drill; `again` is the command that repeats it."""
    out = console(file)
    glyphs = Glyphs.of(out.encoding)
    told = report_lines(timeline, verdicts, folder, again, width=out.width, glyphs=glyphs)
    show([[], *told, *expectation_lines(expected, verdicts, glyphs)], out)


def print_analysis(analysis: Analysis, *, file: TextIO | None = None) -> None:
    """Print the report of a saved run judged anew, what was wrong with it, and what has changed."""
    out = console(file)
    glyphs = Glyphs.of(out.encoding)
    lines = report_lines(
        analysis.timeline, analysis.verdicts, analysis.folder, analysis.again, width=out.width, glyphs=glyphs
    )
    lines += expectation_lines(analysis.expected, analysis.verdicts, glyphs)
    lines += [[], *_listed("Missing or damaged", analysis.problems, out.width, "yellow")]
    if analysis.saved is not None:
        heading = "Changed since it was saved"
        lines += _listed(heading, analysis.changes, out.width, "") or [[(f"{heading}: nothing", "dim")]]
    show(lines, out)


def _listed(heading: str, items: Sequence[str], width: int, style: str) -> list[Line]:
    if not items:
        return []
    lines: list[Line] = [[(heading, "bold")]]
    for item in items:
        first, *rest = wrapped(item, min(width, 100), 4, style) or [[("", "")]]
        lines += [[("  - ", style), *first[1:]], *rest]
    return lines
