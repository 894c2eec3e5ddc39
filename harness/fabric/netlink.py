"""A route-netlink socket that sends many requests in one system call (netlink(7), rtnetlink(7)).

The encoder is ours, because it is on the hot path of every testbed and of every fault: the
messages of a whole lab go out in one batch, and importing a general library costs more than
building the lab (seconds inside a User-Mode Linux guest).
"""

from __future__ import annotations

import _socket as socket  # what `socket` wraps, without its import of `enum` and `selectors`
import os
import struct

from harness.errors import TestbedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_DUMP = (
    1,
    4,
    0x200,
    0x400,
    0x100,
    0x300,
)
NLMSG_ERROR, NLMSG_DONE = 2, 3
NETLINK_EXT_ACK, SOL_NETLINK, NLM_F_CAPPED, NLM_F_ACK_TLVS = 11, 270, 0x100, 0x200

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# Stay far below the default send buffer; the kernel handles a batch while sendmsg runs.
_BATCH_BYTES = 32768
_BATCH_MESSAGES = 64


def attribute(kind: int, payload: bytes | int | str) -> bytes:
    """One netlink attribute: integers become 32 bit, text gets its final zero."""
    if isinstance(payload, int):
        payload = payload.to_bytes(4, "little" if struct.pack("=H", 1)[0] else "big")
    elif isinstance(payload, str):
        payload = payload.encode() + b"\0"
    length = 4 + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes of a message, as pairs of kind and payload."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3


class Request:
    """One request of a batch; `what` says it in words for an error's text."""

    __slots__ = ("body", "flags", "kind", "what")

    def __init__(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self.kind, self.flags, self.body, self.what = kind, flags, body, what


class RouteSocket:
    """A netlink route socket of the network namespace in which it was made."""

    def __init__(self, groups: int = 0, through: Any = None) -> None:
        """`through` is what leads to another kernel's route socket: a thing with sendall and recv."""
        self._sequence = 0
        if through is not None:
            self.socket = through
            return
        self.socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self.socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        if groups:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((0, groups))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def send(self, requests: list[Request], *, ignore: tuple[int, ...] = ()) -> None:
        """Carry out requests in order, many a system call.

        Raises TestbedError with the first request that the kernel refused and the kernel's own
        words; errors whose errno is in `ignore` do not count.
        """
        batch: list[Request] = []
        size = 0
        for request in requests:
            batch.append(request)
            size += 16 + len(request.body)
            if size >= _BATCH_BYTES or len(batch) >= _BATCH_MESSAGES:
                self._send(batch, ignore)
                batch, size = [], 0
        if batch:
            self._send(batch, ignore)

    def begin(self, batch: list[Request]) -> None:
        """Hand requests over and wait for no answer; whoever does that must not send others after."""
        self.socket.sendall(self._packed(batch))

    def _packed(self, batch: list[Request]) -> bytearray:
        out = bytearray()
        for request in batch:
            self._sequence += 1
            flags = request.flags | NLM_F_REQUEST | NLM_F_ACK
            out += _HEADER.pack(16 + len(request.body), request.kind, flags, self._sequence, 0) + request.body
            out += b"\0" * (-len(out) % 4)
        return out

    def _send(self, batch: list[Request], ignore: tuple[int, ...]) -> None:
        first = self._sequence + 1
        self.socket.sendall(self._packed(batch))
        failure: TestbedError | None = None
        waiting = len(batch)
        while waiting:
            for kind, flags, sequence, body in self._receive():
                if kind != NLMSG_ERROR or not first <= sequence <= self._sequence:
                    continue
                waiting -= 1
                errno = -struct.unpack_from("=i", body)[0]
                if errno and errno not in ignore and failure is None:
                    failure = _refused(batch[sequence - first], errno, flags, body)
        if failure:
            raise failure

    def dump(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        """All objects of a kind, as pairs of message type and body."""
        self._sequence += 1
        self.socket.sendall(
            _HEADER.pack(16 + len(body), kind, NLM_F_REQUEST | NLM_F_DUMP, self._sequence, 0) + body
        )
        found: list[tuple[int, bytes]] = []
        while True:
            for got, _, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if got == NLMSG_DONE:
                    return found
                if got == NLMSG_ERROR:
                    errno = -struct.unpack_from("=i", payload)[0]
                    raise TestbedError(f"netlink dump {kind}: {os.strerror(errno)}")
                found.append((got, payload))

    def _receive(self) -> list[tuple[int, int, int, bytes]]:
        return messages(self.socket.recv(1 << 17))


def messages(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """The messages of one datagram: (type, flags, sequence, body)."""
    found = []
    offset = 0
    while offset + 16 <= len(data):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(data, offset)
        if length < 16:
            break
        found.append((kind, flags, sequence, data[offset + 16 : offset + length]))
        offset += (length + 3) & ~3
    return found


def _refused(request: Request, errno: int, flags: int, body: bytes) -> TestbedError:
    """The error for a refused request, with the kernel's extended message where it sent one."""
    words = ""
    if flags & NLM_F_ACK_TLVS:
        skip = 20 if flags & NLM_F_CAPPED else 20 + (struct.unpack_from("=I", body, 4)[0] - 16 + 3 & ~3)
        for kind, value in attributes(body[skip:]):
            if kind == 1:
                words = " (" + value.rstrip(b"\0").decode(errors="replace") + ")"
    return TestbedError(f"the kernel refused to {request.what}: {os.strerror(errno)}{words}")
