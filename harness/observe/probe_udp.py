"""Questions by UDP at a fixed rate: each from a source port of its own, or all from one, which is a flow.

A balancer that forwards datagrams knows a flow by its addresses and ports, and passes what comes from the
same port to the same member for as long as it goes on, and some time longer (udp in `ipvsadm --list
--timeout`, 300 s).
"""

from __future__ import annotations

import _socket
from select import EPOLLIN

from harness import dns
from harness.observe.lateness import STALE
from harness.observe.probe_channel import result_of
from harness.observe.probe_pace import Pace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.loop import Loop
    from harness.observe.probe_channel import Target
    from harness.observe.probe_pace import Reporter

_NUMBERS = 1 << 16


class Question:
    """One question, which waits for its answer on a socket."""

    __slots__ = ("done", "due", "seq", "start")

    def __init__(self, seq: int, due: int, start: int) -> None:
        self.seq, self.due, self.start = seq, due, start
        self.done = False


class Flow:
    """A socket, and so a source port, with the questions from it that wait for an answer, by their numbers.

    Whoever refuses a datagram (ICMP) does not say which, so the oldest that waits counts as refused.
    """

    __slots__ = ("_socket", "_stream", "waiting")

    def __init__(self, stream: DatagramStream) -> None:
        target = stream.target
        self._stream = stream
        self.waiting: dict[int, Question] = {}
        kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK
        self._socket = _socket.socket(target.family, kind)
        target.ports.bind(self._socket, target.source)
        self._socket.connect((target.address, target.port))
        stream.loop.add(self._socket.fileno(), EPOLLIN, self._event)

    def ask(self, question: Question) -> None:
        """Send a question."""
        number = question.seq % _NUMBERS
        try:
            try:
                self._socket.send(dns.question(number))
            except ConnectionRefusedError as error:
                # The fate of an earlier one, which is told first; nothing was sent (udp(7)).
                self._refused(error)
                self._socket.send(dns.question(number))
        except OSError as error:
            self._stream.finish(question, *result_of(error))
        else:
            self.waiting[number] = question

    def close(self) -> None:
        """Close it; what waits is told by its time-out."""
        self._stream.loop.forget(self._socket.fileno())
        self._socket.close()

    def _refused(self, error: OSError) -> None:
        for number, question in self.waiting.items():
            del self.waiting[number]
            self._stream.finish(question, *result_of(error))
            return

    def _event(self, _mask: int) -> None:
        while self._socket.fileno() >= 0:
            try:
                message = self._socket.recv(dns.MOST_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._refused(error)
                continue
            try:
                number, member = dns.who(message)
            except ValueError:
                continue
            question = self.waiting.pop(number, None)
            if question is not None:
                result, detail = ("ok", "") if member else ("error", "an answer without a name")
                self._stream.finish(question, result, detail, member)


class DatagramStream:
    """Questions at a fixed rate, `timeout_ns` each; as a `flow` all on one socket, else each on its own."""

    def __init__(
        self,
        loop: Loop,
        reporter: Reporter,
        target: Target,
        timeout_ns: int,
        on_idle: Callable[[], None],
        *,
        flow: bool,
    ) -> None:
        self.loop, self.target = loop, target
        self._reporter, self._timeout_ns, self._on_idle = reporter, timeout_ns, on_idle
        self._head = reporter.head("long" if flow else "new", target)
        self._flow: Flow | None = None
        self._keeps = flow
        self._seq = self.under_way = 0
        self.pace = Pace(loop, reporter, self._launch)

    def _launch(self, due: int, now: int) -> None:
        self._seq += 1
        question = Question(self._seq, due, now)
        self.under_way += 1
        if now - due > self._timeout_ns:
            self.finish(question, "error", STALE)
            return
        try:
            flow = self._flow or Flow(self)
        except OSError as error:
            self.finish(question, *result_of(error))
            return
        if self._keeps:
            self._flow = flow
        flow.ask(question)
        if not question.done:
            self.loop.at(now + self._timeout_ns, lambda: self._time_is_up(flow, question))
        elif not self._keeps:
            flow.close()

    def _time_is_up(self, flow: Flow, question: Question) -> None:
        """Its time is over, answered or not: a socket of its own is needed no longer."""
        if not question.done:
            flow.waiting.pop(question.seq % _NUMBERS, None)
            self.finish(question, "timeout", "")
        if not self._keeps:
            flow.close()

    def finish(self, question: Question, result: str, detail: str = "", member: str | None = None) -> None:
        """Tell how a question ended."""
        question.done = True
        self._reporter.tell(self._head, question.seq, question.due, question.start, result, member, detail)
        self.under_way -= 1
        if not self.under_way:
            self._on_idle()
