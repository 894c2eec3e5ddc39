"""The slowest tests of a suite run, and what each of them waited for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

PROPERTY = "vipdrill-waits"
_TESTS = 10
_REASONS = 3
# What is less of a test than this does not explain why it is slow.
_LEAST_S = 0.1


def encode(waits: Mapping[str, float]) -> str:
    """What a test waited for and how long (s), the longest first, as a test's property can carry it."""
    longest = sorted(waits.items(), key=lambda item: -item[1])[:_REASONS]
    return json.dumps([[awaited, round(seconds, 3)] for awaited, seconds in longest if seconds >= _LEAST_S])


def slowest(reports: Iterable[Any]) -> list[str]:
    """The ten slowest tests: how long each took, and what it waited for most.

    `reports` are pytest's, of all stages of all tests.
    """
    seconds: dict[str, float] = {}
    reasons: dict[str, list[tuple[str, float]]] = {}
    for report in reports:
        test = getattr(report, "nodeid", "")
        if not test or not hasattr(report, "duration"):
            continue
        seconds[test] = seconds.get(test, 0.0) + report.duration
        if report.when == "teardown":
            for name, value in report.user_properties:
                if name == PROPERTY:
                    reasons[test] = [(str(awaited), float(waited)) for awaited, waited in json.loads(value)]
    lines: list[str] = []
    for test in sorted(seconds, key=lambda test: -seconds[test])[:_TESTS]:
        lines.append(f"{seconds[test]:6.1f} s  {test}")
        lines += [f"{waited:14.1f} s  {awaited}" for awaited, waited in reasons.get(test, [])]
    return lines
