"""A comparison for people, and for programs (docs/compare.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from statistics import median
from typing import Any

from harness import __version__
from harness.bounds.bound import number
from harness.compare import exact
from harness.compare.judge import CONFIDENCE, Comparison, Row, Settings
from harness.compare.model import Series, Side
from harness.compare.outcome import Outcome, Shift
from harness.report.lines import Glyphs, Line, wrapped
from harness.verdict import Status

FORMAT = 1

_STATUS = {
    Outcome.WORSE: Status.FAIL,
    Outcome.UNKNOWN: Status.UNKNOWN,
    Outcome.BETTER: Status.PASS,
    Outcome.SAME: Status.PASS,
}
_STYLE = {Outcome.WORSE: "bold red", Outcome.UNKNOWN: "yellow", Outcome.BETTER: "green", Outcome.SAME: ""}


def lines(comparison: Comparison, base: Side, candidate: Side, glyphs: Glyphs, width: int) -> list[Line]:
    """The report: each drill with its checks, the worst first, and the verdict in one line."""
    shown: list[Line] = [
        [("Base       ", "bold"), (base.path, "")],
        [("Candidate  ", "bold"), (candidate.path, "")],
    ]
    for (drill, changes), rows in groupby(comparison.rows, key=lambda row: (row.drill, row.changes)):
        listed = sorted(rows, key=lambda row: list(Outcome).index(row.outcome))
        shown += [[], [(drill, "bold"), (f"  {exact.TEST if comparison.exact else _repeats(listed)}", "dim")]]
        shown += [line for change in changes for line in wrapped(change, width, 4, "dim")]
        for row in listed:
            shown += _row(row, glyphs, width)
    for note in comparison.notes:
        shown += [[], *wrapped(note, width, 0, "yellow")]
    return [*shown, [], _verdict(comparison, glyphs)]


def _repeats(rows: list[Row]) -> str:
    ours = max((len(row.base.findings) for row in rows if row.base), default=0)
    theirs = max((len(row.candidate.findings) for row in rows if row.candidate), default=0)
    return f"{ours} against {theirs} repeats"


def _row(row: Row, glyphs: Glyphs, width: int) -> Iterator[Line]:
    sign, style = glyphs.status[_STATUS[row.outcome]], _STYLE[row.outcome]
    yield [(f"  {sign} {row.outcome.value:<8}", style), (str(row.question), "")]
    figures = [_figures(series) for series in (row.base, row.candidate) if series is not None]
    text = " -> ".join(figures) if all(figures) else ""
    if row.outcome is Outcome.SAME:
        yield from wrapped(f"{text}; {row.why}" if text else row.why, width, 13, "dim")
        return
    if text:
        yield from wrapped(text, width, 13)
    yield from wrapped(row.why, width, 13)


def _figures(series: Series) -> str:
    values = series.values()
    if not values:
        return ""
    if min(values) == max(values):
        return f"{number(values[0])} {series.unit}"
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))}) {series.unit}"


def _verdict(comparison: Comparison, glyphs: Glyphs) -> Line:
    outcome = comparison.outcome
    found = [row for row in comparison.rows if row.outcome is outcome]
    words = f"{outcome.value.upper()}  {len(found)} of {len(comparison.rows)} checks are {outcome.value}"
    if outcome is Outcome.SAME:
        words = f"SAME  all {len(comparison.rows)} checks"
    if outcome is Outcome.UNKNOWN and not comparison.exact:
        words += f"; {comparison.needed} repeats of each drill on both sides can decide them"
    return [(f"{glyphs.status[_STATUS[outcome]]} {words}.", _STYLE[outcome] or "bold")]


# -- for programs -----------------------------------------------------------------------------------


def to_json(comparison: Comparison, base: Side, candidate: Side, settings: Settings) -> dict[str, Any]:
    """What `--json` writes."""
    return {
        "format": FORMAT,
        "version": __version__,
        "verdict": comparison.outcome.value,
        "base": base.path,
        "candidate": candidate.path,
        "alpha": settings.alpha,
        "threshold": settings.share(exact=comparison.exact),
        "level": comparison.level,
        "repeats_needed": comparison.needed,
        "checks": [_row_json(row) for row in comparison.rows],
        "exact": comparison.exact,
        "notes": list(comparison.notes),
    }


def _row_json(row: Row) -> dict[str, Any]:
    return {
        "drill": row.drill,
        "changes": list(row.changes),
        "check": row.question.title,
        "subject": row.question.subject,
        "verdict": row.outcome.value,
        "why": row.why,
        "base": _series_json(row.base),
        "candidate": _series_json(row.candidate),
        "shift": _shift_json(row.shift),
    }


def _series_json(series: Series | None) -> dict[str, Any] | None:
    if series is None:
        return None
    values, highs = series.values(), series.highs()
    return {
        "runs": len(series.findings),
        "verdicts": {f.status: series.count(f.status) for f in series.findings},
        "unit": series.unit,
        "measured": sorted(values),
        "median": median(values) if values else None,
        "bound_high": _finite(median(highs)) if highs else None,
    }


def _shift_json(shift: Shift | None) -> dict[str, Any] | None:
    if shift is None:
        return None
    return {
        "by": round(shift.by, 6),
        "low": _finite(shift.low),
        "high": _finite(shift.high),
        "confidence": 1.0 if shift.test == exact.TEST else CONFIDENCE,
        "matters": shift.matters,
        "p": shift.p,
        "test": shift.test,
    }


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else round(value, 6)
