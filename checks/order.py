"""In which order the workers of one run take its tests.

Tests on nodes with kernels of their own keep a processor busy, so of them only one runs for each processor
(`harness.turns`); a worker that waits for its place does nothing meanwhile.  xdist's worksteal gives each
worker a stretch of the list, which it runs from the front, while whoever is idle takes from the back of
others' (its documentation, "Running tests across multiple CPUs").  So as many stretches as there are places
begin with such tests, and the next one with those in virtual time, which compute as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

Test = TypeVar("Test")


def ordered(
    tests: Sequence[Test],
    workers: int,
    *,
    on_machines: Callable[[Test], bool],
    in_virtual_time: Callable[[Test], bool],
    places: int = 0,
) -> list[Test]:
    """All of the tests, for so many workers and so many places (0: one a processor)."""
    virtual = [test for test in tests if in_virtual_time(test)]
    machines = [test for test in tests if on_machines(test) and not in_virtual_time(test)]
    others = [test for test in tests if not on_machines(test) and not in_virtual_time(test)]
    places = places or os.cpu_count() or 1
    if workers <= places:
        return [*virtual, *machines, *others]
    fronts = [*(machines[place::places] for place in range(places)), virtual]
    found: list[Test] = []
    rest = len(tests)
    for worker in range(workers):
        share = rest // (workers - worker)
        rest -= share
        front = fronts[worker] if worker < len(fronts) else []
        filling = max(0, share - len(front))
        found += [*front, *others[:filling]]
        del others[:filling]
    return [*found, *others]
