"""One drill of a topology, as `run` and `check` do it: build, run, judge, keep, report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.commands.children import EXIT
from harness.errors import INTERRUPTED, VipdrillError

if TYPE_CHECKING:
    from harness.plan import Stage
    from harness.timeline import Timeline
    from harness.verdict import Verdict


def perform(
    stage: Stage,
    folder: Path,
    again: str,
    *,
    json_file: Path | None = None,
    quiet: bool = False,
    expect: Mapping[str, str] | None = None,
) -> int:
    """Carry a drill out in this bubble, judge it, and print its report; the exit code of docs/result.md.

    `expect` is what a scenario expects of properties, by their names.
    """
    from harness.report.expected import amounts_to, expectations
    from harness.report.terminal import LiveView, print_report

    view = LiveView(quiet=quiet, clock=stage.now_ns)
    try:
        with view:
            stage.perform(view.take)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what was seen until then is in {folder}", err=True)
        conclude(stage.timeline, folder, again, None)
        return INTERRUPTED
    except VipdrillError:
        typer.echo(f"what was seen until then is in {folder}", err=True)
        raise
    timeline = stage.timeline
    verdicts = conclude(timeline, folder, again, json_file, expect)
    expected = expectations(expect or {}, verdicts)
    print_report(timeline, verdicts, folder, again, expected)
    return EXIT.get(amounts_to(expected, verdicts).value, EXIT["unknown"])


def conclude(
    timeline: Timeline,
    folder: Path,
    again: str,
    json_file: Path | None,
    expect: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Judge, and write what the artifact folder lacks."""
    from harness.properties import judge_all
    from harness.report.evidence import write_artifacts
    from harness.report.expected import expectations

    # A run that ended before its testbed was described has nothing to be judged.
    verdicts = judge_all(timeline) if timeline.first("run") else []
    expected = expectations(expect or {}, verdicts)
    write_artifacts(folder, timeline, verdicts, again, also=json_file, expected=expected)
    return verdicts
