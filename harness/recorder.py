"""The recorder: gathers what every witness tells into one timeline, in memory and on disk.

It has no thread: events are taken in whenever the engine waits for something, and agents keep what
has not been taken.  Every line is appended to `timeline.jsonl` as it comes, so a run that is killed
leaves what was known; `close` puts the file in order of time.
"""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Collection
from heapq import heappop, heappush
from pathlib import Path
from typing import IO, Any, Protocol

from harness.errors import CannotWrite, TestbedError, WaitExpired
from harness.timeline import Event, Timeline, parse_event

WHOLE = "timeline-whole.jsonl"
"""All events as they came, of a run too long to be kept in memory, or with somebody at work after its end."""
_READ_BYTES = 1 << 18


class Teller(Protocol):
    """Who writes events into a pipe, as JSON Lines: an agent, or a machine's news."""

    events: int
    """The pipe's end to read from; -1 once it is closed."""

    @property
    def node(self) -> str:
        """Where it is."""

    @property
    def name(self) -> str:
        """What it is called there."""

    @property
    def log(self) -> Path:
        """Where to look for what went wrong."""

    def command(self, **command: Any) -> None:
        """Tell it to do something."""

    def close(self) -> None:
        """Read no more."""


class Recorder:
    """Owns the timeline of one run while it is being made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.timeline = Timeline()
        self.listeners: list[Callable[[Event], None]] = []
        self.on_exit: Callable[[str, int, int], None] | None = None
        self.on_line: Callable[[str, int, int], None] | None = None
        self.synced = 0
        """The number of the last `sync` that the observer has answered."""
        self.waited: dict[str, float] = {}
        """How long the engine waited for what (s)."""
        self._file: IO[bytes] = path.open("ab", buffering=0)
        self._epoll = select.epoll()
        self._agents: dict[int, Teller] = {}
        self._partial: dict[int, bytes] = {}
        self._ready: set[int] = set()
        self._done: dict[int, int] = {}
        self._asked = 0
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._timers_made = 0
        self._guests: dict[int, Callable[[int], None]] = {}
        self._shortened = False
        self._sealed_ns = 0

    # -- writing -------------------------------------------------------------------------------

    def emit(self, kind: str, t_ns: int | None = None, **fields: object) -> Event:
        """Record an event of the engine's own, by default of this moment."""
        event = Event(time.monotonic_ns() if t_ns is None else t_ns, kind, dict(fields))
        self._write(event.to_json().encode() + b"\n")
        self._add(event)
        return event

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise CannotWrite(self.path, error) from None

    def _add(self, event: Event) -> None:
        self.timeline.add(event)
        for listener in self.listeners:
            listener(event)

    def shorten(self, keep: int, kinds: Collection[str]) -> int:
        """Bound the memory of a long run (`Timeline.shorten`); on disk everything stays, see `close`."""
        self._shortened = True
        return self.timeline.shorten(keep, kinds)

    def seal(self) -> None:
        """What comes from now on is no part of the run any more: `close` leaves it to `WHOLE`."""
        self._sealed_ns = time.monotonic_ns()

    # -- agents --------------------------------------------------------------------------------

    def attach(self, agent: Teller) -> None:
        """Take events from an agent from now on."""
        self._agents[agent.events] = agent
        self._partial[agent.events] = b""
        self._epoll.register(agent.events, select.EPOLLIN)

    def wait_ready(self, agent: Teller, timeout_s: float = 20.0) -> None:
        """Wait until an agent has said that it serves."""
        fd = agent.events
        self.wait(
            lambda: fd in self._ready or fd not in self._agents, timeout_s, f"{agent.node}/{agent.name} ready"
        )
        if fd not in self._ready:
            raise TestbedError(f"{agent.node}/{agent.name} ended at its start: {_tail(agent.log)}")

    def ask(self, agent: Teller, timeout_s: float = 20.0, /, **command: object) -> None:
        """Tell an agent to do something and wait until it has; raises TestbedError if it ends instead."""
        self._asked += 1
        number, fd = self._asked, agent.events
        agent.command(**command, number=number)
        self.wait(
            lambda: self._done.get(fd, 0) >= number or fd not in self._agents,
            timeout_s,
            f"{agent.node}/{agent.name} to carry out {command}",
        )
        if fd not in self._agents:
            raise TestbedError(f"{agent.node}/{agent.name} ended: {_tail(agent.log)}")

    def detach(self, agent: Teller) -> None:
        """Take in what is left of an agent's events and forget it."""
        if agent.events in self._agents:
            self._drain(agent.events)
        if agent.events in self._agents:
            self._forget(agent.events)

    def _forget(self, fd: int) -> None:
        self._epoll.unregister(fd)
        self._ready.discard(fd)
        self._done.pop(fd, None)
        agent = self._agents.pop(fd)
        del self._partial[fd]
        agent.close()

    # -- guests ----------------------------------------------------------------------------------

    def serve(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the event mask whenever a descriptor has one of these events, in any wait.

        Again with another mask or handler replaces what was there.
        """
        if self._epoll.closed:
            return
        if fd in self._guests:
            self._epoll.modify(fd, mask)
        else:
            self._epoll.register(fd, mask)
        self._guests[fd] = handler

    def dismiss(self, fd: int) -> None:
        """Serve a descriptor no longer; to be called before it is closed."""
        if self._guests.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    # -- waiting -------------------------------------------------------------------------------

    def pump(self, timeout_s: float) -> None:
        """Take in what has come, waiting at most so long for something to come or to be due (`at`)."""
        if self._timers:
            timeout_s = min(timeout_s, max(0.0, (self._timers[0][0] - time.monotonic_ns()) / 1e9))
        for fd, mask in self._epoll.poll(timeout_s):
            if fd in self._agents:
                self._drain(fd)
            elif fd in self._guests:
                self._guests[fd](mask)
        while self._timers and self._timers[0][0] <= time.monotonic_ns():
            heappop(self._timers)[2]()

    def at(self, t_ns: int, callback: Callable[[], None]) -> None:
        """Call `callback` once, in the first wait of the engine at or after a moment (CLOCK_MONOTONIC)."""
        self._timers_made += 1
        heappush(self._timers, (t_ns, self._timers_made, callback))

    def wait(
        self,
        until: Callable[[], bool],
        timeout_s: float,
        awaited: str,
        last_seen: Callable[[], str] = lambda: "nothing of it",
    ) -> None:
        """Take in events until `until()` holds. Raises WaitExpired, which tells what was seen last."""
        began = time.monotonic()
        deadline = began + timeout_s
        try:
            self.pump(0)
            while not until():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise WaitExpired(awaited, timeout_s, last_seen())
                self.pump(left)
        finally:
            self._account(awaited, time.monotonic() - began)

    def pass_time(self, until_ns: int, why: str = "time to watch") -> None:
        """Take in events until a moment of the monotonic clock."""
        began = time.monotonic()
        while (left := until_ns - time.monotonic_ns()) > 0:
            self.pump(left / 1e9)
        self._account(why, time.monotonic() - began)

    def _account(self, awaited: str, seconds: float) -> None:
        self.waited[awaited] = self.waited.get(awaited, 0.0) + seconds

    def _drain(self, fd: int) -> None:
        closed = False
        chunks = [self._partial[fd]]
        while True:
            try:
                data = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                closed = True
                break
            chunks.append(data)
            if len(data) < _READ_BYTES:
                break
        *lines, rest = b"".join(chunks).split(b"\n")
        self._partial[fd] = rest
        kept = bytearray()
        events: list[Event] = []
        for line in lines:
            if line.startswith(b'{"_'):
                self._private(fd, line)
                continue
            try:
                events.append(parse_event(line))
            except ValueError as error:
                agent = self._agents[fd]
                raise TestbedError(
                    f"{agent.node}/{agent.name} told nonsense ({error}): {line[:200]!r}"
                ) from None
            kept += line + b"\n"
        if kept:
            self._write(bytes(kept))
        for event in events:
            if event.kind == "service" and event.state == "ready":
                self._ready.add(fd)
            self._add(event)
        if closed:
            self._forget(fd)

    def _private(self, fd: int, line: bytes) -> None:
        """A line between an agent and the engine, which is no event."""
        record = json.loads(line)
        if "_ready" in record:
            self._ready.add(fd)
        elif "_done" in record:
            self._done[fd] = record["_done"]
        elif "_synced" in record:
            self.synced = record["_synced"]
        elif "_exited" in record and self.on_exit:
            self.on_exit(record["_exited"], record["pid"], record["t"])
        elif "_line" in record and self.on_line:
            self.on_line(record["_line"], record["pid"], record["t"])

    def close(self) -> None:
        """Take in what is left and put the file in order of time.

        A shortened or sealed timeline is written as it is, and what the file held until then is `WHOLE`
        beside it.
        """
        for fd in list(self._agents):
            self._drain(fd)
        for fd in list(self._agents):
            self._forget(fd)
        self._epoll.close()
        self._file.close()
        if self._sealed_ns:
            self.timeline.cut(self._sealed_ns)
        if self._shortened or self._sealed_ns:
            os.replace(self.path, self.path.with_name(WHOLE))
        self.timeline.save(self.path)


def _tail(log: Path, size: int = 600) -> str:
    try:
        return log.read_bytes()[-size:].decode(errors="replace").strip() or "it said nothing"
    except OSError:
        return "it left no log"
