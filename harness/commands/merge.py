"""`vipdrill merge`: one matrix of the shards of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    out: Annotated[Path, typer.Argument(help="folder that gets the merged matrix")],
    places: Annotated[list[Path], typer.Argument(metavar="DIR...", help="artifact folders of the shards")],
    partial: Annotated[bool, typer.Option(help="merge although shards are missing")] = False,
) -> None:
    """Merge the results of `pytest --vipdrill-shard 1/4` to `4/4` into one matrix.

    OUT gets index.html, matrix.md, and cells.json for `vipdrill compare` and `pytest --vipdrill-durations`.
    """
    from harness.report import merge as merging

    merged = merging.merge(places, partial=partial)
    merging.write(out, merged)
    for line in merged.matrix.plain():
        typer.echo(line)
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(merged.suite.outcomes.items()))
    typer.echo(f"\n{len(merged.suite.cells)} cells of {len(merged.parts)} runs ({outcomes}) in {out}")
    if merged.missing:
        typer.echo(f"without shard {', '.join(merged.missing)}", err=True)
