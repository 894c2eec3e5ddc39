"""Evidence for people: the first lines of it in a test's failure, the rest in the artifact folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.report.expected import Expected
from harness.report.happenings import MINOR, Happening, fault_origin, tell
from harness.report.headline import headline, outcome
from harness.report.pcapng import Conversion, convert_all
from harness.report.private_keys import remove_private_keys
from harness.report.result import NAME, result, write_result
from harness.report.views import write_views
from harness.timeline import Event, Timeline
from harness.verdict import Verdict, describe

_CONTENTS = {
    "index.html": "all of it as a page: swim lanes, checks, packets; open it in a browser",
    "result.json": "verdict and figures for programs (docs/result.md)",
    "scenario.yaml": "what was drilled, and what was expected (docs/scenario.md)",
    "timeline.jsonl": "every event, one JSON object a line (docs/timeline.md)",
    "trace.json": "the lanes as a trace: open it at ui.perfetto.dev",
    "summary.md": "the verdict and the checks in Markdown, for a CI system's page",
    "timeline-whole.jsonl": "events before and after those, as they came (docs/lab.md)",
    "captures": (
        "one pcapng per segment, with comments at faults and takeovers;\n"
        "names: Wireshark > View > Name Resolution > Resolve Network Addresses"
    ),
    "configs": "each node's configuration as it ran",
    "logs": "what every service said, one folder per node",
    "state": "addresses, routes, neighbours, connections of every node at that moment",
}


def evidence_lines(timeline: Timeline, verdict: Verdict, limit: int = 12) -> list[str]:
    """The verdict's evidence among what happened around it: ms from the fault, node, what.

    What the verdict rests on is marked with `>`.
    """
    origin_ns = verdict.origin_ns
    if origin_ns is None:
        origin_ns = fault_origin(timeline) or timeline.span[0]
    said = [item for item in verdict.evidence if isinstance(item, str)][: limit // 3]
    events = [item for item in verdict.evidence if isinstance(item, Event)][: max(limit - len(said), 0)]
    told = [_line(event.t, ">", describe(event).split(maxsplit=1)[-1], origin_ns) for event in events]
    around = [h for h in tell(timeline) if h.weight > MINOR and not any(h.t == event.t for event in events)]
    near_ns = [event.t for event in events] or [origin_ns]
    around.sort(key=lambda h: (-h.weight, min(abs(h.t - t) for t in near_ns)))
    told += [_happening(h, origin_ns) for h in around[: max(limit - len(told) - len(said), 0)]]
    return [text for _, text in sorted(told, key=lambda pair: pair[0])] + said


def _line(t_ns: int, mark: str, text: str, origin_ns: int) -> tuple[int, str]:
    return t_ns, f"{mark}{(t_ns - origin_ns) / 1e6:+11.1f} ms  {text}"


def _happening(happening: Happening, origin_ns: int) -> tuple[int, str]:
    node = f"{happening.node}: " if happening.node else ""
    return _line(happening.t, " ", f"{node}{happening.text}", origin_ns)


def write_artifacts(
    folder: Path,
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    again: str,
    also: Path | None = None,
    expected: Sequence[Expected] = (),
) -> list[str]:
    """Complete an artifact folder: captures as pcapng, result.json, page, README.txt, no private keys.

    `also` gets the result too (`--json`).  Gives what went wrong in doing so, as sentences; the same are
    in result.json under `notes`.
    """
    notes = remove_private_keys(folder, timeline)
    conversions = convert_all(folder / "captures", timeline)
    notes += [conversion.note for conversion in conversions if conversion.note]
    data = result(timeline, verdicts, folder, again=again, notes=notes, expected=expected)
    write_result(folder / NAME, data)
    notes += write_views(folder, timeline, verdicts, data)
    if also is not None:
        write_result(also, data)
    _write_readme(folder, timeline, verdicts, again, conversions, notes)
    return notes


def _write_readme(
    folder: Path,
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    again: str,
    conversions: Sequence[Conversion],
    notes: Sequence[str],
) -> None:
    lines = [f"{outcome(verdicts).value.upper()}: {headline(timeline, verdicts)}", ""]
    run = timeline.first("run")
    if run is not None:
        faults = [f"{event.fault} of {event.target}" for event in timeline.of("fault", state="inject")]
        lines.append(f"Drill    {run.architecture}, {', '.join(faults) or 'no fault'}, seed {run.seed}")
    lines += [f"Again    {again}"] if again else []
    lines += [f"Judge    vipdrill analyze {folder.absolute()}", "", "What is in here:"]
    for name, what in _CONTENTS.items():
        if (folder / name).exists():
            first, *rest = what.splitlines()
            lines += [f"  {name:<16}{first}", *(f"{'':18}{line}" for line in rest)]
            lines += _captured(conversions) if name == "captures" else []
    if notes:
        lines += ["", "To be known:", *(f"  - {note}" for note in notes)]
    part = folder / f".README.txt.{os.getpid()}.part"
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(part, folder / "README.txt")


def _captured(conversions: Sequence[Conversion]) -> list[str]:
    return [
        f"{'':18}{done.path.name}: {done.packets:,} packets, {done.comments} with comments"
        for done in conversions
        if done.packets
    ]
