"""Judge a saved run again, and tell what has changed since: `vipdrill analyze DIR`.

A folder that is half there gives a report of that half, which says so; one with nothing to judge gives
a UsageError.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.properties import judge_all
from harness.report.expected import Expected, expectations
from harness.report.result import NAME, result
from harness.report.sound import why_unsound
from harness.timeline import Event, Timeline
from harness.verdict import Status, Verdict

_TIMELINE = "timeline.jsonl"
_FIGURES = ("verdict", "takeover_s", "outage_s")
_SAME_S = 1e-5
_STATUSES = tuple(status.value for status in Status)


@dataclass(frozen=True)
class Analysis:
    """A saved run judged anew. `saved` is its result.json of then, `changes` how the new one differs from it.

    `problems` tells what was missing or damaged; with any, the verdicts rest on the rest only.  `expected` is
    what its scenario expected of it, beside what is found now.
    """

    folder: Path
    timeline: Timeline
    verdicts: list[Verdict]
    result: dict[str, Any]
    saved: dict[str, Any] | None
    changes: list[str]
    problems: list[str]
    expected: list[Expected] = field(default_factory=list)

    @property
    def again(self) -> str:
        """The command that repeats the run, if it was kept."""
        return str((self.saved or {}).get("again") or "")


def analyze(folder: Path) -> Analysis:
    """Judge the run in an artifact folder (or of its timeline.jsonl) again. Raises UsageError."""
    if folder.name == _TIMELINE and folder.is_file():
        folder = folder.parent
    timeline, problems = _load(folder)
    saved_problems: list[str] = []
    saved = _saved(folder / NAME, saved_problems)
    expect = {} if saved is None else _expect(saved, saved_problems)
    verdicts, data, expected = _judge(folder, timeline, problems, expect)
    problems += saved_problems
    changes = [] if saved is None else differences(saved, data)
    return Analysis(folder, timeline, verdicts, data, saved, changes, problems, expected)


def _load(folder: Path) -> tuple[Timeline, list[str]]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; give the artifact folder of a run")
    path = folder / _TIMELINE
    if not path.is_file():
        there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise UsageError(f"{folder} has no {_TIMELINE}, so there is nothing to judge; it holds: {there}")
    bad: list[tuple[int, str]] = []
    read = Timeline.load(path, lambda number, why: bad.append((number, why)))
    sound: list[Event] = []
    unsound: list[str] = []
    for event in read:
        if why := why_unsound(event):
            unsound.append(why)
        else:
            sound.append(event)
    if not sound:
        what = "is empty" if not bad and not unsound else "holds no event that can be read"
        raise UsageError(f"{path} {what}: the run ended before anything was recorded, or the file is damaged")
    timeline = Timeline(sound)
    return timeline, [*_bad_lines(bad), *_bad_events(unsound), *_missing(timeline)]


def _bad_lines(bad: list[tuple[int, str]]) -> list[str]:
    if not bad:
        return []
    number, why = bad[0]
    many = f"{len(bad)} lines of {_TIMELINE} are" if len(bad) > 1 else f"1 line of {_TIMELINE} is"
    return [f"{many} no event and left out, the first is line {number}: {why}"]


def _bad_events(unsound: list[str]) -> list[str]:
    if not unsound:
        return []
    return [f"{len(unsound)} events with impossible values are left out, the first: {unsound[0]}"]


def _missing(timeline: Timeline) -> list[str]:
    if timeline.first("run") is None:
        return ["the testbed's description (the 'run' event) is missing: nothing can be judged"]
    if timeline.first("phase", name="done") is None:
        return ["the run did not come to its end: it was interrupted, killed, or the file was cut"]
    return []


def _judge(
    folder: Path, timeline: Timeline, problems: list[str], expect: Mapping[str, str]
) -> tuple[list[Verdict], dict[str, Any], list[Expected]]:
    verdicts: list[Verdict] = []
    try:
        if timeline.first("run") is not None:
            verdicts = judge_all(timeline)
        expected = expectations(expect, verdicts)
        return verdicts, result(timeline, verdicts, folder, notes=problems, expected=expected), expected
    except UsageError as error:
        problems.append(f"it cannot be judged: {error}")
        return [], result(timeline, [], folder, notes=problems), []
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, StopIteration) as error:
        # The judges trust their timeline; one from a damaged file can hold what no run could produce.
        if not problems:
            raise
        raise UsageError(
            f"{folder / _TIMELINE} is too damaged to be judged ({type(error).__name__}: {error}); "
            f"{problems[0]}"
        ) from error


def _saved(path: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{NAME} is missing, so nothing can be compared with it")
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{NAME} cannot be read ({error}), so nothing can be compared with it")
        return None
    if not isinstance(saved, dict) or not isinstance(saved.get("checks"), list):
        problems.append(f"{NAME} is not a result, so nothing can be compared with it")
        return None
    return saved


def _expect(saved: Mapping[str, Any], problems: list[str]) -> dict[str, str]:
    """What the run's scenario expected, by property; of a result of an earlier version, nothing."""
    expect: dict[str, str] = {}
    told = saved.get("expected")
    for one in told if isinstance(told, list) else []:
        name, wanted = (one.get("property"), one.get("expected")) if isinstance(one, dict) else (None, None)
        if isinstance(name, str) and wanted in _STATUSES:
            expect[name] = str(wanted)
        else:
            problems.append(f"{NAME} holds an expectation that is none: {one}")
    return expect


# -- what has changed ------------------------------------------------------------------------------


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How one result differs from another of the same run, as sentences."""
    changes = [
        f"{name} was {_shown(before.get(name))}, is now {_shown(now.get(name))}"
        for name in _FIGURES
        if not _same(before.get(name), now.get(name))
    ]
    requests = [_requests(side) for side in (before, now)]
    if requests[0] != requests[1]:
        changes.append(f"requests lost were {requests[0]}, are now {requests[1]}")
    old, new = checks_by_name(before), checks_by_name(now)
    for name in dict.fromkeys([*old, *new]):
        changes += _check(name, old.get(name), new.get(name))
    if changes and before.get("version") != now.get("version"):
        changes.append(f"it was judged by vipdrill {before.get('version')}, now by {now.get('version')}")
    return changes


def _requests(side: Mapping[str, Any]) -> str:
    requests = side.get("requests")
    return f"{requests.get('lost')} of {requests.get('sent')}" if isinstance(requests, dict) else "unknown"


def checks_by_name(side: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The checks by property, aspect, subject; several of one name in their order."""
    seen: Counter[str] = Counter()
    found: dict[str, Mapping[str, Any]] = {}
    for check in side.get("checks", ()):
        if not isinstance(check, dict):
            continue
        words = [str(check.get(key) or "") for key in ("property", "aspect", "subject")]
        name = " ".join(word for word in words if word)
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name} #{seen[name]}"] = check
    return found


def _check(name: str, before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> list[str]:
    if before is None or now is None:
        side, what = (now, "is new") if before is None else (before, "is gone")
        verdict = (side or {}).get("verdict")
        return [f"check {name} ({verdict}) {what}"]
    changed = [
        f"{key} was {_shown(before.get(key))}, is now {_shown(now.get(key))}"
        for key in ("verdict", "measured", "bound")
        if not _same(before.get(key), now.get(key))
    ]
    return [f"check {name}: {'; '.join(changed)}"] if changed else []


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) <= _SAME_S
    return bool(one == other)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return f"{_shown(value.get('low'))} to {_shown(value.get('high'))}"
    if isinstance(value, float):
        return f"{value:.4f}"
    return "none" if value is None else str(value)
