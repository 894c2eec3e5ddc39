"""The cells of a suite's run on disk: what a matrix is made of, so that runs can be merged and compared."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from harness import __version__
from harness.errors import UsageError
from harness.report.matrix import Cell

FORMAT = 1
NAME = "cells.json"


@dataclass(frozen=True)
class SuiteCells:
    """The cells of a whole suite, or of one shard of it (`shard` is "2/4"; "" for the whole).

    `suite` is the digest that all shards of one suite share, `outcomes` how many tests passed, failed, …,
    `seconds` how long each test took, by its name: what shards are balanced by.
    """

    cells: tuple[Cell, ...]
    shard: str = ""
    suite: str = ""
    seed: int | None = None
    outcomes: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def write(path: Path, suite: SuiteCells) -> None:
    """Write in one step: readers see the old file or the new, never half of one."""
    data = {
        "format": FORMAT,
        "version": __version__,
        "shard": suite.shard,
        "suite": suite.suite,
        "seed": suite.seed,
        "cells": [_to_json(cell) for cell in suite.cells],
        "outcomes": suite.outcomes,
        "seconds": suite.seconds,
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _to_json(cell: Cell) -> dict[str, Any]:
    """JSON has no infinity: as in docs/result.md, an end that is missing is null."""
    record = asdict(cell)
    for name in ("low", "high"):
        if record[name] in (float("inf"), float("-inf")):
            record[name] = None
    return record


def read(path: Path) -> SuiteCells:
    """The cells of a file; raises UsageError that says what is wrong with it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}; was the run that writes it cut off?") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("cells"), list):
        raise UsageError(f"{path} holds no cells of a suite in format {FORMAT} (docs/compare.md)")
    try:
        seed = data.get("seed")
        return SuiteCells(
            tuple(_cell(record) for record in data["cells"]),
            str(data.get("shard") or ""),
            str(data.get("suite") or ""),
            None if seed is None else int(seed),
            {str(name): int(count) for name, count in dict(data.get("outcomes") or {}).items()},
            {str(test): float(took) for test, took in dict(data.get("seconds") or {}).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def _cell(record: Any) -> Cell:
    cell = Cell(**{f.name: record[f.name] for f in fields(Cell) if f.name in record})
    if not all(
        isinstance(text, str) for text in (cell.row, cell.column, cell.status, cell.unit, cell.subject)
    ):
        raise TypeError(f"a cell's row, column, status, unit and subject are text: {record}")
    if cell.low is not None and cell.high is None:
        cell = replace(cell, high=math.inf)
    for number in (cell.measured, cell.low, cell.high):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise TypeError(f"{number!r} is no number, in {record}")
    return cell
