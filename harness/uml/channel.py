"""The line to the agent in a machine: requests go in, answers and events come out, each stamped here.

A frame is a length, the number of a request (0 for an event) and fields with their lengths; numbers are
32 bits, little-endian.  One thread reads; it stamps what comes with the host's clock before it does
anything else, so whatever happens inside has a time on the one clock that the testbed knows.
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late

from harness.errors import TestbedError, WaitExpired

_NUMBER = struct.Struct("<I")
_READ_BYTES = 1 << 16
# A machine's terminal holds 4096 bytes; once full, Debian's 6.12 never takes in any more.  The agent tells
# what it has taken whenever that is 1024 bytes or more.
_WINDOW_BYTES = 3500
# The agent does one thing after the other; a busy host makes it late.
PATIENCE_S = 20.0

Field = bytes | str | int
Listener = Callable[[int, str, list[bytes]], None]
"""Called by the reading thread with when it came (ns), what it is, and its fields."""

_TAKEN = "taken"
GONE = "gone"
"""What a listener hears last if the machine ends before it has answered."""


def frame(number: int, fields: tuple[Field, ...]) -> bytes:
    """A frame as it goes over the line."""
    parts = [_NUMBER.pack(number)]
    for field in fields:
        raw = field if isinstance(field, bytes) else os.fsencode(str(field))
        parts += [_NUMBER.pack(len(raw)), raw]
    body = b"".join(parts)
    return _NUMBER.pack(len(body)) + body


def frames(received: bytearray) -> list[tuple[int, list[bytes]]]:
    """The frames that are whole by now, taken out of what was received."""
    found = []
    while len(received) >= _NUMBER.size:
        end = _NUMBER.size + _NUMBER.unpack_from(received)[0]
        if len(received) < end:
            break
        fields, at = [], 2 * _NUMBER.size
        while at < end:
            length = _NUMBER.unpack_from(received, at)[0]
            at += _NUMBER.size
            fields.append(bytes(received[at : at + length]))
            at += length
        found.append((_NUMBER.unpack_from(received, _NUMBER.size)[0], fields))
        del received[:end]
    return found


class Channel:
    """The engine's end of one machine's line; `on_event` hears what nobody asked for."""

    def __init__(self, node: str, line: socket.socket, on_event: Listener) -> None:
        self._node, self._line = node, line
        self._numbers = itertools.count(1)
        self._listeners: dict[int, Listener] = {0: on_event}
        self._sending = threading.Lock()
        self._room = threading.Condition()
        self._on_the_way = 0
        self._closed = False
        self._thread = threading.Thread(target=self._read, name=f"line-{node}", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the machine is gone."""
        return self._closed

    def await_end(self) -> None:
        """Wait until all that the machine had said is heard; it must have ended."""
        self._thread.join()

    def close(self) -> None:
        """Wait likewise, and close the line."""
        self.await_end()
        self._line.close()

    def ask(self, verb: str, *fields: Field, timeout_s: float = PATIENCE_S) -> list[bytes]:
        """The answer to a request that has one; OSError where the machine's kernel refused it."""
        answer: Future[list[bytes]] = Future()

        def hear(_: int, kind: str, got: list[bytes]) -> None:
            if kind == GONE:
                answer.set_exception(self._gone())
            elif kind == "error":
                answer.set_exception(refused(got))
            else:
                answer.set_result(got)

        number = self.begin(hear, verb, *fields)
        try:
            return answer.result(timeout_s)
        except Late:
            raise WaitExpired(f"the agent of {self._node} to {verb}", timeout_s, "no answer") from None
        finally:
            self.forget(number)

    def begin(self, listener: Listener, verb: str, *fields: Field) -> int:
        """Send a request whose answers go to `listener` until `forget`; its number."""
        number = next(self._numbers)
        self._listeners[number] = listener
        self._send(number, verb, *fields)
        return number

    def forget(self, number: int) -> None:
        """Listen to the answers to a request no longer."""
        self._listeners.pop(number, None)

    def tell(self, verb: str, *fields: Field) -> None:
        """Send a request whose answer nobody waits for."""
        self._send(next(self._numbers), verb, *fields)

    def _send(self, number: int, verb: str, *fields: Field) -> None:
        try:
            with self._sending:
                self._push(memoryview(frame(number, (verb, *fields))))
        except OSError:
            self.forget(number)
            raise self._gone() from None

    def _push(self, data: memoryview) -> None:
        """Send as much at a time as the machine has room for."""
        while data:
            with self._room:
                room = self._room.wait_for(
                    lambda: self._closed or self._on_the_way < _WINDOW_BYTES, PATIENCE_S
                )
                if not room:  # half a request is worse than none
                    self._line.shutdown(socket.SHUT_RDWR)
                if self._closed or not room:
                    raise BrokenPipeError
                size = min(len(data), _WINDOW_BYTES - self._on_the_way)
                self._on_the_way += size
            self._line.sendall(data[:size])
            data = data[size:]

    def _gone(self) -> TestbedError:
        return TestbedError(f"node {self._node} is dead: its machine has ended")

    def _read(self) -> None:
        try:
            self._hear_all()
        finally:  # whatever happened: nobody waits for an answer that cannot come
            with self._room:
                self._closed = True
                self._room.notify_all()
            for listener in list(self._listeners.values()):
                listener(time.monotonic_ns(), GONE, [])

    def _hear_all(self) -> None:
        received = bytearray()
        while True:
            try:
                data = self._line.recv(_READ_BYTES)
            except OSError:
                return
            now = time.monotonic_ns()
            if not data:
                return
            received += data
            for number, fields in frames(received):
                kind = fields[0].decode()
                if kind == _TAKEN:
                    self._make_room(int(fields[1]))
                elif (listener := self._listeners.get(number)) is not None:
                    listener(now, kind, fields[1:])

    def _make_room(self, size: int) -> None:
        with self._room:
            self._on_the_way -= size
            self._room.notify_all()


def refused(fields: list[bytes]) -> OSError:
    """The error that an agent answers with, as Python would have raised it: number and what it is about."""
    number, about = int(fields[0]), fields[1].decode(errors="replace")
    return OSError(number, os.strerror(number), about)
