"""One figure: what was measured, beside what, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["at most", "at least", "floors", "beyond floor"]


@dataclass(frozen=True)
class Target:
    """What a figure has to reach: a number of its own unit, so many floors, or so near its floor."""

    kind: Kind
    number: float

    def met(self, measured: float, floor: float | None) -> bool:
        """Whether a figure reaches it; without a floor, what is measured in floors does not."""
        if self.kind == "at most":
            return measured <= self.number
        if self.kind == "at least":
            return measured >= self.number
        if floor is None:
            return False
        return measured <= (floor * self.number if self.kind == "floors" else floor + self.number)

    def __str__(self) -> str:
        forms = {"at most": "≤ {:g}", "at least": "≥ {:g}", "floors": "≤ {:g} floors"}
        return forms.get(self.kind, "≤ floor + {:g}").format(self.number)


@dataclass(frozen=True)
class Figure:
    """A median (unless its name says otherwise), with the floor or peer measured in the same run.

    `note` is the spread, the number of repeats, or what the floor is made of.
    """

    name: str
    measured: float
    unit: str
    floor: float | None = None
    floor_is: str = ""
    target: Target | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many floors it costs."""
        return self.measured / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        return None if self.target is None else self.target.met(self.measured, self.floor)


def at_most(number: float) -> Target:
    """A limit in the figure's own unit."""
    return Target("at most", number)


def at_least(number: float) -> Target:
    """A least value in the figure's own unit."""
    return Target("at least", number)


def floors(number: float) -> Target:
    """A limit in floors."""
    return Target("floors", number)


def within(number: float) -> Target:
    """How far it may be above its floor."""
    return Target("beyond floor", number)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def spread(values: Sequence[float]) -> str:
    """How far single measurements lie apart, for a figure's note."""
    return f"{len(values)} times, {min(values):.3g} to {max(values):.3g}"


def interleaved(repeats: int, *measures: Callable[[], float]) -> list[list[float]]:
    """Run every measure `repeats` times, taking turns, so that a slow moment hits all of them."""
    found: list[list[float]] = [[] for _ in measures]
    for _ in range(repeats):
        for values, measure in zip(found, measures, strict=True):
            values.append(measure())
    return found
