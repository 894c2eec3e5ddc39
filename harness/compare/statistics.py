"""Whether two small samples differ, by ranks alone.

A takeover after a crash is uniform over one advertisement interval (the last advert was 0 to one interval
ago), an outage is that rounded up to the probe's period, other figures are constants: no distribution may
be assumed, ties are common, samples are small.  So: the exact permutation distribution of the rank sum
(Wilcoxon and Mann-Whitney), with mid-ranks for ties, and the shift of Hodges and Lehmann (the median of all
differences) with the confidence interval that belongs to that test.

Wilcoxon 1945; Mann and Whitney 1947; Hodges and Lehmann 1963; all in Hollander, Wolfe and Chicken,
Nonparametric Statistical Methods, chapter 4.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, median

# Up to so many values in both samples the distribution is counted out, above it is as good as normal.
EXACT = 60


def midranks(values: Sequence[float]) -> list[int]:
    """The rank of each value, doubled so that the mean rank of ties is whole; the least has rank 1 (2)."""
    ordered = sorted(values)
    return [bisect_left(ordered, value) + bisect_right(ordered, value) + 1 for value in values]


def p_greater(base: Sequence[float], candidate: Sequence[float]) -> float:
    """How probable ranks of the candidate as high as these are, if both came from one distribution."""
    ranks = midranks([*base, *candidate])
    observed = sum(ranks[len(base) :])
    if len(ranks) > EXACT:
        return _p_normal(ranks, len(candidate), observed)
    return _Sums.of(tuple(sorted(ranks)), len(candidate)).share_from(observed)


@dataclass(frozen=True)
class _Sums:
    """In how many ways some of the ranks come to each sum: a polynomial, packed into one number.

    The coefficient of a sum stands at `sum * bits`: Python adds and shifts thousands of them at once.
    """

    packed: int
    bits: int
    all: int

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, ranks: tuple[int, ...], chosen: int) -> _Sums:
        """The ways to choose so many of these ranks."""
        ways = math.comb(len(ranks), chosen)
        bits = ways.bit_length() + 1
        powers = [1] + [0] * chosen
        for rank in ranks:
            for count in range(chosen, 0, -1):
                powers[count] += powers[count - 1] << rank * bits
        return cls(powers[chosen], bits, ways)

    def share_from(self, least: int) -> float:
        """The share of the ways that come to this sum or more."""
        return self._total(self.packed >> least * self.bits) / self.all

    def share_to(self, most: int) -> float:
        """The share of the ways that come to this sum or less."""
        return self._total(self.packed & (1 << (most + 1) * self.bits) - 1) / self.all

    def _total(self, packed: int) -> int:
        # The digits of a number in base B add up to it modulo B - 1.
        return packed % ((1 << self.bits) - 1)


def _p_normal(ranks: Sequence[int], chosen: int, observed: int) -> float:
    total, mean = len(ranks), sum(ranks) / len(ranks)
    spread = sum((rank - mean) ** 2 for rank in ranks) / (total - 1)
    variance = spread * chosen * (total - chosen) / total
    if not variance:
        return 1.0
    # Sums are even or odd throughout, two apart without ties: half of that is the continuity correction.
    return 1.0 - NormalDist().cdf((observed - 1 - chosen * mean) / math.sqrt(variance))


def shift(base: Sequence[float], candidate: Sequence[float]) -> float:
    """By how much the candidate is greater: the median of all differences."""
    return median(c - b for b in base for c in candidate)


def shift_range(base: Sequence[float], candidate: Sequence[float], confidence: float) -> tuple[float, float]:
    """Between what the shift lies, with at least this confidence; infinite where there are too few values."""
    differences = sorted(c - b for b in base for c in candidate)
    below = _cut(len(base), len(candidate), (1 - confidence) / 2)
    if below < 1:
        return -math.inf, math.inf
    return differences[below - 1], differences[-below]


def _cut(n: int, m: int, tail: float) -> int:
    """Which of the sorted differences, counted from either end, ends the interval; 0 if none can."""
    if n + m > EXACT:
        spread = math.sqrt(n * m * (n + m + 1) / 12)
        return max(int(n * m / 2 + NormalDist().inv_cdf(tail) * spread), 0)
    sums, least = _Sums.of(tuple(range(1, n + m + 1)), m), m * (m + 1) // 2
    return next(count for count in range(n * m + 2) if sums.share_to(least + count) > tail)


def least_p(n: int, m: int) -> float:
    """The least probability that samples of these sizes can come to: one lies wholly above the other."""
    return 1 / math.comb(n + m, m)


def repeats_needed(level: float) -> int:
    """How many values either sample must have so that a difference can be seen at this level at all."""
    n = 1
    while least_p(n, n) > level:
        n += 1
    return n


def p_more_often(base: tuple[int, int], candidate: tuple[int, int]) -> float:
    """How probable so many more of the candidate's (hits, of) are, if both are alike: Fisher's exact test."""
    (hits_b, of_b), (hits_c, of_c) = base, candidate
    hits, whole = hits_b + hits_c, math.comb(of_b + of_c, hits_b + hits_c)
    ways = (math.comb(of_c, k) * math.comb(of_b, hits - k) for k in range(hits_c, min(hits, of_c) + 1))
    return sum(ways) / whole
