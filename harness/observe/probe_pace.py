"""The probe's pace, which nothing slows, and its account of what became of each attempt.

Traffic is open loop: what is due is begun when it is due, and nothing that happened to earlier
attempts puts off later ones, so an outage is seen as all the attempts that it cost (no coordinated
omission).  Only what is late by more than its time-out, because the probe itself stood still, is not
made up for but told as such.
"""

from __future__ import annotations

from time import monotonic_ns

from harness.lean_json import dumps
from harness.observe.lateness import LAG_TOLD_NS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.loop import Loop
    from harness.observe.probe_channel import Target

NOT_HTTP = "not an HTTP answer"
_OK = b'{"t":%%d,"kind":"probe",%s,"seq":%%d,"start":%%d,"end":%%d,"result":"ok","member":%s}\n'


class Reporter:
    """Writes `probe` events, and `lag` events about the probe's own timers."""

    def __init__(self, loop: Loop, client: str) -> None:
        self._loop, self._client = loop, client
        self._ok: dict[tuple[bytes, str | None], bytes] = {}
        self._lag_told = 0
        self._last: dict[bytes, str] = {}

    def head(self, stream: str, target: Target) -> bytes:
        """The part of an event that is the same for all attempts of a stream."""
        return f'"client":{dumps(self._client)},"stream":"{stream}","target":"{target.label}"'.encode()

    def tell(
        self,
        head: bytes,
        seq: int,
        due: int,
        start: int,
        result: str,
        member: str | None,
        detail: str = "",
        extra: str = "",
    ) -> None:
        """Record how an attempt ended, just now; `extra` are more fields, in JSON, each after a comma."""
        loop = self._loop
        if detail:
            extra += f',"detail":{dumps(detail)}'
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
        """Tell how late a timer fired, once for all timers that were due meanwhile."""
        if now - due >= LAG_TOLD_NS and due > self._lag_told:
            self._loop.writer.emit(now, "lag", source=f"probe:{self._client}", lag_ns=now - due)
            self._lag_told = now


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
