"""What a scenario expects of each property, beside what was found, and what that amounts to.

An expectation takes the place of the property's own verdict: a failure that was expected is none, and a pass
where a failure was expected is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.headline import outcome
from harness.report.lines import STYLE, Glyphs, Line
from harness.verdict import Status, Verdict, worst

_WORDS = {
    Status.PASS: "holds",
    Status.FAIL: "fails",
    Status.UNKNOWN: "could not be decided",
    Status.LIMITATION: "does not hold (known limitation)",
    Status.NOT_APPLICABLE: "was not judged, as nothing called for it",
}
# What the findings of a property amount to, the first that is among them: here a limitation shows.
_ORDER = (Status.FAIL, Status.UNKNOWN, Status.LIMITATION, Status.PASS)


@dataclass(frozen=True)
class Expected:
    """One property: what was expected of it, and what was found."""

    name: str
    wanted: Status
    found: Status

    @property
    def status(self) -> Status:
        """Pass where it came as expected, unknown where the run cannot tell, else fail."""
        if self.found is self.wanted:
            return Status.PASS
        return Status.UNKNOWN if self.found is Status.UNKNOWN else Status.FAIL

    @property
    def sentence(self) -> str:
        """For example "single-owner fails, as expected"."""
        end = "as expected" if self.status is Status.PASS else f"expected was {self.wanted.value}"
        return f"{self.name} {_WORDS[self.found]}, {end}"

    def to_json(self) -> dict[str, Any]:
        """As it stands in result.json."""
        return {
            "property": self.name,
            "expected": self.wanted.value,
            "found": self.found.value,
            "verdict": self.status.value,
        }


def expectations(expect: Mapping[str, str], verdicts: Sequence[Verdict]) -> list[Expected]:
    """Every property of which something is expected."""
    found = []
    for name, wanted in expect.items():
        statuses = {verdict.status for verdict in verdicts if verdict.property == name}
        amounts = next((status for status in _ORDER if status in statuses), Status.NOT_APPLICABLE)
        found.append(Expected(name, Status(wanted), amounts))
    return found


def amounts_to(expected: Sequence[Expected], verdicts: Sequence[Verdict]) -> Status:
    """What a run amounts to: its verdicts, those of which something was expected by whether it holds."""
    if not expected:
        return outcome(verdicts)
    named = {one.name for one in expected}
    others = worst(verdict for verdict in verdicts if verdict.property not in named)
    found = {others, *(one.status for one in expected)}
    return next(status for status in _ORDER if status in found)


def lines(expected: Sequence[Expected], verdicts: Sequence[Verdict], glyphs: Glyphs) -> list[Line]:
    """For the terminal: each, and what the run amounts to."""
    if not expected:
        return []
    told: list[Line] = [[], [("Expected", "bold")]]
    told += [[(f"  {glyphs.status[one.status]} {one.sentence}", STYLE[one.status])] for one in expected]
    status = amounts_to(expected, verdicts)
    words = {Status.PASS: "AS EXPECTED", Status.FAIL: "NOT AS EXPECTED"}.get(status, status.value.upper())
    return [*told, [], [(f"{glyphs.status[status]} {words}", f"bold {STYLE[status].removeprefix('bold ')}")]]
