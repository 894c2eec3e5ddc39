"""The protocol between a lab and its commands: one JSON object a line, over a Unix socket.

A request is `{"do": NAME, ...}`; descriptors that it brings along (SCM_RIGHTS, unix(7)) come with its
bytes.  Answers are `{"ok": ...}` or `{"error": TEXT, "exit_code": N}`; what else comes, comes unasked:
`{"event": ...}` to who subscribed, `{"exited": STATUS}` at the end of a command.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from pathlib import Path
from typing import Any

from harness.errors import VipdrillError

Message = dict[str, Any]
LONGEST_LINE = 1 << 20
MOST_DESCRIPTORS = 3
_READ_BYTES = 1 << 16


class BadMessage(Exception):
    """The other side does not speak this protocol."""


class LabError(VipdrillError):
    """What a lab answered instead of doing what it was asked."""

    def __init__(self, text: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(text)


class Lines:
    """Takes bytes as they come and gives whole messages; raises BadMessage for what is none."""

    def __init__(self) -> None:
        self._partial = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete."""
        self._partial += data
        *lines, rest = bytes(self._partial).split(b"\n")
        self._partial[:] = rest
        if len(rest) > LONGEST_LINE or any(len(line) > LONGEST_LINE for line in lines):
            raise BadMessage(f"a line of more than {LONGEST_LINE} bytes")
        return [_message(line) for line in lines if line]


def _message(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError:
        raise BadMessage(f"not JSON: {line[:80]!r}") from None
    if not isinstance(message, dict):
        raise BadMessage(f"not a JSON object: {line[:80]!r}")
    return message


def encode(message: Message) -> bytes:
    """A message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Bytes and the descriptors that came with them; no bytes at the end of the stream."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
    data, ancillary, _, _ = sock.recvmsg(_READ_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            whole = len(content) - len(content) % 4
            fds += memoryview(content[:whole]).cast("i").tolist()
    return data, fds


def listen(path: Path) -> socket.socket:
    """A socket that listens at a path, which may be longer than sun_path has room for (unix(7))."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    listener.listen(16)
    return listener


def connect(path: Path) -> socket.socket:
    """A connection to the socket at a path; raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    except BaseException:
        sock.close()
        raise
    return sock


class Channel:
    """A command's end of a connection, which waits for what it reads."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lines = Lines()
        self._waiting: deque[Message] = deque()

    def fileno(self) -> int:
        """For waiting beside other descriptors; look at `pending` first."""
        return self._socket.fileno()

    @property
    def pending(self) -> bool:
        """Whether a message has been read already."""
        return bool(self._waiting)

    def send(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send one message, and descriptors with it; raises OSError if nobody is there."""
        data = encode(message)
        sent = socket.send_fds(self._socket, [data], list(fds)) if fds else self._socket.send(data)
        # Of nothing more to send, too, the other side's having hung up already would be an error.
        if sent < len(data):
            self._socket.sendall(data[sent:])

    def read(self) -> Message | None:
        """The next message; None once the other side is gone."""
        while not self._waiting:
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._waiting += self._lines.feed(data)
        return self._waiting.popleft()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
