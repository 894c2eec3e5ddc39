"""Taking turns: of the testbeds side by side on a machine, only some are built at the same time.

A build keeps CPUs busy for a tenth of a second, and what it takes then is missing to the testbeds that
measure: served too late, their clients lose more than the load balancer costs them.  With turns, eight
side by side on two CPUs measure as one does alone (docs/performance.md).

Nodes with kernels of their own work for their keep: every packet through them takes a processor several
times as long.  Tests with such testbeds run one for each processor at a time, whatever else runs.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from harness import paths

_PATIENCE_S = 20.0
_DRILL_PATIENCE_S = 120.0
_CPUS_PER_BUILD = 2
_LOOK_S = 0.02


@contextmanager
def turn(patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold a turn for a block: wait until it comes, or, as a courtesy has its limits, for `patience_s`."""
    place = _take("turn", _cpus() // _CPUS_PER_BUILD, patience_s)
    try:
        yield
    finally:
        # This also gives up the lock, and one that comes only now.
        os.close(place)


@contextmanager
def place_for_machines(patience_s: float = _DRILL_PATIENCE_S) -> Iterator[None]:
    """Hold one of the places for drills on nodes with kernels of their own, likewise."""
    place = _take("machines", _cpus(), patience_s)
    try:
        yield
    finally:
        os.close(place)


def _cpus() -> int:
    return os.cpu_count() or 1


def _take(name: str, places: int, patience_s: float) -> int:
    """A file descriptor whose lock is one of so many places: the first that is free."""
    files = [paths.cache_dir() / f"{name}-{number}.lock" for number in range(max(1, places))]
    until = time.monotonic() + patience_s
    while True:
        for path in files:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
            else:
                return fd
        if time.monotonic() >= until:
            return os.open(files[0], os.O_RDWR | os.O_CLOEXEC)
        # The kernel wakes nobody who waits for one of several locks (flock(2)).
        time.sleep(_LOOK_S)
