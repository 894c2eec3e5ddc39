"""What a comparison says of a check, by whatever means it came to it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from harness.bounds.bound import number

BY_RANKS = "exact permutation of ranks (Mann-Whitney), one-sided; Hodges-Lehmann shift"


class Outcome(enum.Enum):
    """What a comparison says of one check, or of all, the worst first."""

    WORSE = "worse"
    UNKNOWN = "unknown"
    BETTER = "better"
    SAME = "same"


Found = tuple[Outcome, str]
"""An outcome, and why."""


@dataclass(frozen=True)
class Shift:
    """By how much the candidate's values lie above the base's, between what, and what would matter.

    `p` is the probability by chance alone of values that lie apart so far, in that direction, by `test`.
    """

    by: float
    low: float
    high: float
    matters: float
    p: float
    test: str = BY_RANKS


def signed(value: float) -> str:
    """A difference, with its sign."""
    return f"{'+' if value > 0 else ''}{number(value)}"


def promised(old: float, new: float, unit: str) -> str:
    """What a bound that has moved says."""
    ends = number(new), number(old)
    return f"by the configuration alone: promised up to {ends[0]} {unit}, in the base {ends[1]} {unit}"


def more_is_better(unit: str) -> bool:
    """Rates are wished high; all else that is measured are times and losses."""
    return "/s" in unit or unit.endswith("bit/s")
