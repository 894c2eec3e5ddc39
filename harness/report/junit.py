"""What JUnit's XML tells of a test that drilled: figures, versions, revision of the configurations."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bounds.bound import number
from harness.report.digest import configs_digest
from harness.report.headline import headline, outcome
from harness.report.summary import Summary
from harness.timeline import Timeline
from harness.verdict import Verdict

PREFIX = "vipdrill."
_VERSIONS = ("keepalived", "haproxy", "nginx-light", "bird2", "kernel")


def properties(timeline: Timeline, verdicts: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Names and values for a test case's `properties`; seconds where a name ends in `_s`."""
    run, figures = timeline.run, Summary.of(timeline)
    sent, lost = figures.requests()
    bound = figures.bound
    found: dict[str, str | None] = {
        "architecture": run.architecture,
        "fault": ", ".join(str(fault) for fault in figures.faults) or None,
        "seed": str(run.seed),
        "verdict": outcome(verdicts).value,
        "summary": headline(timeline, verdicts, figures),
        "takeover_s": _seconds(figures.takeover_s),
        "bound": None if bound is None else str(bound),
        "outage_s": _seconds(figures.outage_s),
        "requests_sent": str(sent) if sent else None,
        "requests_lost": str(lost) if sent else None,
        "configs": configs_digest(timeline) or None,
    }
    versions = run.get("versions") or {}
    found |= {f"version.{name}": str(versions[name]) for name in _VERSIONS if name in versions}
    return [(PREFIX + name, value) for name, value in found.items() if value is not None]


def _seconds(value: float | None) -> str | None:
    return None if value is None else number(value)
