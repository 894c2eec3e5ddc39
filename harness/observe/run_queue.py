"""How long the processes under test waited for a processor that something else had.

On a host of its own a daemon would not wait.  What it is late by on a busy machine is the testbed's
lateness and not the daemon's, and no timer of the witnesses' own shows it.
"""

from __future__ import annotations

import os

from harness.observe.lateness import is_machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Threads come and go seldom, and looking for them costs more than looking at them.
_LOOKS_A_SEARCH = 10


class RunQueue:
    """The waits of followed processes, of their threads and descendants.

    Source: the second figure of /proc/PID/task/TID/schedstat, the time spent waiting on a run queue in
    nanoseconds (kernel documentation, scheduler/sched-stats), which grows by a whole wait when that
    ends.  Stopped and sleeping processes wait for nothing.  Where the kernel does not count it, nothing
    is ever told.
    """

    def __init__(self) -> None:
        self._followed: dict[int, str] = {}
        self._threads: dict[int, _Thread] = {}
        self._looks = 0

    def follow(self, identity: str, pid: int) -> None:
        """Look at this process from now on."""
        self._followed[pid] = identity

    def forget(self, pid: int) -> None:
        """It has ended."""
        self._followed.pop(pid, None)

    def look(self) -> Iterator[tuple[str, int]]:
        """Each process that waited since the look before, and how long its longest-waiting thread did (ns).

        A machine's threads are the one processor of its kernel by turns, so their waits add up.
        To be called every few milliseconds: the oftener, the less do several short waits pass for a long one.
        """
        waits: dict[str, int] = {}
        if self._looks % _LOOKS_A_SEARCH == 0:
            self._search()
        self._looks += 1
        for number, thread in list(self._threads.items()):
            waited = thread.look()
            if waited is None:
                del self._threads[number]
                thread.close()
            elif waited:
                before = waits.get(thread.identity, 0)
                both = before + waited if is_machine(thread.identity) else max(before, waited)
                waits[thread.identity] = both
        yield from waits.items()

    def _search(self) -> None:
        found = {number: identity for pid, identity in self._followed.items() for number in _threads(pid)}
        for number in self._threads.keys() - found.keys():
            self._threads.pop(number).close()
        for number, identity in found.items():
            if number not in self._threads:
                try:
                    self._threads[number] = _Thread(identity, number)
                except OSError:
                    continue


class _Thread:
    def __init__(self, identity: str, number: int) -> None:
        self.identity = identity
        self._fd = os.open(f"/proc/{number}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self._waited = -1

    def look(self) -> int | None:
        """What it has waited since the look before (ns); None if it has ended."""
        try:
            waited = int(os.pread(self._fd, 128, 0).split()[1])
        except (OSError, IndexError):
            return None
        before, self._waited = self._waited, waited
        return waited - before if before >= 0 else 0

    def close(self) -> None:
        os.close(self._fd)


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
