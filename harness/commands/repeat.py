"""`vipdrill run --repeat N`: the drills, some side by side, and their summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from harness import session
from harness.commands.children import EXIT, Child, Ended, Result, run_all, worst
from harness.errors import INTERRUPTED, TestbedError, UsageError
from harness.repeats import plan, spreads

MOST = 1000
FORMAT = 1
_SIGNS = {"pass": "pass", "fail": "FAIL", "unknown": "?", "limitation": "limited"}


def run_repeats(
    words: Sequence[str],
    count: int,
    jobs: int,
    *,
    seed: int | None,
    phase: float | None,
    artifacts: str | None,
    json_file: Path | None,
) -> int:
    """Run `vipdrill WORDS` so many times inside this bubble; the exit code of the worst."""
    if not 1 <= count <= MOST:
        raise UsageError(f"--repeat takes 1 to {MOST}, not {count}")
    jobs = min(jobs, count)
    session.pki_ready()
    chosen = session.new_seed() if seed is None else seed
    root = session.new_folder(session.artifacts_root(artifacts), f"{words[1]}-{words[3]}-x{count}")
    typer.echo(f"{count} drills, {jobs} side by side, seed {chosen}, in {root}")
    children = [
        Child(
            f"{repeat.number:3}",
            (*words, "--seed", str(repeat.seed), "--phase", f"{repeat.phase:g}"),
            root / f"{repeat.number:03}",
        )
        for repeat in plan(chosen, count, phase)
    ]
    ended, interrupted = run_all(children, jobs, _tell)
    results = [one.result for one in ended if one.result is not None]
    _summarise(results)
    if json_file is not None and results:
        _write(json_file, results, chosen)
    if interrupted:
        typer.echo(f"interrupted after {len(results)} of {count} drills; they are in {root}", err=True)
        return INTERRUPTED
    if len(results) < count:
        raise TestbedError(f"{count - len(results)} of {count} drills broke, see above")
    typer.echo(f"Evidence  {root}")
    return EXIT[worst(results)]


def _tell(one: Ended) -> None:
    if one.result is None:
        typer.echo(f"  {one.child.name}  broke: {one.said}", err=True)
    else:
        typer.echo(f"  {one.child.name}  {one.result['verdict']:<10} {one.result['summary']}")


def _summarise(results: Sequence[Result]) -> None:
    if not results:
        return
    typer.echo("")
    typer.echo(f"Checks over {len(results)} drills")
    for spread in spreads(results):
        verdicts = ", ".join(f"{count} {_SIGNS.get(name, name)}" for name, count in spread.verdicts.items())
        typer.echo(f"  {verdicts:<12} {spread.title}")
        figures = [spread.figures(), f"promised {spread.promise()}" if spread.promise() else ""]
        if any(figures):
            typer.echo(f"  {'':12} {'; '.join(text for text in figures if text)}")
    ends = [result["verdict"] for result in results]
    counted = ", ".join(f"{ends.count(name)} {name}" for name in EXIT if name in ends)
    typer.echo(f"\n{counted} of {len(results)} drills")


def _write(path: Path, results: Sequence[Result], seed: int) -> None:
    from harness.report.result import write_result

    write_result(path, {"format": FORMAT, "verdict": worst(results), "seed": seed, "results": list(results)})
