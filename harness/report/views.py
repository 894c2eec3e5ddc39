"""What is written for people beside the result: the page, the trace, the summary.  Never a verdict.

A view that cannot be made costs a note, not the run: the result and the timeline are the evidence.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.report import markdown, perfetto
from harness.report.html import compare
from harness.report.html.page import NAME as PAGE
from harness.report.html.page import write_page
from harness.report.lanes import lanes_of
from harness.report.lanes.model import Group
from harness.report.pcapng import convert_all
from harness.report.private_keys import remove_private_keys
from harness.timeline import Timeline
from harness.verdict import Verdict

if TYPE_CHECKING:
    from harness.report.analyze import Analysis

# What views trip over where a damaged timeline holds what no run could produce.
_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def write_views(
    folder: Path,
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    data: dict[str, Any],
    changes: Sequence[str] | None = None,
) -> list[str]:
    """Write all views of a run into its folder, from its result `data`; tells which could not be made."""

    @cache
    def groups() -> list[Group]:
        return lanes_of(timeline, verdicts)

    def trace() -> None:
        perfetto.write_trace(folder / perfetto.NAME, timeline, groups())

    def summary() -> None:
        write_text(folder / markdown.NAME, markdown.drill_summary(data))

    def page() -> None:
        about = {name: data[name] for name in ("again", "started", "notes")}
        write_page(folder, timeline, verdicts, groups(), **about, changes=changes)

    # The page comes last: it lists what is there.
    views: dict[str, Callable[[], None]] = {perfetto.NAME: trace, markdown.NAME: summary, PAGE: page}
    return [note for name, write in views.items() if (note := _written(name, write))]


def _written(name: str, write: Callable[[], None]) -> str:
    """Write a view; why it could not be, or nothing."""
    try:
        write()
    except OSError as error:
        return f"{name} could not be written: {error.strerror}"
    except _DAMAGE as error:
        return f"{name} could not be made, which is a defect of vipdrill or of the timeline ({error!r})"
    return ""


def write_text(path: Path, text: str) -> None:
    """Write a file in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_again(analysis: Analysis) -> list[str]:
    """The views of a saved run, judged anew; its result.json stays as it was judged first.

    Of a run that was killed, captures become pcapng and secrets are taken out first.
    """
    folder, timeline = analysis.folder, analysis.timeline
    try:
        notes = remove_private_keys(folder, timeline)
        notes += [done.note for done in convert_all(folder / "captures", timeline) if done.note]
    except OSError as error:
        return [f"nothing can be written into {folder}: {error.strerror}"]
    data = {**analysis.result, "again": analysis.again, "notes": [*analysis.problems, *notes]}
    changes = analysis.changes if analysis.saved is not None else None
    return [*notes, *write_views(folder, timeline, analysis.verdicts, data, changes)]


def write_both(first: Analysis, second: Analysis) -> Path:
    """The page that compares two runs, in the folder of the first. Raises UsageError if it cannot be made."""
    path = first.folder / compare.NAME
    try:
        compare.write_comparison(path, first, second)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    except _DAMAGE as error:
        problems = [*first.problems, *second.problems]
        if not problems:
            raise
        raise UsageError(f"the two cannot be compared: {problems[0]}") from error
    return path
