"""The verdict on a candidate: of each check better, same, worse, or unknown, and why.

In this order:

1. the check's own verdicts: a candidate that fails where the base never did is worse;
2. the bound: where the configuration allows more than before, it is worse, whatever was measured;
3. what was measured: different by ranks beyond chance, *and* by an amount that matters.

Chance is allowed `alpha` for the whole comparison, so each of the checks gets its share of it (Bonferroni).
Samples too small to show a difference at that level decide nothing: that is unknown, never "same".
Runs of virtual time have no chance in them, and are compared one by one (`exact`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from harness.bounds.bound import RESOLUTION_S, number
from harness.compare import exact, pairing, statistics
from harness.compare.model import Question, Series, Side
from harness.compare.outcome import Found, Outcome, Shift, more_is_better, promised, signed
from harness.errors import UsageError

CONFIDENCE = 0.95
_THRESHOLD = 0.1
# Two of VRRP's centiseconds, or a period of the probe at the suite's rate: less is not a change.
_LEAST_S = 2 * RESOLUTION_S
# A bound may be counted from what happened (how long a boot took), so it must grow by more than that.
_BOUND_GROWTH, _BOUND_GROWTH_OF_FEW, _FEW = 0.05, 0.2, 3


@dataclass(frozen=True)
class Settings:
    """`threshold` is the share of the base's median that matters; `alpha` the chance of any false alarm.

    Without a threshold it is a tenth where figures have a spread, and nothing where they have none.
    """

    threshold: float | None = None
    alpha: float = 0.01

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 10:
            raise UsageError(
                f"the threshold is a share of the base's median, 0 to 10, not {self.threshold:g}"
            )
        if not 0 < self.alpha <= 0.5:
            raise UsageError(f"alpha is a probability above 0 and at most 0.5, not {self.alpha:g}")

    def share(self, *, exact: bool = False) -> float:
        """The threshold in force."""
        if self.threshold is None:
            return 0.0 if exact else _THRESHOLD
        return self.threshold


@dataclass(frozen=True)
class Row:
    """One check of one drill on both sides; a side without it is None."""

    drill: str
    changes: tuple[str, ...]
    question: Question
    outcome: Outcome
    why: str
    base: Series | None
    candidate: Series | None
    shift: Shift | None = None


@dataclass(frozen=True)
class Comparison:
    """All of it. `needed` repeats of each drill can decide; `level` is each check's share of alpha.

    `exact` says that both sides are of virtual time, where one run of each decides.
    """

    rows: tuple[Row, ...]
    level: float
    needed: int
    notes: tuple[str, ...]
    exact: bool = False

    @property
    def outcome(self) -> Outcome:
        """The worst of all checks."""
        found = {row.outcome for row in self.rows}
        return next((outcome for outcome in Outcome if outcome in found), Outcome.UNKNOWN)


@dataclass(frozen=True)
class _Couple:
    drill: str
    changes: tuple[str, ...]
    question: Question
    base: Series
    candidate: Series


def compare(base: Side, candidate: Side, settings: Settings | None = None) -> Comparison:
    """Compare two sides; raises UsageError where they have no drill in common, or nothing else to compare."""
    settings = settings or Settings()
    by_run = exact.exact(base, candidate)
    couples: list[_Couple] = []
    rows: list[Row] = []
    notes = [f"{what}: {note}" for what, side in _sides(base, candidate) for note in side.notes]
    for drill in dict.fromkeys(name for name, _ in [*base.drills, *candidate.drills]):
        pairs, gone, new = pairing.variants(base, candidate, drill)
        for ours, theirs in pairs:
            if by_run:
                exact.check_seeds(drill, base, ours, candidate, theirs)
            changes = tuple(ours.differences(theirs))
            named = pairing.named(drill, theirs, candidate)
            asked = pairing.questions(base.drills[drill, ours], candidate.drills[drill, theirs])
            for q_base, q_candidate in asked[0]:
                couples.append(
                    _Couple(
                        named,
                        changes,
                        q_candidate,
                        base.drills[drill, ours][q_base],
                        candidate.drills[drill, theirs][q_candidate],
                    )
                )
            rows += [_lone(named, changes, q, base.drills[drill, ours][q], None) for q in asked[1]]
            rows += [_lone(named, changes, q, None, candidate.drills[drill, theirs][q]) for q in asked[2]]
        rows += [
            Row(drill, (), Question("this drill"), Outcome.UNKNOWN, "only the base ran it", None, None)
        ] * bool(gone)
        notes += [f"{drill}: only the candidate ran it, so nothing is said of it"] * bool(new)
    if not couples:
        raise UsageError(
            f"{base.path} and {candidate.path} have no drill in common: "
            f"{_drills(base)} against {_drills(candidate)}"
        )
    if by_run:
        return Comparison((*(_judge_run(c, settings) for c in couples), *rows), 0.0, 1, tuple(notes), True)
    level = settings.alpha / 2 / max(sum(_measured(couple) for couple in couples), 1)
    needed = statistics.repeats_needed(level)
    judged = [_judge(couple, settings, level, needed) for couple in couples]
    return Comparison((*judged, *rows), level, needed, tuple(notes))


def _sides(base: Side, candidate: Side) -> Iterable[tuple[str, Side]]:
    return ("base", base), ("candidate", candidate)


def _drills(side: Side) -> str:
    return "; ".join(dict.fromkeys(name for name, _ in side.drills))


def _measured(couple: _Couple) -> bool:
    """Whether chance can play with it: both sides have figures."""
    return bool(couple.base.values() and couple.candidate.values())


def _lone(
    drill: str, changes: tuple[str, ...], question: Question, ours: Series | None, theirs: Series | None
) -> Row:
    if theirs is None:
        return Row(drill, changes, question, Outcome.UNKNOWN, "only the base was judged by it", ours, None)
    fails = theirs.count("fail")
    if fails:
        why = f"fails in {fails} of {len(theirs.findings)}; the base was not judged by it"
        return Row(drill, changes, question, Outcome.WORSE, why, None, theirs)
    return Row(drill, changes, question, Outcome.SAME, "only the candidate was judged by it", None, theirs)


def _judge(couple: _Couple, settings: Settings, level: float, needed: int) -> Row:
    shift = _shift(couple, settings)
    found = (
        _by_verdicts(couple, level)
        or _by_units(couple)
        or _by_bounds(couple)
        or _by_figures(couple, shift, level, needed)
        or (Outcome.SAME, "the same verdicts")
    )
    return Row(couple.drill, couple.changes, couple.question, *found, couple.base, couple.candidate, shift)


def _judge_run(couple: _Couple, settings: Settings) -> Row:
    """The same for runs of virtual time."""
    found, shift = _by_units(couple), None
    if found is None:
        found, shift = exact.judge(couple.base, couple.candidate, settings.share(exact=True))
    return Row(couple.drill, couple.changes, couple.question, *found, couple.base, couple.candidate, shift)


def _by_verdicts(couple: _Couple, level: float) -> Found | None:
    base, candidate = couple.base, couple.candidate
    for status, words in (("fail", "fails"), ("limitation", "does not hold (known limitation)")):
        ours = base.count(status), len(base.findings)
        theirs = candidate.count(status), len(candidate.findings)
        told = f"{words} in {theirs[0]} of {theirs[1]}, in the base in {ours[0]} of {ours[1]}"
        if status == "fail" and theirs[0] and not ours[0]:
            return Outcome.WORSE, told
        if statistics.p_more_often(ours, theirs) <= level:
            return Outcome.WORSE, told
        if statistics.p_more_often(theirs, ours) <= level:
            return Outcome.BETTER, told
    return None


def _by_units(couple: _Couple) -> Found | None:
    """A check may count one thing or another: after a change from preempt to nopreempt, say."""
    if couple.base.unit == couple.candidate.unit:
        return None
    return Outcome.UNKNOWN, f"the base counts {couple.base.unit}, the candidate {couple.candidate.unit}"


def _by_bounds(couple: _Couple) -> Found | None:
    ours, theirs = couple.base.highs(), couple.candidate.highs()
    if not ours or not theirs or more_is_better(couple.base.unit):
        return None
    told = promised(median(ours), median(theirs), couple.base.unit)
    if _grew(ours, theirs):
        return Outcome.WORSE, told
    if _grew(theirs, ours):
        return Outcome.BETTER, told
    return None


def _grew(before: list[float], after: list[float]) -> bool:
    """Whether every bound after is above every one before, by more than what the runs add to one."""
    old, new = median(before), median(after)
    if math.isinf(new) or math.isinf(old):
        return min(after) > max(before)
    spread = max(max(before) - min(before), max(after) - min(after))
    if min(after) - max(before) <= spread:
        return False
    share = _BOUND_GROWTH if min(len(before), len(after)) >= _FEW else _BOUND_GROWTH_OF_FEW
    return new - old > max(RESOLUTION_S, share * old)


def _shift(couple: _Couple, settings: Settings) -> Shift | None:
    ours, theirs = couple.base.values(), couple.candidate.values()
    if not ours or not theirs or couple.base.unit != couple.candidate.unit:
        return None
    by = statistics.shift(ours, theirs)
    low, high = statistics.shift_range(ours, theirs, CONFIDENCE)
    p = statistics.p_greater(ours, theirs) if by > 0 else statistics.p_greater(theirs, ours)
    return Shift(by, low, high, _matters(couple, settings), p)


def _matters(couple: _Couple, settings: Settings) -> float:
    """How much is a change: a share of the base, no less than can be told apart, no less than one."""
    values = couple.base.values()
    unit = couple.base.unit
    least = _LEAST_S if unit == "s" else 1.0 if all(v.is_integer() for v in values) else 0.0
    return max(settings.share() * abs(median(values)), least)


def _by_figures(couple: _Couple, shift: Shift | None, level: float, needed: int) -> Found | None:
    base, candidate = couple.base, couple.candidate
    if shift is None:
        if base.values() or candidate.values():
            side = "base" if base.values() else "candidate"
            return Outcome.UNKNOWN, f"measured in the {side} only"
        return None
    counts = len(base.values()), len(candidate.values())
    unit = base.unit
    moved = f"{signed(shift.by)} {unit} in the median, p {shift.p:.2g}"
    if shift.p <= level and abs(shift.by) >= shift.matters:
        more = shift.by > 0
        return (Outcome.BETTER if more == more_is_better(unit) else Outcome.WORSE), moved
    if statistics.least_p(*counts) > level:
        return Outcome.UNKNOWN, (
            f"{counts[0]} against {counts[1]} repeats decide nothing at this level: {needed} of each can"
        )
    if shift.p <= level:
        return Outcome.SAME, f"{moved}: less than the {number(shift.matters)} {unit} that matter"
    if shift.low == shift.high:
        return Outcome.SAME, "no difference"
    moved = f"{signed(shift.low)} to {signed(shift.high)} {unit}"
    return Outcome.SAME, f"moved by {moved} ({CONFIDENCE:.0%} sure)"
