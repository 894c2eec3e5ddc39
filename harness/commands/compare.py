"""`vipdrill compare`: a gate for a change of configuration, timer or version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

WORSE, UNDECIDED = 1, 4


def compare(
    base: Annotated[Path, typer.Argument(help="a result, an artifact folder, or a folder of those")],
    candidate: Annotated[Path, typer.Argument(help="the same, of what is to be judged")],
    threshold: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="share of the base's median that matters [0.1; virtual time: 0]"),
    ] = None,
    alpha: Annotated[float, typer.Option(help="probability of any false alarm")] = 0.01,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="also write it here")] = None,  # noqa: UP045
) -> None:
    """Tell whether CANDIDATE is better, the same or worse than BASE, check by check.

    Both hold repeats: `vipdrill run … --repeat 10 --artifacts DIR`; of virtual time, one run each with the
    same --seed is enough.  Exit codes: 0 same or better, 1 worse,
    2 a mistake, 4 unknown (too few repeats, or drills that only one side ran).
    """
    from harness.commands.arguments import check_json_file

    check_json_file(json_file)
    raise typer.Exit(tell(base, candidate, threshold, alpha, json_file))


def tell(
    base: Path,
    candidate: Path,
    threshold: float | None = None,
    alpha: float = 0.01,
    json_file: Path | None = None,
) -> int:
    """Compare, and print the comparison; the exit code."""
    from harness.compare import judge, show
    from harness.compare.outcome import Outcome
    from harness.compare.read import read_side
    from harness.report.lines import Glyphs, console
    from harness.report.lines import show as print_lines
    from harness.report.result import write_result

    settings = judge.Settings(threshold, alpha)
    sides = read_side(base), read_side(candidate)
    comparison = judge.compare(*sides, settings)
    if json_file is not None:
        write_result(json_file, show.to_json(comparison, *sides, settings))
    out = console()
    print_lines(show.lines(comparison, *sides, Glyphs.of(out.encoding), out.width), out)
    codes = {Outcome.WORSE: WORSE, Outcome.UNKNOWN: UNDECIDED}
    return codes.get(comparison.outcome, 0)
