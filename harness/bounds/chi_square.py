"""Pearson's chi-square test of counts against shares, with its false-alarm probability.

The tail of the distribution is the regularised upper incomplete gamma function Q(df/2, x/2) (NIST
Engineering Statistics Handbook, section 1.3.6.6.6), by its series or its continued fraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

_TERMS = 1000
_ENOUGH = 1e-15


def statistic(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """The sum of (seen - expected)² / expected; what must get nothing and got something makes it infinite."""
    total = sum(counts.values())
    value = 0.0
    for name in {*counts, *shares}:
        seen, expected = counts.get(name, 0), total * shares.get(name, 0.0)
        if expected:
            value += (seen - expected) ** 2 / expected
        elif seen:
            return math.inf
    return value


def tail(x: float, degrees: int) -> float:
    """The probability that chance alone makes the statistic exceed x."""
    a, z = degrees / 2, x / 2
    if z <= 0:
        return 1.0
    front = math.exp(-z + a * math.log(z) - math.lgamma(a))
    return 1.0 - front * _series(a, z) if z < a + 1 else front * _fraction(a, z)


def _series(a: float, z: float) -> float:
    term = total = 1.0 / a
    for n in range(1, _TERMS):
        term *= z / (a + n)
        total += term
        if term < total * _ENOUGH:
            break
    return total


def _fraction(a: float, z: float) -> float:
    """Lentz's evaluation of the continued fraction."""
    b = z + 1.0 - a
    c, d = 1e300, 1.0 / b
    value = d
    for n in range(1, _TERMS):
        an = -n * (n - a)
        b += 2.0
        d = 1.0 / (an * d + b)
        c = b + an / c
        value *= c * d
        if abs(c * d - 1.0) < _ENOUGH:
            break
    return value


def critical(degrees: int, false_alarm: float) -> float:
    """What the statistic exceeds by chance with this probability; where there is no choice, nothing."""
    if degrees < 1:
        return 0.0
    low, high = 0.0, 1.0
    while tail(high, degrees) > false_alarm:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle, degrees) > false_alarm else (low, middle)
    return high
