"""How an agent (probe, observer, fake server) talks to the engine: JSON Lines over pipes.

Events go out on one descriptor, commands come in on another.  Writing never blocks: what the
engine has not read yet waits in memory, so that a busy engine cannot slow a witness down.
Standard library only, because agents start in every testbed.
"""

from __future__ import annotations

import os

from harness.lean_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_READ_BYTES = 65536


class EventWriter:
    """Writes events to a descriptor without ever blocking."""

    def __init__(self, fd: int = 1) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._pending = bytearray()

    def emit(self, t_ns: int, kind: str, **fields: Any) -> None:
        """Queue one event; `flush` sends it."""
        self._pending += dumps({"t": t_ns, "kind": kind, **fields}).encode() + b"\n"

    def raw(self, line: bytes) -> None:
        """Queue a line that is already encoded (the hot path of a probe); it must end in a newline."""
        self._pending += line

    @property
    def pending(self) -> int:
        """Bytes queued and not yet taken by the pipe."""
        return len(self._pending)

    def flush(self) -> bool:
        """Send what the pipe takes; True when nothing is left waiting."""
        while self._pending:
            try:
                sent = os.write(self.fd, self._pending)
            except BlockingIOError:
                return False
            del self._pending[:sent]
        return True

    def drain(self) -> None:
        """Send everything, waiting for the reader; for the end of an agent's life."""
        os.set_blocking(self.fd, True)
        try:
            self.flush()
        except BrokenPipeError:
            self._pending.clear()


class CommandReader:
    """Reads JSON Lines from a descriptor as they come; `closed` once the other end is gone."""

    def __init__(self, fd: int = 0) -> None:
        self.fd = fd
        os.set_blocking(fd, False)
        self._partial = b""
        self.closed = False

    def read(self) -> list[dict[str, Any]]:
        """The commands that have arrived whole since the last call."""
        while not self.closed:
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                self.closed = True
            self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        return [loads(line.decode()) for line in lines if line]
