"""The final report of a drill: story, checks, clients, owners, verdict, evidence, in this order.

The verdict stands near the end, where a terminal's reader looks first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from harness.bounds.bound import number
from harness.report.happenings import Happening, condense, tell
from harness.report.headline import headline, outcome
from harness.report.lines import STYLE, TONE_STYLE, Glyphs, Line, wrapped
from harness.report.summary import ClientFigures, Summary
from harness.timeline import Timeline
from harness.verdict import Status, Verdict

_WIDEST = 100
_STORY_LINES = 16
_STATUS_WORD = {Status.LIMITATION: "limited", Status.NOT_APPLICABLE: "n/a"}
_ENDED = {
    "farewell": "said goodbye",
    "outranked": "gave way",
    "silence": "fell silent",
    "removed": "address removed",
    "crash": "crashed",
    "end": "until the end",
}


def report_lines(
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    folder: Path,
    again: str,
    *,
    width: int = 80,
    glyphs: Glyphs,
) -> list[Line]:
    """The whole report, laid out for so many columns."""
    width = min(width, _WIDEST)
    figures = Summary.of(timeline)
    parts = [
        _title(timeline, figures, width, glyphs),
        _story(timeline, figures, width, glyphs),
        _checks(verdicts, width, glyphs),
        _clients(figures, width),
        _owners(figures, width),
        _verdict(timeline, verdicts, figures, width, glyphs),
        _pointers(folder, again),
    ]
    lines: list[Line] = []
    for part in parts:
        if part:
            lines += [*part, []]
    return lines[:-1]


def _heading(text: str, aside: str, width: int) -> list[Line]:
    if len(text) + 2 + len(aside) > width:
        return [[(text, "bold")], *wrapped(aside, width, 2, "dim")]
    return [[(text, "bold"), (f"  {aside}", "dim")]]


def _title(timeline: Timeline, figures: Summary, width: int, glyphs: Glyphs) -> list[Line]:
    run = timeline.first("run")
    if run is None:
        return [[("an unfinished run, cut before its testbed was described", "bold")]]
    faults = [str(fault) for fault in figures.faults] or ["no fault"]
    versions = run.get("versions") or {}
    named = [f"{name} {upstream(versions[name])}" for name in ("keepalived", "haproxy") if name in versions]
    facts = [run.architecture, *faults, f"seed {run.seed}", *named, f"vipdrill {run.version}"]
    return wrapped(f" {glyphs.dot} ".join(facts), width, 0, "bold")


def upstream(version: object) -> str:
    """The upstream part of a Debian version: 3.0.11 of 1:3.0.11-1+deb13u5 (deb-version(7))."""
    return (
        str(version).partition(":")[2].rpartition("-")[0] or str(version).rpartition("-")[0] or str(version)
    )


# -- the story -------------------------------------------------------------------------------------


def _story(timeline: Timeline, figures: Summary, width: int, glyphs: Glyphs) -> list[Line]:
    story = tell(timeline)
    if not figures.faults:
        began = timeline.span[0]
        heading = _heading("What happened", f"seconds from the start{_at(timeline, began)}", width)
        return [*heading, *_told(story, began, width, glyphs)]
    inject_ns = figures.origin_ns
    heal_ns = next((fault.heal_ns for fault in figures.faults if fault.heal_ns is not None), None)
    lines = _heading("Fault", f"seconds from it{_at(timeline, inject_ns)}", width)
    lines += _told([h for h in story if heal_ns is None or h.t < heal_ns], inject_ns, width, glyphs)
    if heal_ns is not None:
        after = (heal_ns - inject_ns) / 1e9
        aside = f"seconds from its beginning, {after:.3f} s after the fault"
        lines += [[], *_heading("Healing", aside, width)]
        lines += _told([h for h in story if h.t >= heal_ns], heal_ns, width, glyphs)
    return lines


def _at(timeline: Timeline, t_ns: int) -> str:
    clock = timeline.last("clock", until=t_ns) or timeline.first("clock")
    if clock is None:
        return ""
    try:
        when = datetime.fromtimestamp((t_ns + clock.offset_ns) / 1e9, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return ""
    return when.strftime(", %Y-%m-%d %H:%M:%S.") + f"{when.microsecond // 1000:03d} UTC"


def _told(story: Sequence[Happening], origin_ns: int, width: int, glyphs: Glyphs) -> list[Line]:
    notable = [happening for happening in story if happening.weight > 1]
    kept, left_out = condense(notable, _STORY_LINES)
    lines = [line for happening in kept for line in story_line(happening, origin_ns, width, glyphs)]
    if left_out:
        lines.append([(f"{'':10}… {left_out} more in timeline.jsonl", "dim")])
    return lines


def story_line(happening: Happening, origin_ns: int, width: int, glyphs: Glyphs) -> list[Line]:
    """One happening: time in seconds from `origin_ns`, sign, node, text; long texts go on below."""
    head = f"{(happening.t - origin_ns) / 1e9:+9.3f} {glyphs.tone[happening.tone]} "
    node = f"{happening.node:<4} " if happening.node else ""
    indent = len(head) + len(node)
    style = TONE_STYLE[happening.tone]
    first, *rest = wrapped(happening.text, width, indent, style) or [[("", "")]]
    return [[(head, style), (node, "bold"), *first[1:]], *rest]


# -- checks ----------------------------------------------------------------------------------------


def _checks(verdicts: Sequence[Verdict], width: int, glyphs: Glyphs) -> list[Line]:
    if not verdicts:
        return []
    titles = Counter(verdict.title() for verdict in verdicts)
    shown: list[str] = []
    explained: set[str] = set()
    lines: list[Line] = []
    room = max((len(_label(v, titles)) for v in verdicts), default=0)
    narrow = width < 12 + room + 32
    heading = "" if narrow else f"{'measured':>{room + 19}}  promised"
    lines.append([("Checks", "bold"), (heading[1:], "dim")])
    for verdict in verdicts:
        lines += _row(verdict, _label(verdict, titles), room, narrow, glyphs)
        grave = verdict.status in (Status.FAIL, Status.UNKNOWN, Status.LIMITATION)
        if grave or verdict.status is Status.NOT_APPLICABLE:
            lines += wrapped(verdict.sentence, width, 11, "" if grave else "dim")
        if verdict.bound is not None and (grave or verdict.property not in explained):
            explained.add(verdict.property)
            if not any(source.startswith(verdict.bound.source) for source in shown):
                lines += wrapped(_because(verdict.bound.source, shown), width, 11, "dim")
            shown.append(verdict.bound.source)
    return lines


def _label(verdict: Verdict, titles: Counter[str]) -> str:
    """The title; with whom it is about, where several findings have the same."""
    title = verdict.title()
    about = verdict.subject.partition(" ")[0]
    return f"{title} ({about})" if titles[title] > 1 and about else title


def _row(verdict: Verdict, label: str, room: int, narrow: bool, glyphs: Glyphs) -> list[Line]:
    style = STYLE[verdict.status]
    word = _STATUS_WORD.get(verdict.status, verdict.status.value)
    measured = "" if verdict.measured is None else f"{number(verdict.measured)} {verdict.unit}"
    bound = "" if verdict.bound is None else str(verdict.bound)
    sign = (f"  {glyphs.status[verdict.status]} {word:<7} ", style)
    if not narrow:
        return [[sign, (f"{label:<{room}} {measured:>11}", ""), (f"  {bound}", "")]]
    lines: list[Line] = [[sign, (label, "")]]
    if measured or bound:
        lines.append([(f"{'':11}{measured or 'not measured'}, promised {bound or 'nothing'}", "")])
    return lines


def _because(source: str, shown: Sequence[str]) -> str:
    """The arithmetic, without repeating what an earlier check said already."""
    known = max((s for s in shown if source.startswith(s)), key=len, default="")
    return f"as above{source[len(known) :]}" if known else source


# -- clients and owners ----------------------------------------------------------------------------


def _clients(figures: Summary, width: int) -> list[Line]:
    if not figures.clients:
        return []
    labels = [_client_label(row, figures) for row in figures.clients]
    room = max([*(len(label) for label in labels), 8])
    healed = any(row.healing_s is not None for row in figures.clients)
    lost = [f"{row.lost:,} of {row.sent:,}{_percent(row)}" for row in figures.clients]
    lost_room = max(len(text) for text in [*lost, "lost"])
    outage = "outage: fault   healing" if healed else "   outage"
    narrow = room + lost_room + 32 > width
    heading = "" if narrow else f"{'lost':>{room + lost_room - 3}}   {outage}"
    lines: list[Line] = [[("Clients", "bold"), (heading, "dim")]]
    for label, text, row in zip(labels, lost, figures.clients, strict=True):
        during = row.outage_s if row.fault_s is None else row.fault_s
        style = "red" if row.lost else ""
        lines.append([(f"  {label:<{room}}  ", ""), (f"{text:>{lost_room}}", style)])
        if narrow:
            after = "" if row.healing_s is None else f", {row.healing_s:.3f} s while healing"
            lines += wrapped(f"outage {during:.3f} s{after}", width, 4)
        else:
            spent = (
                f"   {during:7.3f} s"
                if row.healing_s is None
                else f"   {during:11.3f} s{row.healing_s:8.3f} s"
            )
            lines[-1].append((spent, ""))
        if row.causes:
            causes = ", ".join(f"{count:,} {cause}" for cause, count in row.causes.items())
            lines += wrapped(f"by cause: {causes}", width, 4, "dim")
    return lines


def _client_label(row: ClientFigures, figures: Summary) -> str:
    several = len({other.target for other in figures.clients}) > 1
    target = f" to {row.target}" if several else ""
    return f"{row.client}{target}{', long connection' if row.stream == 'long' else ''}"


def _percent(row: ClientFigures) -> str:
    return f" ({100 * row.lost / row.sent:.1f} %)" if row.lost and row.sent else ""


def _owners(figures: Summary, width: int) -> list[Line]:
    if not figures.holds:
        return []
    since = "the fault" if figures.faults else "the start"
    lines = _heading("VIP owners", f"seconds from {since}", width)
    vip = ""
    for hold in figures.holds:
        from_s, to_s = figures.relative_s(hold.from_ns), figures.relative_s(hold.to_ns)
        if hold.vip != vip:
            vip = hold.vip
            lines += wrapped(vip, width, 2)
        ended = _ENDED.get(hold.ended_by, hold.ended_by)
        span = f"{from_s:+9.3f} to {to_s:+9.3f}"
        lines.append([(f"    {hold.node:<6}", "bold"), (span, ""), (f"  {ended}", "dim")])
    return lines


# -- the end ---------------------------------------------------------------------------------------


def _verdict(
    timeline: Timeline, verdicts: Sequence[Verdict], figures: Summary, width: int, glyphs: Glyphs
) -> list[Line]:
    status = outcome(verdicts)
    sign = f"{glyphs.status[status]} {status.value.upper()}  "
    sentence = wrapped(headline(timeline, verdicts, figures), width, len(sign), "bold")
    style = f"bold {STYLE[status].removeprefix('bold ')}"
    return [[(sign, style), *sentence[0][1:]], *sentence[1:]]


def _pointers(folder: Path, again: str) -> list[Line]:
    lines: list[Line] = [[("Evidence  ", "dim"), (str(folder), "")]]
    if (folder / "index.html").exists():
        lines.append([("Page      ", "dim"), (str(folder / "index.html"), "")])
    if again:
        lines.append([("Again     ", "dim"), (again, "")])
    return lines
