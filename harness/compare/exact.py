"""Two runs of virtual time: nothing in them is by chance, so one of each decides, and any difference is one.

Runs belong together by their seed, which decides at which phase of the advertisement cycle the fault comes.
What differs by no more than one look differs from the next (`Finding.resolution`) is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from harness.bounds.bound import RESOLUTION_S, number
from harness.compare.model import Finding, Series, Side, Variant
from harness.compare.outcome import Found, Outcome, Shift, more_is_better, promised, signed
from harness.errors import UsageError

TEST = "exact, virtual time"
# The better first; a limitation is a check that does not hold.
_ORDER = ("pass", "limitation", "fail")
_WORDS = {"pass": "holds", "limitation": "does not hold (known limitation)", "fail": "fails"}
# Figures are stored to the microsecond.
_ROUNDING = 2e-6


def exact(base: Side, candidate: Side) -> bool:
    """Whether both sides are of virtual time; raises UsageError where the worlds are mixed."""
    for side in (base, candidate):
        if len(side.worlds) > 1:
            raise UsageError(
                f"{side.path} holds runs of real and of virtual time, which cannot be compared as one; "
                "give the runs of one of them (--time real or --time virtual)"
            )
    if base.worlds != candidate.worlds:
        ours, theirs = "".join(base.worlds), "".join(candidate.worlds)
        raise UsageError(
            f"{base.path} is of {ours} time and {candidate.path} of {theirs} time, and figures of the two "
            "cannot be compared; run both with the same --time"
        )
    return base.worlds == {"virtual"}


def check_seeds(drill: str, base: Side, ours: Variant, candidate: Side, theirs: Variant) -> None:
    """Raise UsageError where the two sides of a drill were not run with the same seeds."""
    seeds = _seeds(base, drill, ours), _seeds(candidate, drill, theirs)
    if seeds[0] != seeds[1]:
        raise UsageError(
            f"{drill}: {base.path} was run with {_named(seeds[0])}, {candidate.path} with "
            f"{_named(seeds[1])}, so their faults came at different phases; "
            "run both with the same --seed and --repeat"
        )


def _seeds(side: Side, drill: str, variant: Variant) -> set[int]:
    series = side.drills[drill, variant].values()
    return {finding.seed for one in series for finding in one.findings if finding.seed is not None}


def _named(seeds: set[int]) -> str:
    listed = sorted(seeds)
    shown = ", ".join(map(str, listed[:4])) + (", ..." if len(listed) > 4 else "")
    return f"seed{'s' * (len(listed) != 1)} {shown}" if listed else "no seed"


def judge(base: Series, candidate: Series, threshold: float) -> tuple[Found, Shift | None]:
    """The worst that any run of the candidate came to beside that of the base with its seed.

    `threshold` is a share of the base's figure that is to matter, beside the resolution.
    """
    ours = {finding.seed: finding for finding in base.findings}
    theirs = {finding.seed: finding for finding in candidate.findings}
    both = [(ours[seed], theirs[seed]) for seed in ours if seed in theirs]
    found = [_judge(one, other, base.unit, threshold) for one, other in both]
    # A check that only some runs came to may have no fellow.
    found += [_lone(one, "base") for seed, one in ours.items() if seed not in theirs]
    found += [_lone(one, "candidate") for seed, one in theirs.items() if seed not in ours]
    moved = [shift for pair in both if (shift := _shift(*pair, base.unit, threshold)) is not None]
    return _worst(found), max(moved, key=lambda shift: abs(shift.by), default=None)


def _worst(found: Iterable[Found]) -> Found:
    return min(found, key=lambda each: list(Outcome).index(each[0]))


def _lone(finding: Finding, side: str) -> Found:
    told = f"with seed {finding.seed} only the {side} was judged by it"
    if side == "base":
        return Outcome.UNKNOWN, told
    if finding.status == "fail":
        return Outcome.WORSE, f"fails; {told}"
    return Outcome.SAME, told


def _judge(ours: Finding, theirs: Finding, unit: str, threshold: float) -> Found:
    undecided = [name for name, one in (("base", ours), ("candidate", theirs)) if one.status not in _ORDER]
    if len(undecided) == 1:
        return Outcome.UNKNOWN, f"undecided in the {undecided[0]}"
    if undecided:
        return Outcome.SAME, "undecided on both sides"
    if ours.status != theirs.status:
        worse = _ORDER.index(theirs.status) > _ORDER.index(ours.status)
        told = f"{_WORDS[theirs.status]}, in the base it {_WORDS[ours.status]}"
        return (Outcome.WORSE if worse else Outcome.BETTER), told
    if (ours.measured is None) != (theirs.measured is None):
        return Outcome.UNKNOWN, f"measured in the {'base' if theirs.measured is None else 'candidate'} only"
    found = [one for one in (_by_bound(ours, theirs, unit), _by_figure(ours, theirs, unit, threshold)) if one]
    if not found:
        return Outcome.SAME, "no difference" if ours.measured is not None else "the same verdict"
    return _worst(found)


def _by_bound(ours: Finding, theirs: Finding, unit: str) -> Found | None:
    old, new = ours.high, theirs.high
    if old is None or new is None or old == new or more_is_better(unit):
        return None
    if abs(new - old) <= (RESOLUTION_S if unit == "s" and math.isfinite(new - old) else 0.0) + _ROUNDING:
        return None
    return (Outcome.WORSE if new > old else Outcome.BETTER), promised(old, new, unit)


def _by_figure(ours: Finding, theirs: Finding, unit: str, threshold: float) -> Found | None:
    shift = _shift(ours, theirs, unit, threshold)
    if shift is None or abs(shift.by) <= shift.matters + _ROUNDING:
        return None
    resolves = f", which resolves {number(shift.matters)} {unit}" if shift.matters else ""
    better = (shift.by > 0) == more_is_better(unit)
    return (Outcome.BETTER if better else Outcome.WORSE), f"{signed(shift.by)} {unit}, {TEST}{resolves}"


def _shift(ours: Finding, theirs: Finding, unit: str, threshold: float) -> Shift | None:
    if ours.measured is None or theirs.measured is None:
        return None
    by = theirs.measured - ours.measured
    least = RESOLUTION_S + max(ours.resolution, theirs.resolution) if unit == "s" else 0.0
    matters = max(least, threshold * abs(ours.measured))
    return Shift(by, by, by, matters, 0.0 if abs(by) > matters + _ROUNDING else 1.0, TEST)
