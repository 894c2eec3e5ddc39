"""The probe's two kinds of traffic, both open loop: what is due is begun when it is due.

`NewStream` makes a connection for every attempt.  `LongStream` keeps one connection, on which
exchanges are due at a slower pace and may be under way together (pipelined), so that a stall of the
connection delays none of them.  Either way nothing that happened to earlier attempts puts off later
ones: an outage is seen as all the attempts that it cost (no coordinated omission).  Only what is late
by more than its time-out, because the probe itself stood still, is not made up for but told as such.
"""

from __future__ import annotations

from time import monotonic_ns

from harness.lean_json import dumps
from harness.observe.probe_channel import Channel
from harness.observe.probe_http import read_reply, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from harness.loop import Loop
    from harness.observe.probe_channel import Target
else:
    from _collections import deque  # what `collections` wraps, without the rest of its import

_NOT_HTTP = "not an HTTP answer"
_STALE = "not made: the probe itself was later than the time-out"
_OK = b'{"t":%%d,"kind":"probe",%s,"seq":%%d,"start":%%d,"end":%%d,"result":"ok","member":%s}\n'


class Reporter:
    """Writes `probe` events, and keeps the lateness of the probe's own timers for `lag` events."""

    def __init__(self, loop: Loop, client: str) -> None:
        self._loop, self._client = loop, client
        self._ok: dict[tuple[bytes, str | None], bytes] = {}
        self._worst_lag_ns = 0
        self._lag_told = 0
        self._last: dict[bytes, str] = {}

    def head(self, stream: str, target: Target) -> bytes:
        """The part of an event that is the same for all attempts of a stream."""
        return f'"client":{dumps(self._client)},"stream":"{stream}","target":"{target.label}"'.encode()

    def tell(
        self, head: bytes, seq: int, due: int, start: int, result: str, member: str | None, extra: str = ""
    ) -> None:
        """Record how an attempt ended, just now."""
        loop = self._loop
        if result == "ok" and not extra:
            line = self._ok.get((head, member))
            if line is None:
                who = dumps(member).encode()
                line = self._ok[head, member] = _OK % (head.replace(b"%", b"%%"), who.replace(b"%", b"%%"))
            loop.writer.raw(line % (due, seq, start, loop.now))
        else:
            rest = f',"seq":{seq},"start":{start},"end":{loop.now}'
            rest += f',"result":"{result}","member":{dumps(member)}{extra}'
            loop.writer.raw(b'{"t":%d,"kind":"probe",%s%s}\n' % (due, head, rest.encode()))
        # A change is news, for which the engine may be waiting.
        if self._last.get(head) != result:
            self._last[head] = result
            loop.flush_soon()

    def woke(self, due: int, now: int) -> None:
        """Note how late a timer fired; tells the worst of each second."""
        self._worst_lag_ns = max(self._worst_lag_ns, now - due)
        if now - self._lag_told >= 1_000_000_000:
            if self._lag_told and self._worst_lag_ns > 0:
                self._loop.writer.emit(now, "lag", source=f"probe:{self._client}", lag_ns=self._worst_lag_ns)
            self._lag_told, self._worst_lag_ns = now, 0


class Pace:
    """Calls `launch(due, now)` for every moment that is due, late ones too, until it is ended."""

    def __init__(self, loop: Loop, reporter: Reporter, launch: Callable[[int, int], None]) -> None:
        self._loop, self._reporter, self._launch = loop, reporter, launch
        self._due = self._period_ns = 0
        self._turn = 0

    def begin(self, first_ns: int, period_ns: int) -> None:
        """Be due at `first_ns` and every period from then on, instead of what was before."""
        self._due, self._period_ns = first_ns, period_ns
        self._turn += 1
        turn = self._turn
        self._loop.at(first_ns, lambda: self._tick(turn))

    def end(self) -> None:
        """Launch no more."""
        self._turn += 1

    def _tick(self, turn: int) -> None:
        if turn != self._turn:
            return
        now = monotonic_ns()
        self._reporter.woke(self._due, now)
        while self._due <= now:
            self._launch(self._due, now)
            self._due += self._period_ns
        self._loop.at(self._due, lambda: self._tick(turn))


class Attempt(Channel):
    """One request on a connection of its own."""

    __slots__ = ("_received", "_stream", "deadline", "done", "due", "seq", "start")

    def __init__(self, stream: NewStream, seq: int, due: int, start: int) -> None:
        Channel.__init__(self, stream.loop, stream.target)
        self._stream, self.seq, self.due, self.start = stream, seq, due, start
        self.deadline = start + stream.timeout_ns
        self.done = False
        self._received = b""
        self._queue = stream.request

    def received(self, data: bytes) -> None:
        self._received += data
        self._judge(ended=False)

    def ended(self) -> None:
        if self.up and self._received:
            self._judge(ended=True)
        if not self.done:
            Channel.ended(self)

    def _judge(self, *, ended: bool) -> None:
        try:
            found = read_reply(self._received, ended=ended)
        except ValueError:
            self.fail("http", _NOT_HTTP)
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
        extra = f',"detail":{dumps(detail)}' if detail else ""
        stream = self._stream
        stream.reporter.tell(stream.head, self.seq, self.due, self.start, result, member, extra)
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
        self.request = request(target.server_name, target.port, target.path, client, keep_alive=False)
        self.under_way = 0
        self._on_idle = on_idle
        self._waiting: deque[Attempt] = deque()
        self._watching = False
        self._seq = 0
        self.pace = Pace(loop, reporter, self._launch)

    def _launch(self, due: int, now: int) -> None:
        self._seq += 1
        if now - due > self.timeout_ns:
            extra = f',"detail":{dumps(_STALE)}'
            self.reporter.tell(self.head, self._seq, due, now, "error", None, extra)
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
        self._request = request(target.server_name, target.port, target.path, client, keep_alive=True)
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
            extra += f',"detail":{dumps(_STALE)}'
            self._reporter.tell(self._head, self._seq, due, now, "error", None, extra)
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
                self.fail("http", _NOT_HTTP)
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
        extra = exchange.extra + (f',"detail":{dumps(detail)}' if detail else "")
        self._reporter.tell(self._head, exchange.seq, exchange.due, exchange.start, result, member, extra)
        self.under_way -= 1
        if not self.under_way:
            self._on_idle()
