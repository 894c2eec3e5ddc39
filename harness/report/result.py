"""The result of a drill for programs: a stable interface, described in docs/result.md."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import __version__
from harness.properties.facts import FaultSpan
from harness.report.digest import configs_digest
from harness.report.expected import Expected
from harness.report.headline import headline, outcome
from harness.report.summary import ClientFigures, Hold, Summary
from harness.timeline import Timeline
from harness.verdict import Verdict, describe

FORMAT = 1
NAME = "result.json"
# Instead of it, of a drill that was run again as the machine was late: it is no result.
VOID = "void.json"


def result(
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    artifacts: Path,
    *,
    again: str = "",
    notes: Sequence[str] = (),
    expected: Sequence[Expected] = (),
) -> dict[str, Any]:
    """What `--json` writes. `again` is the command that repeats the run, `notes` what is wrong with it.

    `expected` is what a scenario expected of it.
    """
    run = timeline.first("run")
    figures = Summary.of(timeline)
    first = figures.faults[0] if figures.faults else None
    return {
        "format": FORMAT,
        "version": __version__,
        "verdict": outcome(verdicts).value,
        "summary": headline(timeline, verdicts, figures),
        "architecture": run.architecture if run else None,
        "options": run.options if run else {},
        "fault": first.fault if first else None,
        "target": first.target if first else None,
        "seed": run.seed if run else None,
        "checks": [_check(verdict) for verdict in verdicts],
        "expected": [one.to_json() for one in expected],
        "outage_s": _seconds(figures.outage_s),
        "requests": _requests(figures, "new"),
        "long_lived": _requests(figures, "long"),
        "takeover_s": _seconds(figures.takeover_s),
        "owners": [_owner(hold, figures) for hold in figures.holds],
        "clients": [_client(row) for row in figures.clients],
        "faults": [_fault(fault, figures) for fault in figures.faults],
        "started": _started(timeline),
        "complete": timeline.first("phase", name="done") is not None,
        "world": run.world if run else None,
        "versions": dict(run.get("versions") or {}) if run else {},
        "configs": configs_digest(timeline) or None,
        "artifacts": str(artifacts.absolute()),
        "again": again,
        "notes": list(notes),
    }


def _check(verdict: Verdict) -> dict[str, Any]:
    return {
        **verdict.to_json(),
        "because": None if verdict.bound is None else verdict.bound.source,
        "evidence": [describe(item, verdict.origin_ns).strip() for item in verdict.evidence],
    }


def _requests(figures: Summary, stream: str) -> dict[str, Any]:
    sent, lost = figures.requests(stream)
    causes: dict[str, int] = {}
    for row in figures.clients:
        if row.stream == stream:
            for cause, count in row.causes.items():
                causes[cause] = causes.get(cause, 0) + count
    return {"sent": sent, "lost": lost, "causes": causes}


def _owner(hold: Hold, figures: Summary) -> dict[str, Any]:
    return {
        "node": hold.node,
        "from_s": _seconds(figures.relative_s(hold.from_ns)),
        "to_s": _seconds(figures.relative_s(hold.to_ns)),
        "vip": hold.vip,
        "vrid": hold.vrid,
        "ended_by": hold.ended_by,
    }


def _client(row: ClientFigures) -> dict[str, Any]:
    return {
        "client": row.client,
        "target": row.target,
        "stream": row.stream,
        "sent": row.sent,
        "lost": row.lost,
        "causes": row.causes,
        "period_s": _seconds(row.period_s),
        "outage_s": _seconds(row.outage_s),
        "fault_outage_s": _seconds(row.fault_s),
        "healing_outage_s": _seconds(row.healing_s),
    }


def _fault(fault: FaultSpan, figures: Summary) -> dict[str, Any]:
    def at(t_ns: int | None) -> float | None:
        return None if t_ns is None else _seconds(figures.relative_s(t_ns))

    return {
        "id": fault.id,
        "fault": fault.fault,
        "target": fault.target,
        "parameters": fault.parameters,
        "inject_s": at(fault.inject_ns),
        "heal_s": at(fault.heal_ns),
        "healed_s": at(fault.healed_ns),
    }


def _started(timeline: Timeline) -> str | None:
    """The wall-clock time of the first event, as ISO 8601 in UTC."""
    clock = timeline.first("clock")
    if clock is None:
        return None
    seconds = (timeline.span[0] + clock.offset_ns) / 1e9
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def write_result(path: Path, data: dict[str, Any]) -> None:
    """Write a result in one step: readers see the old file or the new, never half of one.

    What is no plain file (/dev/stdout, a pipe, a symbolic link) is written to as it is.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_text(text, encoding="utf-8")
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
