"""Carries what is written into a pipe to a stream that may be slow, so that the writer never waits for it."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

_READ_BYTES = 1 << 16
_MOST_BYTES = 64 << 20


class Outlet:
    """Owns a duplicate of `stream`; write into `inlet`, and close it; `done` is called when all has arrived.

    What the stream does not take yet waits in memory, up to a limit beyond which the writer waits after all;
    where it takes nothing any more, it is dropped.  One thread takes and another one gives, as a terminal
    that nobody reads makes who gives wait, whatever poll(2) says of it.
    """

    def __init__(self, stream: int, done: Callable[[], None], most_bytes: int = _MOST_BYTES) -> None:
        self._target = os.dup(stream)
        self._source, self.inlet = os.pipe()
        self._done, self._most_bytes = done, most_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._open = True
        for work in (self._take, self._give):
            threading.Thread(target=work, daemon=True, name="outlet").start()

    def _take(self) -> None:
        """Until the inlet is closed."""
        while data := os.read(self._source, _READ_BYTES):
            with self._changed:
                self._waiting.append(data)
                self._waiting_bytes += len(data)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting_bytes < self._most_bytes)
        os.close(self._source)
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _give(self) -> None:
        """Until the inlet is closed and nothing waits."""
        broken = False
        while data := self._next():
            broken = broken or not self._written(data)
        os.close(self._target)
        self._done()

    def _next(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            if not self._waiting:
                return b""
            data = self._waiting.popleft()
            self._waiting_bytes -= len(data)
            self._changed.notify_all()
            return data

    def _written(self, data: bytes) -> bool:
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._target, left) :]
            except BlockingIOError:  # whose stream it is has made it so
                poll = select.poll()
                poll.register(self._target, select.POLLOUT)
                poll.poll()
            except OSError:
                return False
        return True
