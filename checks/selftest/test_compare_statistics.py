"""The statistics of `compare`, against brute force, published tables, and their own error rates."""

from __future__ import annotations

import math
import random
from itertools import combinations

import pytest

from harness.compare import statistics


def by_counting(base: list[float], candidate: list[float]) -> float:
    """The permutation test as it is defined: every way to deal the ranks out."""
    ranks = statistics.midranks([*base, *candidate])
    observed = sum(ranks[len(base) :])
    sums = [sum(ranks[i] for i in chosen) for chosen in combinations(range(len(ranks)), len(candidate))]
    return sum(total >= observed for total in sums) / len(sums)


def test_ties_share_the_mean_of_their_ranks() -> None:
    assert statistics.midranks([5, 1, 5, 9]) == [5, 2, 5, 8]


def test_the_exact_distribution_is_that_of_all_permutations() -> None:
    chance = random.Random(1)
    for _ in range(60):
        base = [chance.randrange(6) / 2 for _ in range(chance.randint(1, 6))]
        candidate = [chance.randrange(6) / 2 for _ in range(chance.randint(1, 6))]
        assert statistics.p_greater(base, candidate) == pytest.approx(by_counting(base, candidate))


def test_samples_apart_come_to_the_least_probability() -> None:
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0], [6.0, 7.0, 8.0, 9.0, 10.0]
    assert statistics.p_greater(low, high) == pytest.approx(1 / 252)
    assert statistics.p_greater(high, low) == 1.0
    assert statistics.least_p(5, 5) == pytest.approx(1 / 252)


def test_all_alike_is_no_evidence() -> None:
    assert statistics.p_greater([0.0] * 8, [0.0] * 8) == 1.0
    assert statistics.p_greater([0.0] * 80, [0.0] * 80) == 1.0


def test_large_samples_are_as_good_as_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(2)
    base = [round(chance.random(), 2) for _ in range(25)]
    candidate = [round(chance.random() + 0.15, 2) for _ in range(30)]
    exact = statistics.p_greater(base, candidate)
    assert exact < 0.01  # in the tail, where it matters and the approximation is at its worst
    monkeypatch.setattr(statistics, "EXACT", 10)
    assert statistics.p_greater(base, candidate) == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize(("n", "m", "critical"), [(5, 5, 2), (8, 8, 13), (10, 10, 23), (7, 12, 18)])
def test_the_interval_of_the_shift_ends_where_the_tables_say(n: int, m: int, critical: int) -> None:
    """Critical values of Mann and Whitney's U, two-sided, 5 % (their table of 1947, and every one since)."""
    base, candidate = [float(i) for i in range(n)], [100.0 * (j + 1) for j in range(m)]
    differences = sorted(c - b for b in base for c in candidate)
    low, high = statistics.shift_range(base, candidate, 0.95)
    assert (low, high) == (differences[critical], differences[-1 - critical])


def test_too_few_values_leave_the_shift_open() -> None:
    assert statistics.shift_range([1.0, 2.0], [3.0, 4.0], 0.95) == (-math.inf, math.inf)


def test_the_interval_covers_the_shift_as_often_as_it_says() -> None:
    chance = random.Random(3)
    covered = 0
    for _ in range(1000):
        base = [chance.random() for _ in range(10)]
        candidate = [chance.random() + 0.3 for _ in range(10)]
        low, high = statistics.shift_range(base, candidate, 0.95)
        covered += low <= 0.3 <= high
    # At least 95 %, less three standard deviations of a thousand trials.
    assert covered >= 1000 * (0.95 - 3 * math.sqrt(0.95 * 0.05 / 1000))


def test_false_alarms_are_as_rare_as_the_level() -> None:
    chance = random.Random(4)
    alarms = sum(
        statistics.p_greater([chance.random() for _ in range(10)], [chance.random() for _ in range(10)])
        <= 0.05
        for _ in range(4000)
    )
    assert abs(alarms / 4000 - 0.05) <= 3 * math.sqrt(0.05 * 0.95 / 4000) + 0.0025


def test_repeats_needed_is_the_first_number_that_can_decide() -> None:
    for level in (0.05, 0.01, 0.0005, 0.00025):
        needed = statistics.repeats_needed(level)
        assert statistics.least_p(needed, needed) <= level < statistics.least_p(needed - 1, needed - 1)


def test_fisher_s_tea() -> None:
    """The lady who tasted 3 of 4 rightly: 17/70 (Fisher, The Design of Experiments, 1935)."""
    assert statistics.p_more_often((1, 4), (3, 4)) == pytest.approx(17 / 70)
    assert statistics.p_more_often((0, 4), (4, 4)) == pytest.approx(1 / 70)
    assert statistics.p_more_often((2, 4), (2, 4)) > 0.5
