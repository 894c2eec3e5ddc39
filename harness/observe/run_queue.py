"""How long the processes under test waited for a processor that something else had.

On a host of its own a daemon would not wait.  What it is late by on a busy machine is the testbed's
lateness and not the daemon's, and no timer of the witnesses' own shows it.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class RunQueue:
    """The waits of followed processes, of their threads and descendants.

    Source: the second figure of /proc/PID/task/TID/schedstat, the time spent waiting on a run queue in
    nanoseconds (kernel documentation, scheduler/sched-stats).  Stopped and sleeping processes wait for
    nothing.  Where the kernel does not count it, nothing is ever told.
    """

    def __init__(self) -> None:
        self._followed: dict[int, str] = {}
        self._seen: dict[int, int] = {}
        self._before: dict[str, int] = {}
        self._worst: dict[str, int] = {}

    def follow(self, identity: str, pid: int) -> None:
        """Look at this process from now on."""
        self._followed[pid] = identity

    def forget(self, pid: int) -> None:
        """It has ended."""
        self._followed.pop(pid, None)

    def look(self) -> None:
        """Take the waits since the look before; to be called every so often."""
        seen: dict[int, int] = {}
        for pid, identity in self._followed.items():
            longest = 0
            for thread in _threads(pid):
                waited = _waited_ns(thread)
                seen[thread] = waited
                longest = max(longest, waited - self._seen.get(thread, waited))
            # One wait may have a look in its middle, so two spans between looks count together.
            together = longest + self._before.get(identity, 0)
            self._before[identity] = longest
            self._worst[identity] = max(together, self._worst.get(identity, 0))
        self._seen = seen

    def worst(self) -> Iterator[tuple[str, int]]:
        """Each process and the most that it waited for within two looks (ns), since this was asked before."""
        found, self._worst = self._worst, {}
        yield from found.items()


def _threads(pid: int) -> list[int]:
    """The threads of a process and of its descendants; none if it has ended."""
    pids, threads = [pid], []
    for one in pids:
        try:
            own = [int(name) for name in os.listdir(f"/proc/{one}/task")]
            for thread in own:
                with open(f"/proc/{one}/task/{thread}/children", "rb", buffering=0) as children:
                    pids += [int(child) for child in children.read(4096).split()]
        except OSError:
            continue
        threads += own
    return threads


def _waited_ns(thread: int) -> int:
    try:
        with open(f"/proc/{thread}/schedstat", "rb", buffering=0) as stat:
            return int(stat.read(128).split()[1])
    except (OSError, IndexError):
        return 0
