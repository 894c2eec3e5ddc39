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
from contextlib import ExitStack, contextmanager

from harness import paths, world

_PATIENCE_S = 20.0
_DRILL_PATIENCE_S = 120.0
_HALL, _GATE = "hall.lock", "gate.lock"
_CPUS_PER_BUILD = 2
_LOOK_S = 0.02
_is_alone = False


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


@contextmanager
def beside_others(patience_s: float = _DRILL_PATIENCE_S) -> Iterator[None]:
    """For a drill: wait for one that runs `alone`, then keep the next such waiting for a block.

    Nothing in virtual time, where nobody is late: the guest as a whole is beside others.
    """
    with ExitStack() as held:
        if not (_is_alone or world.virtual()):
            until = time.monotonic() + patience_s
            gate = held.enter_context(_lock(_GATE, fcntl.LOCK_EX, until))
            held.enter_context(_lock(_HALL, fcntl.LOCK_SH, until))
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@contextmanager
def alone(patience_s: float = _DRILL_PATIENCE_S) -> Iterator[None]:
    """Run a block when all drills `beside_others` have ended, and let none begin but those in it."""
    global _is_alone
    until = time.monotonic() + patience_s
    with _lock(_GATE, fcntl.LOCK_EX, until), _lock(_HALL, fcntl.LOCK_EX, until):
        _is_alone = True
        try:
            yield
        finally:
            _is_alone = False


@contextmanager
def _lock(name: str, kind: int, until: float) -> Iterator[int]:
    """A lock of a file of this name, if it can be had until then; otherwise the block goes on without it."""
    fd = os.open(paths.cache_dir() / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    break
            # Who waits in flock(2) cannot give up.
            time.sleep(_LOOK_S)
        yield fd
    finally:
        os.close(fd)


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
