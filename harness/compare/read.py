"""Read one side of a comparison: result files, artifact folders, folders of folders, a suite's cells."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.compare.model import Finding, Question, Side, Variant
from harness.errors import UsageError
from harness.report import cells_file
from harness.report.result import FORMAT, NAME, VOID

_TIMELINE = "timeline.jsonl"
# A statistic of chance: its check has a bound of its own, to compare two of them says nothing.
_NO_FIGURES = ("chi²",)
# Whose connections these checks look at: what they see, they see once in a client's period.
_STREAMS = {"client-outage": "new", "member-removal": "new", "flow-survival": "long"}


def read_side(path: Path) -> Side:
    """All the runs at a path; raises UsageError where there is none, or what is there is no result."""
    side = Side(str(path))
    if path.is_dir():
        _read_folder(path, side)
    elif path.exists():
        _read_file(path, side)
    else:
        raise UsageError(
            f"there is no {path}; give a result (a file of --json), an artifact folder, or a folder of those"
        )
    if not side.drills:
        why = f"; {side.notes[0]}" if side.notes else f": it holds no {NAME} and no {cells_file.NAME}"
        raise UsageError(f"{path} has no run that can be compared{why}")
    return side


def _read_folder(root: Path, side: Side) -> None:
    for place, folders, files in os.walk(root):
        folders.sort()
        folder = Path(place)
        if VOID in files:
            folders.clear()
            continue
        for name in (cells_file.NAME, NAME):
            if name in files:
                # What stands below a suite's cells, or below a drill, is the evidence of these very runs.
                folders.clear()
                _read_file(folder / name, side)
                break
        else:
            if _TIMELINE in files:
                folders.clear()
                side.notes.append(
                    f"{folder} is left out: it has no {NAME}, as the run was cut off; "
                    f"`vipdrill analyze {folder}` tells what there is"
                )


def _read_file(path: Path, side: Side) -> None:
    data = _json(path)
    if isinstance(data.get("cells"), list):
        _take_cells(path, side)
        return
    if isinstance(data.get("results"), list):
        for number, result in enumerate(data["results"], 1):
            add_result(f"{path}, result {number},", result if isinstance(result, dict) else {}, side)
        return
    add_result(str(path), data, side)


def add_result(path: str, data: Mapping[str, Any], side: Side) -> None:
    """Take in one result, as docs/result.md describes it, that was found at a path; raises UsageError."""
    if data.get("format") != FORMAT or not isinstance(data.get("checks"), list):
        raise UsageError(
            f"{path} is no result of a drill in format {FORMAT} (docs/result.md): "
            f"its format is {data.get('format')!r}, and it has {'' if 'checks' in data else 'no '}checks"
        )
    if not data.get("complete") or not data.get("architecture"):
        side.notes.append(f"{path} is left out: its run did not come to its end")
        return
    try:
        side.add(_drill(data), _variant(data), list(_checks(data)))
        side.worlds.add(str(data.get("world") or "real"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is damaged: {type(error).__name__}: {error}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path} is no result of a drill: it holds {type(data).__name__}, not an object")
    return data


# -- a drill ----------------------------------------------------------------------------------------


def _drill(data: Mapping[str, Any]) -> str:
    faults = [_fault(fault) for fault in data["faults"]]
    words = f"{data['architecture']}, {' + '.join(faults) or 'no fault'}"
    return words if data.get("world") in (None, "real") else f"{words}, {data['world']} time"


def _fault(fault: Mapping[str, Any]) -> str:
    given = fault.get("parameters") or {}
    # A file given to a fault may lie anywhere; its name says which it is.
    words = [f"{name}={str(value).rpartition('/')[2]}" for name, value in given.items()]
    return ",".join([str(fault["fault"]), *words])


def _variant(data: Mapping[str, Any]) -> Variant:
    options = tuple((str(name), str(value)) for name, value in data["options"].items())
    return Variant(options, tuple(str(fault["target"]) for fault in data["faults"]))


def _checks(data: Mapping[str, Any]) -> Iterator[tuple[Question, str, Finding]]:
    seen: Counter[Question] = Counter()
    seed = None if data.get("seed") is None else int(data["seed"])
    periods = _periods(data)
    for check in data["checks"]:
        if check["verdict"] == "not-applicable":
            continue
        aspect = check["aspect"]
        question = Question(
            f"{check['property']}: {aspect}" if aspect else str(check["property"]), str(check["subject"])
        )
        seen[question] += 1
        if seen[question] > 1:
            question = Question(f"{question.title} #{seen[question]}", question.subject)
        unit = str(check["unit"])
        measured = None if unit in _NO_FIGURES else _number(check["measured"])
        period_s = periods.get((_STREAMS.get(check["property"]), question.subject), 0.0)
        high = _high(check["bound"])
        yield question, unit, Finding(str(check["verdict"]), measured, high, seed, period_s)
    # `requests` counts over the whole run, its beginning too, when no VIP is up yet: nothing to compare.
    longest = _number(data["outage_s"])
    slowest = max((period for (stream, _), period in periods.items() if stream == "new"), default=0.0)
    yield Question("longest outage of any client"), "s", Finding("pass", longest, None, seed, slowest)


def _periods(data: Mapping[str, Any]) -> dict[tuple[str | None, str], float]:
    """How often clients asked (s), by the kind of their connections and by what checks call them."""
    found: dict[tuple[str | None, str], float] = {}
    for row in data.get("clients") or ():
        if row.get("period_s") is not None:
            found[str(row["stream"]), f"{row['client']} to {row['target']}"] = float(row["period_s"])
    return found


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)


def _high(bound: Any) -> float | None:
    """The upper end of a bound; infinite where it has none but a lower one."""
    if bound is None or (bound["low"] is None and bound["high"] is None):
        return None
    high = _number(bound["high"])
    return math.inf if high is None else high


# -- a suite ----------------------------------------------------------------------------------------


def _take_cells(path: Path, side: Side) -> None:
    """A suite's cells: each row and column is a drill of its own, as often as it was run."""
    for cell in cells_file.read(path).cells:
        title, _, faults = cell.row.partition(" / ")
        high = math.inf if cell.high is None and cell.low is not None else cell.high
        finding = Finding(cell.status, None if cell.unit in _NO_FIGURES else cell.measured, high)
        # A suite has tests of both worlds side by side; none is paired with one of the other.
        side.worlds.add("real")
        side.add(
            faults if cell.world == "real" else f"{faults}, {cell.world} time",
            Variant((("variant", cell.column),)),
            [(Question(title, cell.subject), cell.unit, finding)],
        )
