"""A drill's page: `index.html` in its artifact folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import __version__
from harness.report.digest import configs_digest
from harness.report.final import upstream
from harness.report.headline import headline, outcome
from harness.report.html import tables
from harness.report.html.drawing import draw
from harness.report.html.payload import Payload, embedded
from harness.report.lanes.model import Group
from harness.report.packet_numbers import PacketNumbers
from harness.report.summary import Summary
from harness.timeline import Timeline
from harness.verdict import Verdict

NAME = "index.html"


def write_page(
    folder: Path,
    timeline: Timeline,
    verdicts: Sequence[Verdict],
    groups: Sequence[Group],
    *,
    again: str = "",
    started: str | None = None,
    notes: Sequence[str] = (),
    changes: Sequence[str] | None = None,
) -> None:
    """Write a drill's page in one step. `changes` is what has changed since it was judged first, if asked."""
    figures = Summary.of(timeline)
    packets = PacketNumbers(folder / "captures", timeline)
    payload = Payload(timeline, figures, packets)
    run = timeline.first("run")
    lines, left_out = tables.story(timeline, figures, payload)
    words: dict[str, Any] = {
        "status": outcome(verdicts).value,
        "headline": headline(timeline, verdicts, figures),
        "run": run.data if run else None,
        "fault": tables.fault_text(figures),
        "versions": _versions(timeline),
        "digest": configs_digest(timeline),
        "started": (started or "").replace("T", " ").partition(".")[0],
        "again": again,
        "folder": folder.absolute().name,
        "notes": [*notes, *([packets.note] if packets.note else [])],
        "changes": changes,
        "tiles": tables.tiles(figures, figures.bound),
        "drawing": draw(timeline, figures, payload.colours),
        "data": Markup(embedded(payload.data(groups))),  # noqa: S704 -- escaped by `embedded`
        "lanes": sum(len(group.lanes) for group in groups),
        "checks": tables.checks(verdicts),
        "clients": tables.clients(figures),
        "shares": tables.shares(timeline, figures),
        "story": lines,
        "left_out": left_out,
        "files": tables.files(folder),
    }
    write_html(folder / NAME, "drill.html.j2", words)


def write_html(path: Path, template: str, words: dict[str, Any]) -> None:
    """Render a template into a file in one step; every value is escaped."""
    common = {"asset": asset, "version": __version__, "signs": tables.SIGNS, "word": tables.WORDS}
    text = _environment().get_template(template).render(**common, **words)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _versions(timeline: Timeline) -> list[tuple[str, str]]:
    """Those of the kernel and of what the balancers ran, without Debian's epoch and revision."""
    run = timeline.first("run")
    known: dict[str, Any] = dict(run.get("versions") or {}) if run else {}
    ran = {str(event.service) for event in timeline.of("config", "service")}
    named = [(name, upstream(known[name])) for name in known if name.partition("-")[0] in ran]
    return [*named, *([("kernel", str(known["kernel"]))] if "kernel" in known else [])]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("harness.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def asset(name: str) -> Markup:
    """A style sheet or script of ours, or of uPlot, to stand in a page as it is."""
    folder = resources.files("harness.report.html") / "assets"
    return Markup((folder / name).read_text(encoding="utf-8"))  # noqa: S704 -- our own files
