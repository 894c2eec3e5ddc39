"""The tables of a drill's page: checks with their bounds drawn, clients, causes, shares, files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bounds.bound import number
from harness.report.happenings import Happening, condense, tell
from harness.report.html.payload import Payload
from harness.report.summary import ClientFigures, Summary
from harness.timeline import Event, Timeline
from harness.verdict import Status, Verdict, describe

SIGNS = {"pass": "✓", "fail": "✗", "unknown": "?", "limitation": "▽", "not-applicable": "·"}
WORDS = {"limitation": "limited", "not-applicable": "n/a"}
_STORY_LINES = 60
_MOST_FILES = 400


@dataclass(frozen=True)
class Bullet:
    """A bound drawn as a bar with the measured value as a dot on it; all in percent of the width."""

    low: float
    high: float
    dot: float
    inside: bool


@dataclass(frozen=True)
class Check:
    """One line of the table of checks."""

    status: str
    title: str
    about: str
    measured: str
    promised: str
    bullet: Bullet | None
    sentence: str
    because: str
    evidence: tuple[str, ...]

    @property
    def grave(self) -> bool:
        """Whether its sentence has to be read."""
        return self.status in ("fail", "unknown", "limitation")


def checks(verdicts: Sequence[Verdict]) -> list[Check]:
    """All findings, the gravest first, else in the judges' order."""
    order = [Status.FAIL, Status.UNKNOWN, Status.LIMITATION, Status.PASS, Status.NOT_APPLICABLE]
    return [
        Check(
            status=verdict.status.value,
            title=verdict.title(),
            about=verdict.subject,
            measured="" if verdict.measured is None else f"{number(verdict.measured)} {verdict.unit}",
            promised="" if verdict.bound is None else str(verdict.bound),
            bullet=_bullet(verdict),
            sentence=verdict.sentence,
            because="" if verdict.bound is None else verdict.bound.source,
            evidence=tuple(describe(item, verdict.origin_ns).strip() for item in verdict.evidence),
        )
        for verdict in sorted(verdicts, key=lambda v: order.index(v.status))
    ]


def _bullet(verdict: Verdict) -> Bullet | None:
    bound, measured = verdict.bound, verdict.measured
    if bound is None or measured is None or math.isinf(measured):
        return None
    high = measured if math.isinf(bound.high) else bound.high
    scale = max(high, measured) * 1.12
    if scale <= 0:
        return None
    percent = 100 / scale
    far = 100.0 if math.isinf(bound.high) else bound.high * percent
    inside = verdict.status is not Status.FAIL
    return Bullet(round(bound.low * percent, 2), round(far, 2), round(measured * percent, 2), inside)


@dataclass(frozen=True)
class ClientRow:
    """One line of the table of clients; `causes` with their share of all that was lost, in percent."""

    name: str
    kind: str
    target: str
    sent: int
    lost: int
    percent: float
    outage_s: float
    healing_s: float | None
    causes: tuple[tuple[str, int, float], ...]


def clients(figures: Summary) -> list[ClientRow]:
    """All clients, in the order of the other reports."""
    return [_client(row) for row in figures.clients]


def _client(row: ClientFigures) -> ClientRow:
    return ClientRow(
        name=row.client,
        kind="long connection" if row.stream == "long" else "new connections",
        target=row.target,
        sent=row.sent,
        lost=row.lost,
        percent=100 * row.lost / row.sent if row.sent else 0.0,
        outage_s=row.outage_s if row.fault_s is None else row.fault_s,
        healing_s=row.healing_s,
        causes=tuple((cause, count, 100 * count / row.lost) for cause, count in row.causes.items()),
    )


@dataclass(frozen=True)
class Share:
    """How the answers of one stretch of a run were shared: members with count and percent."""

    when: str
    answered: int
    members: tuple[tuple[str, int, float], ...]


def shares(timeline: Timeline, figures: Summary) -> list[Share]:
    """Of new connections: before the first fault, while it acted, after its healing."""
    begin, end = timeline.span
    stretches = [("whole run", begin, end + 1)]
    if figures.faults:
        fault = figures.faults[0]
        heal = fault.heal_ns or end + 1
        stretches = [("before the fault", begin, fault.inject_ns), ("while it acted", fault.inject_ns, heal)]
        if fault.heal_ns is not None:
            stretches.append(("from healing on", heal, end + 1))
    answered = timeline.of("probe", stream="new", result="ok")
    members = sorted({str(event.member) for event in answered if event.member})
    found = [_share(name, answered, members, since, until) for name, since, until in stretches]
    return [share for share in found if share is not None]


def _share(
    when: str, answered: list[Event], members: list[str], since_ns: int, until_ns: int
) -> Share | None:
    by = Counter(str(event.member) for event in answered if event.member and since_ns <= event.t < until_ns)
    total = by.total()
    if not total:
        return None
    return Share(when, total, tuple((m, by[m], 100 * by[m] / total) for m in members))


@dataclass(frozen=True)
class Line:
    """One line of the story, with the packet that it happened in."""

    at: str
    node: str
    text: str
    tone: str
    packet: str
    us: int


def story(timeline: Timeline, figures: Summary, payload: Payload) -> tuple[list[Line], int]:
    """What happened, and how many lines were left out."""
    kept, left_out = condense([h for h in tell(timeline) if h.weight > 1], _STORY_LINES)
    packets = {(event.t, event.node): event for event in timeline.of("vrrp", "arp")}
    return [_line(h, figures, payload, packets) for h in kept], left_out


def _line(
    happening: Happening, figures: Summary, payload: Payload, packets: dict[tuple[int, str], Event]
) -> Line:
    seconds = figures.relative_s(happening.t)
    place = payload.packet(packets.get((happening.t, happening.node)))
    return Line(
        f"{seconds:+.3f}", happening.node, happening.text, happening.tone, place, round(seconds * 1e6)
    )


def files(folder: Path) -> list[tuple[str, list[str]]]:
    """The folder's files for links, by what they are; hidden ones and this page are left out."""
    groups = {
        "captures": "Captures (Wireshark)",
        "configs": "Configurations as they ran",
        "logs": "Logs",
        "state": "State of every node",
        "": "Data",
    }
    found: dict[str, list[str]] = {name: [] for name in groups}
    for path in sorted(_walk(folder))[:_MOST_FILES]:
        top = path.partition("/")[0] if "/" in path else ""
        found.setdefault(top, []).append(path)
    return [(groups.get(top, top), paths) for top, paths in found.items() if paths]


def _walk(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        return
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and path.is_file() and not path.is_symlink() and path.name != "index.html":
            yield relative.as_posix()


def fault_text(figures: Summary) -> str:
    """The faults in words."""
    return ", ".join(str(fault) for fault in figures.faults) or "no fault"


def tiles(figures: Summary, promised: Any) -> list[tuple[str, str, str]]:
    """The key figures: what, how much, and against what."""
    found: list[tuple[str, str, str]] = []
    if figures.takeover_s is not None:
        found.append(("takeover", f"{figures.takeover_s:.3f} s", f"promised {promised}" if promised else ""))
    if figures.outage_s is not None:
        found.append(("longest outage", f"{figures.outage_s:.3f} s", "of any client, on new connections"))
    sent, lost = figures.requests()
    if sent:
        found.append(("requests lost", f"{lost:,}", f"of {sent:,} ({100 * lost / sent:.1f} %)"))
    sent, lost = figures.requests("long")
    if sent:
        found.append(("on long connections", f"{lost:,}", f"of {sent:,} exchanges lost"))
    return found
