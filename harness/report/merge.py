"""The cells of several runs as those of one: shards of a suite, or suites of different machines."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import UsageError
from harness.report import cells_file
from harness.report.cells_file import SuiteCells
from harness.report.matrix import Cell, Matrix
from harness.shards import Shard

MATRIX = "matrix.md"


@dataclass(frozen=True)
class Merged:
    """What came out; `parts` are the cells that went in, by their file, `missing` the shards that did not."""

    suite: SuiteCells
    matrix: Matrix
    parts: Mapping[Path, SuiteCells]
    missing: tuple[str, ...]

    def seen_from(self, folder: Path) -> Iterator[Cell]:
        """The cells, with their evidence as it is found from another folder."""
        for file, part in self.parts.items():
            place = os.path.relpath(file.parent, folder)
            for cell in part.cells:
                yield replace(cell, folder=Path(place, cell.folder).as_posix() if cell.folder else "")


def merge(places: Sequence[Path], *, partial: bool = False) -> Merged:
    """The cells at these places together; raises UsageError where they are no whole, unless `partial`."""
    files = list(dict.fromkeys(path.resolve() for place in places for path in _found(place)))
    parts = {path: cells_file.read(path) for path in files}
    missing = _missing(parts)
    if missing and not partial:
        raise UsageError(
            f"not there: shard {', '.join(missing)}; --partial merges what there is "
            f"({', '.join(part.shard for part in parts.values())})"
        )
    cells = tuple(cell for part in parts.values() for cell in part.cells)
    outcomes: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for part in parts.values():
        outcomes.update(part.outcomes)
        seconds.update(part.seconds)
    seeds = {part.seed for part in parts.values()}
    suites = {part.suite for part in parts.values()}
    suite = SuiteCells(
        cells,
        suite=suites.pop() if len(suites) == 1 and not missing else "",
        seed=seeds.pop() if len(seeds) == 1 else None,
        outcomes=dict(outcomes),
        seconds=seconds,
    )
    return Merged(suite, Matrix(cells), parts, missing)


def _found(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    if not place.is_dir():
        raise UsageError(
            f"there is no {place}; give artifact folders of pytest runs, or their {cells_file.NAME}"
        )
    found = False
    for folder, folders, names in os.walk(place):
        folders.sort()
        if cells_file.NAME in names:
            folders.clear()
            found = True
            yield Path(folder, cells_file.NAME)
    if not found:
        raise UsageError(
            f"{place} holds no {cells_file.NAME}: no pytest run with drills came to its end there"
        )


def _missing(parts: dict[Path, SuiteCells]) -> tuple[str, ...]:
    """The shards that are not there; raises UsageError for shards that do not belong together."""
    sharded = {path: part for path, part in parts.items() if part.shard}
    if not sharded:
        return ()
    whole = next((path for path, part in parts.items() if not part.shard), None)
    if whole is not None:
        raise UsageError(f"{whole} is a whole suite, which cannot be merged with shards of one")
    suites: dict[str, Path] = {}
    seen: dict[int, Path] = {}
    for path, part in sharded.items():
        suites.setdefault(part.suite, path)
        number = Shard.parse(part.shard).number
        if number in seen:
            raise UsageError(f"{seen[number]} and {path} are both shard {part.shard}: give one of them")
        seen[number] = path
    if len(suites) > 1:
        first, second = list(suites.values())[:2]
        raise UsageError(
            f"{first} and {second} are shards of different suites: they collected other tests, or were "
            "balanced by other durations"
        )
    count = Shard.parse(next(iter(sharded.values())).shard).count
    return tuple(str(Shard(n, count)) for n in range(1, count + 1) if n not in seen)


def write(folder: Path, merged: Merged) -> None:
    """Write the cells and their matrix into a folder, and a page that links to the evidence where it is."""
    from harness.report.html.suite import write_suite

    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        cells = tuple(merged.seen_from(folder))
        cells_file.write(folder / cells_file.NAME, replace(merged.suite, cells=cells))
        (folder / MATRIX).write_text(merged.matrix.markdown(), encoding="utf-8")
        write_suite(folder, Matrix(cells), [file.parent for file in merged.parts])
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror})") from None
