"""Taking turns: of the testbeds side by side on a machine, only some are built at the same time.

A build keeps CPUs busy for a tenth of a second, and what it takes then is missing to the testbeds that
measure: served too late, their clients lose more than the load balancer costs them.  With turns, eight
side by side on two CPUs measure as one does alone (docs/performance.md).
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness import paths

_PATIENCE_S = 20.0
_CPUS_PER_BUILD = 2


@contextmanager
def turn(patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Hold a turn for a block: wait until it comes, or, as a courtesy has its limits, for `patience_s`."""
    slots = max(1, (os.cpu_count() or 1) // _CPUS_PER_BUILD)
    path = paths.cache_dir() / f"turn-{os.getpid() % slots}.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd, patience_s)
        yield
    finally:
        # This also gives up the lock, and one that comes only now.
        os.close(fd)


def _lock(fd: int, patience_s: float) -> None:
    """flock(2) with a limit: a thread waits, which nobody waits for if the process is to end before."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waiting = threading.Thread(target=fcntl.flock, args=(fd, fcntl.LOCK_EX), daemon=True)
        waiting.start()
        waiting.join(patience_s)
