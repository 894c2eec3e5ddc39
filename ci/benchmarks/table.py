"""The table of figures, for a terminal and for docs/performance.md."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from ci.benchmarks.figure import Figure

_HEAD = ("figure", "measured", "floor or peer", "ratio", "target", "met", "spread, and what the floor is")


def machine() -> str:
    """The machine in a line."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} CPUs ({model}), {memory:.0f} GiB, Linux {os.uname().release}, "
        f"Python {platform.python_version()}, load {load:.1f} at the end"
    )


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """The cells of the table."""
    return [
        (
            figure.name,
            f"{_number(figure.measured)} {figure.unit}".rstrip(),
            "" if figure.floor is None else f"{_number(figure.floor)} {figure.unit}".rstrip(),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if figure.target is None else str(figure.target),
            {None: "", True: "yes", False: "NO"}[figure.met],
            "; ".join(part for part in (figure.note, figure.floor_is) if part),
        )
        for figure in figures
    ]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def terminal(figures: Sequence[Figure], taken_s: float) -> str:
    """Columns, one figure a line."""
    cells = [_HEAD, *rows(figures)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            cell.rjust(width) if 1 <= at <= 3 else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([machine(), f"measured in {taken_s:.0f} s", "", *lines])


def markdown(figures: Sequence[Figure], taken_s: float, quick: bool) -> str:
    """A table for the documentation, with machine and date."""
    command = "`ci/bench --quick`" if quick else "`ci/bench`"
    lines = [
        f"{time.strftime('%Y-%m-%d')}, {machine()}; {command}, {taken_s:.0f} s.",
        "",
        "| " + " | ".join(_HEAD) + " |",
        "|---|--:|--:|--:|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows(figures)),
    ]
    return "\n".join(lines)
