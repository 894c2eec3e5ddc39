"""The heart of every agent: one epoll instance and a heap of timers on CLOCK_MONOTONIC.

Timers are kept to the microsecond, although Python's `epoll.poll` counts whole milliseconds: while
a timer is pending, the wait is a `select` on the epoll descriptor.  An idle agent sleeps in the
kernel; nothing spins, so that a kernel in virtual time can jump to the next timer.
"""

from __future__ import annotations

import gc
import os
from heapq import heappop, heappush
from select import EPOLLIN, EPOLLONESHOT, EPOLLOUT, epoll, select
from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from harness.eventpipe import CommandReader, EventWriter

_EVENTS_AT_ONCE = 256
_FLUSH_BYTES = 32768


class Loop:
    """Runs handlers for descriptors, timers and the engine's commands until stopped.

    `now` is when the present round woke up (ns): the time at which what it reports was known.
    Events are handed to the engine after every round, or, with `batch_ns`, at most that much later.
    When the engine closes the command pipe, the process exits at once.
    """

    def __init__(
        self,
        writer: EventWriter,
        commands: CommandReader,
        on_command: Callable[[dict[str, Any]], None],
        batch_ns: int = 0,
    ) -> None:
        self.writer = writer
        self.now = monotonic_ns()
        self.ready = 0
        self._commands = commands
        self._on_command = on_command
        self._batch_ns = batch_ns
        self._flush_due = False
        self._pipe_full = False
        self._epoll = epoll()
        self._epoll_fd = [self._epoll.fileno()]
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._timers_made = 0
        self._running = True
        self.add(commands.fd, EPOLLIN, self._read_commands)

    def add(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the event mask when the descriptor has one of these events."""
        self._handlers[fd] = handler
        self._epoll.register(fd, mask)

    def change(self, fd: int, mask: int) -> None:
        """Wait for other events on a descriptor."""
        self._epoll.modify(fd, mask)

    def forget(self, fd: int) -> None:
        """Stop handling a descriptor that is closed next (closing takes it out of epoll)."""
        self._handlers.pop(fd, None)

    def at(self, t_ns: int, callback: Callable[[], None]) -> None:
        """Call `callback` once when CLOCK_MONOTONIC reaches `t_ns`."""
        self._timers_made += 1
        heappush(self._timers, (t_ns, self._timers_made, callback))

    def flush_soon(self) -> None:
        """Hand the queued events over after this round, whatever `batch_ns` says."""
        self._flush_due = True

    def stop(self) -> None:
        """Let `run` return after this round."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`; then hand over what is queued, waiting for the engine to take it."""
        handlers, timers, writer = self._handlers, self._timers, self.writer
        batch_ns, timed = self._batch_ns, False
        gc.freeze()
        try:
            while self._running:
                events = self._wait(timers[0][0] if timers else None)
                self.now = now = monotonic_ns()
                self.ready = len(events)
                for fd, mask in events:
                    handler = handlers.get(fd)
                    if handler is not None:
                        handler(mask)
                while timers and timers[0][0] <= now:
                    heappop(timers)[2]()
                waiting = writer.pending
                if not waiting:
                    timed = False
                elif not batch_ns or self._flush_due or waiting > _FLUSH_BYTES:
                    self._flush()
                    timed = False
                elif not timed:
                    self.at(now + batch_ns, self.flush_soon)
                    timed = True
            writer.drain()
        except BrokenPipeError:
            os._exit(0)

    def _wait(self, due: int | None) -> list[tuple[int, int]]:
        if due is None:
            return self._epoll.poll(None, _EVENTS_AT_ONCE)
        remaining_ns = due - monotonic_ns()
        if remaining_ns > 0 and not select(self._epoll_fd, (), (), remaining_ns / 1e9)[0]:
            return []
        return self._epoll.poll(0, _EVENTS_AT_ONCE)

    def _flush(self) -> None:
        self._flush_due = False
        if self.writer.flush() or self._pipe_full:
            return
        self._pipe_full = True
        if self.writer.fd in self._handlers:
            self.change(self.writer.fd, EPOLLOUT | EPOLLONESHOT)
        else:
            self.add(self.writer.fd, EPOLLOUT | EPOLLONESHOT, self._pipe_has_room)

    def _pipe_has_room(self, _mask: int) -> None:
        self._pipe_full = False
        self._flush()

    def _read_commands(self, _mask: int) -> None:
        for command in self._commands.read():
            self._on_command(command)
        if self._commands.closed:
            self._exit_now()

    def _exit_now(self) -> None:
        """The engine is gone: nobody is left to read, so there is nothing to finish."""
        try:
            self.writer.flush()
        finally:
            os._exit(0)
