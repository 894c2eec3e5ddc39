"""A bound: what must not be undercut nor exceeded, and the sentence that explains why."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

# VRRP counts in centiseconds (RFC 9568 section 6.1): what differs by less is not told apart.
RESOLUTION_S = 0.01


@dataclass(frozen=True)
class Bound:
    """From `low` to `high`, both included; `high` may be infinite. `source` gives the arithmetic."""

    low: float
    high: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(
                f"a bound from {self.low} to {self.high} {self.unit} holds nothing: {self.source}"
            )

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"{number(self.low)} {self.unit} or more"
        if self.low == self.high:
            return f"{number(self.low)} {self.unit}"
        return f"{number(self.low)} to {number(self.high)} {self.unit}"

    def excess(self, measured: float) -> float:
        """How far a value lies outside: above 0 if too high, below 0 if too low, 0 if inside."""
        if measured > self.high:
            return measured - self.high
        return min(measured - self.low, 0.0)

    def later(self, amount: float, why: str) -> Bound:
        """The same bound, counted from a moment that lies `amount` earlier."""
        source = f"{self.source}; {why}: {number(amount)} {self.unit}"
        return replace(self, low=self.low + amount, high=self.high + amount, source=source)

    def wider(self, *, low: float = 0.0, high: float = 0.0, why: str) -> Bound:
        """The same bound, reaching lower or higher for a reason (amounts in the bound's unit)."""
        return replace(
            self, low=max(self.low - low, 0.0), high=self.high + high, source=f"{self.source}; {why}"
        )


def number(value: float) -> str:
    """A number with the four decimals that VRRP's arithmetic can need, and no more than it needs."""
    if math.isinf(value):
        return "for ever"
    return f"{round(value, 4):.10g}"
