"""The same drill several times: where in the advertisement cycle each strikes, and what they come to.

A silent crash is answered one down interval after the last advert, so the outage depends on how long ago
that was: uniform over one interval.  Phases drawn at random need dozens of drills to cover it; one drawn from
each of N equal parts of the cycle (stratified sampling) does with N.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from harness.bounds.bound import number


@dataclass(frozen=True)
class Repeat:
    """One of the drills: its number from 1, its own seed, its phase of the cycle (0 to 1)."""

    number: int
    seed: int
    phase: float


def plan(seed: int, count: int, phase: float | None = None) -> list[Repeat]:
    """So many repeats by one seed; in a random order, so that no trend of the machine is one of the phase."""
    chance = random.Random(seed)
    phases = [round((part + chance.random()) / count, 4) for part in range(count)]
    chance.shuffle(phases)
    return [
        Repeat(number, chance.randrange(1_000_000), phases[number - 1] if phase is None else phase)
        for number in range(1, count + 1)
    ]


@dataclass(frozen=True)
class Spread:
    """One check over the repeats: how often it came to each verdict, what was measured, what was promised."""

    title: str
    verdicts: Mapping[str, int]
    values: tuple[float, ...]
    low: float | None
    high: float | None
    unit: str

    def figures(self) -> str:
        """The measured values, in words."""
        if not self.values:
            return ""
        least, most = min(self.values), max(self.values)
        if least == most:
            return f"{number(least)} {self.unit}"
        return f"{number(least)} to {number(most)} {self.unit}, median {number(median(self.values))}"

    def promise(self) -> str:
        """The widest of the bounds, in words."""
        if self.low is None:
            return ""
        if self.high is None:
            return f"{number(self.low)} {self.unit} or more"
        ends = dict.fromkeys((number(self.low), number(self.high)))
        return f"{' to '.join(ends)} {self.unit}"


def spreads(results: Sequence[Mapping[str, Any]]) -> Iterator[Spread]:
    """Every check that applied, over results as they are in docs/result.md, in the order of the first."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        for check in result["checks"]:
            if check["verdict"] != "not-applicable":
                title = f"{check['property']}: {check['aspect']}" if check["aspect"] else check["property"]
                found.setdefault((title, check["subject"]), []).append(check)
    for (title, subject), checks in found.items():
        verdicts: dict[str, int] = {}
        for check in checks:
            verdicts[check["verdict"]] = verdicts.get(check["verdict"], 0) + 1
        bounds = [check["bound"] for check in checks if check["bound"]]
        lows = [bound["low"] for bound in bounds if bound["low"] is not None]
        highs = [bound["high"] for bound in bounds]
        yield Spread(
            f"{title} ({subject})" if subject else title,
            verdicts,
            tuple(check["measured"] for check in checks if check["measured"] is not None),
            min(lows) if lows else None,
            max(highs) if highs and None not in highs else None,
            checks[0]["unit"],
        )
