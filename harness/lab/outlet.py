"""Carries what is written into a pipe to a stream that may be slow, so that the writer never waits for it."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable

# A stream that poll(2) says may be written to takes so much without blocking (pipe(7), PIPE_BUF).
_PIECE = 4096
_READ_BYTES = 1 << 16


class Outlet(threading.Thread):
    """Owns a duplicate of `stream`; write into `inlet`, and close it; `done` is called when all has arrived.

    What the stream does not take yet waits in memory; where it takes nothing any more, it is dropped.
    """

    def __init__(self, stream: int, done: Callable[[], None]) -> None:
        super().__init__(daemon=True, name="outlet")
        self._target = os.dup(stream)
        self._source, self.inlet = os.pipe()
        self._waiting: deque[bytes] = deque()
        self._done = done
        self.start()

    def run(self) -> None:
        """Until the inlet is closed and nothing waits."""
        open_, broken = True, False
        while open_ or (self._waiting and not broken):
            poll = select.poll()
            if open_:
                poll.register(self._source, select.POLLIN)
            if self._waiting and not broken:
                poll.register(self._target, select.POLLOUT)
            for fd, _ in poll.poll():
                if fd == self._source:
                    open_ = self._take()
                else:
                    broken = not self._give()
            if broken:
                self._waiting.clear()
        os.close(self._source)
        os.close(self._target)
        self._done()

    def _take(self) -> bool:
        data = os.read(self._source, _READ_BYTES)
        self._waiting.extend(data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        return bool(data)

    def _give(self) -> bool:
        piece = self._waiting[0]
        try:
            written = os.write(self._target, piece)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._waiting.popleft()
        if written < len(piece):
            self._waiting.appendleft(piece[written:])
        return True
