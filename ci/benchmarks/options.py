"""How thoroughly to measure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`scale` multiplies repeats and durations: 1 for a full run, less for a quick look."""

    scale: float = 1.0

    def repeats(self, full: int, least: int = 3) -> int:
        """How often to repeat something that a full run repeats so many times."""
        return max(min(least, full), round(full * self.scale))

    def seconds(self, full: float, least: float = 1.0) -> float:
        """How long to measure something that a full run measures for so long."""
        return max(min(least, full), full * self.scale)
