"""The lanes as a trace that ui.perfetto.dev and chrome://tracing open: `trace.json`.

Groups are processes, lanes are threads; stretches are slices, moments instants, each client's latency a
counter.  Format: "Trace Event Format" (JSON object form); times in microseconds from the first fault.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.report.happenings import fault_origin
from harness.report.lanes.model import Group, Lane
from harness.timeline import Timeline

NAME = "trace.json"
_MOST_COUNTS = 20_000
_FAULTS_PID = 1
_Record = dict[str, Any]


def write_trace(path: Path, timeline: Timeline, groups: Sequence[Group]) -> None:
    """Write the trace of a run in one step."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as out:
            out.write('{"displayTimeUnit":"ms","traceEvents":[\n')
            out.writelines(
                (",\n" if number else "") + json.dumps(record, separators=(",", ":"), ensure_ascii=False)
                for number, record in enumerate(trace_events(timeline, groups))
            )
            out.write("\n]}\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def trace_events(timeline: Timeline, groups: Sequence[Group]) -> Iterator[_Record]:
    """The records of a trace, in no particular order (the viewers sort)."""
    origin_ns = fault_origin(timeline) or timeline.span[0]
    # Some viewers know no time before 0, so it begins a whole number of seconds before the fault.
    zero_ns = origin_ns - -(-(origin_ns - timeline.span[0]) // 1_000_000_000) * 1_000_000_000
    yield from _faults(timeline, zero_ns)
    for pid, group in enumerate(groups, _FAULTS_PID + 1):
        yield _name("process_name", group.name, pid)
        yield {**_name("process_sort_index", "", pid), "args": {"sort_index": pid}}
        for tid, lane in enumerate(group.lanes, 1):
            yield _name("thread_name", lane.name, pid, tid)
            yield from _lane(lane, group.name, pid, tid, zero_ns)
    yield from _latencies(timeline, zero_ns, _FAULTS_PID + len(groups) + 1)


def _name(what: str, name: str, pid: int, tid: int = 0) -> _Record:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _slice(name: str, kind: str, pid: int, tid: int, from_us: float, to_us: float) -> _Record:
    return {
        "ph": "X",
        "name": name,
        "cat": kind,
        "pid": pid,
        "tid": tid,
        "ts": from_us,
        "dur": to_us - from_us,
    }


def _lane(lane: Lane, kind: str, pid: int, tid: int, zero_ns: int) -> Iterator[_Record]:
    for stretch in lane.stretches:
        times = [(t - zero_ns) / 1000 for t in (stretch.from_ns, stretch.to_ns)]
        yield {**_slice(stretch.label, kind, pid, tid, *times), "args": {"detail": stretch.detail}}
    for moment in lane.moments:
        ts = (moment.t - zero_ns) / 1000
        yield {"ph": "i", "s": "t", "name": moment.text, "cat": kind, "pid": pid, "tid": tid, "ts": ts}
    for promise in lane.promises:
        for word, t in (("from", promise.from_ns), ("until", promise.to_ns)):
            text = f"{word} here: {promise.text}"
            ts = (t - zero_ns) / 1000
            yield {"ph": "i", "s": "t", "name": text, "cat": "bound", "pid": pid, "tid": tid, "ts": ts}


def _faults(timeline: Timeline, zero_ns: int) -> Iterator[_Record]:
    """Faults as slices, one thread each; the drill's own steps as instants over everything."""
    yield _name("process_name", "Faults and steps", _FAULTS_PID)
    lives: dict[str, dict[str, int]] = {}
    names: dict[str, str] = {}
    for event in timeline.of("fault"):
        lives.setdefault(event.id, {})[event.state] = event.t
        names[event.id] = f"{event.fault} of {event.target}"
    for tid, (identity, life) in enumerate(lives.items(), 1):
        yield _name("thread_name", names[identity], _FAULTS_PID, tid)
        if "inject" in life:
            end_ns = life.get("healed", life.get("heal", timeline.span[1]))
            times = [(t - zero_ns) / 1000 for t in (life["inject"], end_ns)]
            yield _slice(names[identity], "fault", _FAULTS_PID, tid, *times)
    for event in timeline.of("phase"):
        ts = (event.t - zero_ns) / 1000
        yield {
            "ph": "i",
            "s": "g",
            "name": event.name,
            "cat": "phase",
            "pid": _FAULTS_PID,
            "tid": 0,
            "ts": ts,
        }


def _latencies(timeline: Timeline, zero_ns: int, pid: int) -> Iterator[_Record]:
    yield _name("process_name", "Latency of answered attempts (ms)", pid)
    answered = timeline.of("probe", result="ok")
    step = 1 + len(answered) // _MOST_COUNTS
    for event in answered[::step]:
        name = f"{event.client} to {event.target}" + (" (long)" if event.stream == "long" else "")
        ms = round((event.end - event.t) / 1e6, 3)
        yield {"ph": "C", "name": name, "pid": pid, "ts": (event.t - zero_ns) / 1000, "args": {"ms": ms}}
