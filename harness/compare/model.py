"""What is compared: one side's drills, each with the findings of its repeats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """One check of one run: its verdict, what was measured, and up to where it might be.

    `high` is infinite where nothing limits it, and None where nothing is promised in numbers.  `seed` is
    that of its run, `resolution` what lies between two looks at it (in the unit; 0 if nothing).
    """

    status: str
    measured: float | None
    high: float | None
    seed: int | None = None
    resolution: float = 0.0


@dataclass(frozen=True)
class Question:
    """What a check asks: its title (property and aspect), and what it is about."""

    title: str
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.title} ({self.subject})" if self.subject else self.title


@dataclass
class Series:
    """The findings of one check over the repeats, all in one unit."""

    unit: str
    findings: list[Finding] = field(default_factory=list)

    def values(self) -> list[float]:
        """What was measured; a run that could not decide the check counts not at all."""
        return [f.measured for f in self.findings if f.measured is not None and f.status != "unknown"]

    def highs(self) -> list[float]:
        """The bounds."""
        return [f.high for f in self.findings if f.high is not None]

    def count(self, status: str) -> int:
        """How many came to this verdict."""
        return sum(finding.status == status for finding in self.findings)


@dataclass(frozen=True)
class Variant:
    """How a drill was set up: options of its architecture, the targets of its faults."""

    options: tuple[tuple[str, str], ...] = ()
    targets: tuple[str, ...] = ()

    def differences(self, other: Variant) -> list[str]:
        """What the other one has otherwise, as sentences."""
        ours, theirs = dict(self.options), dict(other.options)
        told = [
            f"{name} {ours.get(name, 'not given')} -> {theirs.get(name, 'not given')}"
            for name in dict.fromkeys([*ours, *theirs])
            if ours.get(name) != theirs.get(name)
        ]
        if self.targets != other.targets:
            told.append(f"target {', '.join(self.targets)} -> {', '.join(other.targets)}")
        return told


@dataclass
class Side:
    """One side of a comparison: for each drill and variant its checks; `notes` tell what was left out.

    `worlds` are those that its runs were made in: `real`, `virtual`.
    """

    path: str
    drills: dict[tuple[str, Variant], dict[Question, Series]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    worlds: set[str] = field(default_factory=set)

    def repeats(self, drill: str, variant: Variant) -> int:
        """How often a drill was run."""
        return max((len(series.findings) for series in self.drills[drill, variant].values()), default=0)

    def add(self, drill: str, variant: Variant, checks: Iterable[tuple[Question, str, Finding]]) -> None:
        """Take in one run: each check with its unit."""
        questions = self.drills.setdefault((drill, variant), {})
        for question, unit, finding in checks:
            series = questions.setdefault(question, Series(unit))
            if series.unit != unit:
                # A check may count one thing or another, as what happened decides.
                other = Question(f"{question.title} [{unit}]", question.subject)
                series = questions.setdefault(other, Series(unit))
            series.findings.append(finding)
