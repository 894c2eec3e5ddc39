"""Exchanges on one long-lived connection, which shows whether connections survive.

They may be under way together (pipelined), so that a stall of the connection delays none of them.
"""

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


class Exchange:
    """A request on a long-lived connection, which waits for its answer."""

    __slots__ = ("done", "due", "extra", "seq", "start")

    def __init__(self, seq: int, due: int, start: int, extra: str) -> None:
        self.seq, self.due, self.start, self.extra = seq, due, start, extra
        self.done = False


class LongStream(Channel):
    """Exchanges on one long-lived connection, made anew when it breaks.

    A break is told as a `note` with the field `broken` (how), and an exchange that had to connect
    anew has `reconnected`.  A connection that has left an exchange unanswered for
    `patience_ns` is given up; with more patience than time-out, exchanges time out one by one while
    TCP goes on trying, which shows whether a connection survives.
    """

    __slots__ = (
        "_client",
        "_extra",
        "_head",
        "_made_before",
        "_on_idle",
        "_patience_ns",
        "_received",
        "_reporter",
        "_request",
        "_seq",
        "_timeout_ns",
        "_waiting",
        "opened",
        "pace",
        "under_way",
    )

    def __init__(
        self,
        loop: Loop,
        reporter: Reporter,
        target: Target,
        client: str,
        timeout_ns: int,
        patience_ns: int,
        number: int | None,
        on_idle: Callable[[], None],
    ) -> None:
        Channel.__init__(self, loop, target)
        self._reporter, self._client, self._on_idle = reporter, client, on_idle
        self._head = reporter.head("long", target)
        self._extra = "" if number is None else f',"connection":{number}'
        self._request = request(
            target.server_name, target.port, target.path, client, keep_alive=True, body_bytes=target.upload
        )
        self._timeout_ns, self._patience_ns = timeout_ns, patience_ns
        self._waiting: deque[Exchange] = deque()
        self._received = b""
        self.opened = self._made_before = False
        self._seq = self.under_way = 0
        self.pace = Pace(loop, reporter, self._exchange)

    def _exchange(self, due: int, now: int) -> None:
        self._seq += 1
        extra = self._extra
        if now - due > self._timeout_ns:
            self._reporter.tell(self._head, self._seq, due, now, "error", None, STALE, extra)
            return
        self.under_way += 1
        if not self.opened:
            extra += ',"reconnected":true' if self._made_before else ""
        exchange = Exchange(self._seq, due, now, extra)
        self._waiting.append(exchange)
        if not self.opened:
            self.opened = self._made_before = True
            self._received = b""
            self.open()
        if self.opened:
            self.send(self._request)
        if not exchange.done:
            self.loop.at(now + self._timeout_ns, lambda: self._time_is_up(exchange))

    def received(self, data: bytes) -> None:
        self._received += data
        while self.opened and self._received:
            try:
                found = read_reply(self._received)
            except ValueError:
                self.fail("http", NOT_HTTP)
                return
            if found is None:
                return
            reply, size = found
            self._received = self._received[size:]
            if not self._waiting:
                self.fail("http", "an answer that nobody asked for")
                return
            exchange = self._waiting.popleft()
            if not exchange.done:
                detail = "" if reply.status == 200 else f"status {reply.status}"
                self._finish(exchange, "http" if detail else "ok", reply.member, detail)
            if not reply.stays_open:
                self.fail("closed", "by the server, in order")

    def failed(self, result: str, detail: str, *, was_up: bool) -> None:
        self.opened = False
        waiting, self._waiting = self._waiting, deque()
        if was_up:
            loop, target = self.loop, self.target.label
            text = f"{self._client}: the long-lived connection to {target} broke: {result} {detail}".rstrip()
            loop.writer.emit(loop.now, "note", text=text, client=self._client, target=target, broken=result)
        for exchange in waiting:
            if not exchange.done:
                self._finish(exchange, result, None, detail)

    def _time_is_up(self, exchange: Exchange) -> None:
        if not exchange.done:
            self._finish(exchange, "timeout", None, self.how_far())
            if self._waiting and self.loop.now - self._waiting[0].start >= self._patience_ns:
                self.fail("timeout", "the connection was given up")
            elif self._patience_ns > self._timeout_ns:
                self.loop.at(exchange.start + self._patience_ns, lambda: self._patience_is_over(exchange))

    def _patience_is_over(self, exchange: Exchange) -> None:
        if self._waiting and self._waiting[0] is exchange:
            self.fail("timeout", "the connection was given up")

    def _finish(self, exchange: Exchange, result: str, member: str | None, detail: str) -> None:
        exchange.done = True
        self._reporter.tell(
            self._head, exchange.seq, exchange.due, exchange.start, result, member, detail, exchange.extra
        )
        self.under_way -= 1
        if not self.under_way:
            self._on_idle()
