"""Attempts at a fixed rate, each one request on a connection of its own."""

from __future__ import annotations

from harness.observe.lateness import STALE
from harness.observe.probe_channel import Channel
from harness.observe.probe_http import read_reply, request
from harness.observe.probe_pace import NOT_HTTP, Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from harness.loop import Loop
    from harness.observe.probe_channel import Target
    from harness.observe.probe_pace import Reporter
else:
    from _collections import deque  # what `collections` wraps, without the rest of its import


class Attempt(Channel):
    """One request on a connection of its own.

    Where its source port is to be free again at once, it lets the server close first: TIME-WAIT is theirs
    who do (RFC 9293 section 3.6).
    """

    __slots__ = ("_received", "_stream", "_yields", "deadline", "done", "due", "seq", "start")

    def __init__(self, stream: NewStream, seq: int, due: int, start: int) -> None:
        Channel.__init__(self, stream.loop, stream.target, stream.target.again)
        self._yields = stream.target.again is not None
        self._stream, self.seq, self.due, self.start = stream, seq, due, start
        self.deadline = start + stream.timeout_ns
        self.done = False
        self._received = b""
        self._queue = stream.request

    def received(self, data: bytes) -> None:
        self._received += data
        if not self._yields:
            self._judge(ended=False)

    def ended(self) -> None:
        if self._yields and not self.server_has_closed:
            return
        if self.up and self._received:
            self._judge(ended=True)
        if not self.done:
            Channel.ended(self)

    def _judge(self, *, ended: bool) -> None:
        try:
            found = read_reply(self._received, ended=ended)
        except ValueError:
            self.fail("http", NOT_HTTP)
            return
        if found is not None:
            reply, _ = found
            self.close()
            if reply.status == 200:
                self._finish("ok", reply.member, "")
            else:
                self._finish("http", reply.member, f"status {reply.status}")

    def failed(self, result: str, detail: str, *, was_up: bool) -> None:
        self._finish(result, None, detail)

    def timed_out(self) -> None:
        """Its time is up."""
        self.fail("timeout", self.how_far())

    def _finish(self, result: str, member: str | None, detail: str) -> None:
        self.done = True
        stream = self._stream
        stream.reporter.tell(stream.head, self.seq, self.due, self.start, result, member, detail)
        stream.finished()


class NewStream:
    """Attempts at a fixed rate, each on a new connection, each with `timeout_ns` from its begin."""

    def __init__(
        self,
        loop: Loop,
        reporter: Reporter,
        target: Target,
        client: str,
        timeout_ns: int,
        on_idle: Callable[[], None],
    ) -> None:
        self.loop, self.reporter, self.target, self.timeout_ns = loop, reporter, target, timeout_ns
        self.head = reporter.head("new", target)
        self.request = request(
            target.server_name, target.port, target.path, client, keep_alive=False, body_bytes=target.upload
        )
        self.under_way = 0
        self._on_idle = on_idle
        self._waiting: deque[Attempt] = deque()
        self._watching = False
        self._seq = 0
        self.pace = Pace(loop, reporter, self._launch)

    def _launch(self, due: int, now: int) -> None:
        self._seq += 1
        if now - due > self.timeout_ns:
            self.reporter.tell(self.head, self._seq, due, now, "error", None, STALE)
            return
        self.under_way += 1
        attempt = Attempt(self, self._seq, due, now)
        attempt.open()
        if attempt.done:
            return
        self._waiting.append(attempt)
        if not self._watching:
            self._watching = True
            self.loop.at(attempt.deadline, self._expire)

    def _expire(self) -> None:
        waiting, now = self._waiting, self.loop.now
        while waiting and (waiting[0].done or waiting[0].deadline <= now):
            attempt = waiting.popleft()
            if not attempt.done:
                attempt.timed_out()
        self._watching = bool(waiting)
        if waiting:
            self.loop.at(waiting[0].deadline, self._expire)

    def finished(self) -> None:
        """One attempt less is under way."""
        self.under_way -= 1
        if not self.under_way:
            self._on_idle()
