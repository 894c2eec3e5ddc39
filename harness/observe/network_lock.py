"""How long whoever changes an address or a link had to wait for the kernel's lock on all of them.

Every network namespace of a machine shares the RTNL mutex (Linux, net/core/rtnetlink.c).  While other
testbeds are taken down their namespaces hold it for tens of milliseconds, and a balancer that takes a
VIP over sleeps until it has it: no processor is missing then, so no run queue shows it.
"""

from __future__ import annotations

import _thread
import time

from harness.fabric import rtnl
from harness.fabric.netlink import RouteSocket
from harness.observe.lateness import LAG_TOLD_NS, LOOK_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_LOOPBACK = 1


class NetworkLock:
    """Asks for the lock every `LOOK_NS`, in a thread of its own, as who asks sleeps until the lock is free.

    The lock may have been taken just after it was asked for the time before: what is told goes back to then.
    """

    def __init__(self) -> None:
        self._waits: list[tuple[int, int]] = []
        self._closed = False
        self._socket = RouteSocket()
        _thread.start_new_thread(self._ask, ())

    def waits(self) -> Iterator[tuple[int, int]]:
        """Each wait that has ended since the look before: its end, and how long it may have been (ns)."""
        while self._waits:
            yield self._waits.pop(0)

    def close(self) -> None:
        """Ask no more."""
        self._closed = True

    def _ask(self) -> None:
        nothing = [rtnl.set_link(_LOOPBACK, "change nothing")]
        free = time.monotonic_ns()
        while not self._closed:
            time.sleep(LOOK_NS / 1e9)
            asked = time.monotonic_ns()
            self._socket.send(nothing)
            got = time.monotonic_ns()
            if got - asked >= LAG_TOLD_NS:
                self._waits.append((got, got - free))
            free = got
        self._socket.close()
