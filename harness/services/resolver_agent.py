"""The fake DNS server agent: UDP and TCP (RFC 7766) on some addresses, which tells its name to who asks.

It has a socket for each address, as an answer must come from the address that was asked, and not from
whichever the kernel would choose.

Configuration, one JSON argument: `{"node", "service", "addresses", "port"}`.
"""

from __future__ import annotations

import _socket as socket
import os
import sys

from harness import dns
from harness.eventpipe import CommandReader, EventWriter
from harness.lean_json import loads
from harness.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EPOLLIN = 1
_BACKLOG = 64
_LENGTH_BYTES = 2
_MOST_TCP_BYTES = 65535


class Resolver:
    """One server on its node."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._node: str = config["node"]
        self._service: str = config["service"]
        self._loop = Loop(EventWriter(), CommandReader(), self._command)
        for address in config["addresses"]:
            self._by_udp(address, config["port"])
            self._by_tcp(address, config["port"])

    def run(self) -> None:
        """Serve until the end."""
        self._tell("service", service=self._service, state="ready", pid=os.getpid())
        self._loop.writer.flush()
        self._loop.run()

    def _tell(self, kind: str, **fields: Any) -> None:
        self._loop.writer.emit(self._loop.now, kind, node=self._node, **fields)

    def _command(self, command: dict[str, Any]) -> None:
        text = f"{self._node}: a resolver has no illness but those of its process"
        self._tell("note", text=text, refused=command.get("do"), id=command.get("id"))

    def _by_udp(self, address: str, port: int) -> None:
        sock = _bound(socket.SOCK_DGRAM, address, port)

        def asked(_mask: int) -> None:
            while True:
                try:
                    message, peer = sock.recvfrom(dns.MOST_BYTES)
                except OSError:
                    return
                if (told := dns.answer(message, self._node)) is not None:
                    try:
                        sock.sendto(told, peer)
                    except OSError:
                        # No way there, or no room: an answer by UDP may be lost.
                        pass

        self._loop.add(sock.fileno(), _EPOLLIN, asked)

    def _by_tcp(self, address: str, port: int) -> None:
        listening = _bound(socket.SOCK_STREAM, address, port)
        listening.listen(_BACKLOG)

        def asked(_mask: int) -> None:
            try:
                fd, _ = listening._accept()  # type: ignore[attr-defined]
            except OSError:
                return
            os.set_blocking(fd, False)
            self._loop.add(fd, _EPOLLIN, lambda _: self._read(fd))

        self._loop.add(listening.fileno(), _EPOLLIN, asked)

    def _read(self, fd: int) -> None:
        """Messages by TCP have their length before them (RFC 1035 section 4.2.2); one comes as a whole."""
        try:
            message = os.read(fd, _MOST_TCP_BYTES)
            told = dns.answer(message[_LENGTH_BYTES:], self._node) if message else None
            if told is not None:
                os.write(fd, len(told).to_bytes(_LENGTH_BYTES, "big") + told)
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._loop.forget(fd)
        os.close(fd)


def _bound(kind: int, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    return sock


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    try:
        Resolver(loads(sys.argv[-1])).run()
    except OSError as error:
        sys.exit(f"resolver: {error}")
