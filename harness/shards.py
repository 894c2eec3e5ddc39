"""A suite in shards, so that several machines share it: which test belongs to which shard.

Every machine works it out for itself from the names of all tests and what they took in an earlier run; all
come to the same, as long as they have the same suite and the same record.  A digest of both goes into each
shard's cells, so that a merge can tell.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.errors import UsageError

MOST = 1000
# What a test takes that nothing is known of, where nothing is known of any.
_UNKNOWN_S = 1.0


@dataclass(frozen=True)
class Shard:
    """Number `number` of `count`, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """For example "2/4"; raises UsageError."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal()) or not (
            1 <= int(number) <= int(count) <= MOST
        ):
            raise UsageError(f"a shard is written I/N, 1/4 to 4/4 for four of them, not {text!r}")
        return cls(int(number), int(count))


def assign(tests: Sequence[str], seconds: Mapping[str, float], count: int) -> list[list[str]]:
    """The tests of each shard, in the suite's order.

    The longest are given out first, each to the shard that has the least so far: that is at most a third
    longer than the best there is (Graham 1969).  A test of which nothing is known counts as the median.
    """
    known = [seconds[test] for test in tests if test in seconds]
    usual_s = median(known) if known else _UNKNOWN_S
    loads = [0.0] * count
    shard_of: dict[str, int] = {}
    for test in sorted(tests, key=lambda test: (-seconds.get(test, usual_s), test)):
        least = loads.index(min(loads))
        loads[least] += seconds.get(test, usual_s)
        shard_of[test] = least
    return [[test for test in tests if shard_of[test] == number] for number in range(count)]


def digest(tests: Sequence[str], seconds: Mapping[str, float], count: int) -> str:
    """What is the same for shards of one suite only."""
    content = [count, sorted((test, seconds.get(test, -1.0)) for test in tests)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
