"""A client's connection that never blocks: TCP, TLS where asked for, and why it failed.

Ten system calls make a whole exchange over TLS (socket, bind, connect, epoll_ctl, two sends, two
receives, close, and one wait for each answer), because the last flight of the handshake and the
request travel together, and one edge-triggered registration serves to the end.
"""

from __future__ import annotations

import _socket
import errno
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP

from harness import tls
from harness.observe.probe_ports import Ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.loop import Loop

_READ_BYTES = 16384
_WATCHED = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
_FAILED = EPOLLERR | EPOLLHUP
_GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR

_RESULTS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.ETIMEDOUT: "timeout",
}


def result_of(error: OSError) -> tuple[str, str]:
    """What an error of a socket is called, and its detail."""
    number = error.errno or 0
    result = _RESULTS.get(number, "error")
    return result, errno.errorcode.get(number, str(error)) if result == "error" else ""


class Target:
    """What is probed: `{"address", "port", "tls", "server_name", "path", "ca", "pins", "ports", "protocol",
    "upload"}`.

    `again` are the source ports of new connections where those are few, and come again while balancers
    still know them.
    """

    def __init__(
        self, config: dict[str, Any], source: str | None, ports: Ports, contexts: dict[Any, tls.Context]
    ) -> None:
        self.address: str = config["address"]
        self.port: int = config["port"]
        self.path: str = config.get("path", "/")
        self.server_name: str = config.get("server_name") or self.address
        self.family = _socket.AF_INET6 if ":" in self.address else _socket.AF_INET
        self.source = source or ("::" if self.family == _socket.AF_INET6 else "")
        self.ports = ports
        few: int = config.get("ports", 0)
        self.again = Ports(few) if few else None
        self.label = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        self.upload: int = config.get("upload", 0)
        self.udp = config.get("protocol", "tcp") == "udp"
        self.context: tls.Context | None = None
        if config.get("tls", True) and not self.udp:
            trust = config.get("ca"), tuple(config.get("pins", ()))
            if trust not in contexts:
                contexts[trust] = tls.client_context(*trust)
            self.context = contexts[trust]


class Channel:
    """One connection. A subclass says what to do when bytes come, and when it fails.

    Exactly one of `failed` and the subclass's own `close` ends it.
    """

    __slots__ = (
        "_incoming",
        "_outgoing",
        "_ports",
        "_queue",
        "_session",
        "_socket",
        "_wire",
        "connected",
        "loop",
        "target",
        "up",
    )

    _incoming: tls.MemoryBIO
    _outgoing: tls.MemoryBIO

    def __init__(self, loop: Loop, target: Target, ports: Ports | None = None) -> None:
        self.loop, self.target = loop, target
        self._ports = ports or target.ports
        self.connected = self.up = False
        # What waits for the connection to be made, and what waits for room in the socket.
        self._queue = self._wire = b""
        self._session: tls.Session | None = None
        self._socket: _socket.socket | None = None

    def received(self, data: bytes) -> None:
        """Bytes have come from the server."""
        raise NotImplementedError

    def ended(self) -> None:
        """The server has closed; by default that is a failure."""
        self.fail("closed", self.how_far())

    def how_far(self) -> str:
        """What it was at when it failed; nothing to say once it is fit for use."""
        if self.up:
            return ""
        return "in the TLS handshake" if self.connected else "while connecting"

    def failed(self, result: str, detail: str, *, was_up: bool) -> None:
        """The connection is lost, for the reason `result`; `was_up` if it had been fit for use."""
        raise NotImplementedError

    def open(self) -> None:
        """Begin to connect; may fail at once."""
        target = self.target
        try:
            self._socket = sock = _socket.socket(target.family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
            self._ports.bind(sock, target.source)
        except OSError as error:
            self._broke(error)
            return
        number = sock.connect_ex((target.address, target.port))
        if number not in (0, errno.EINPROGRESS):
            self._broke(OSError(number, ""))
            return
        self.loop.add(sock.fileno(), _WATCHED, self._event)

    def send(self, data: bytes) -> None:
        """Send, or keep until the connection is up."""
        if not self.up:
            self._queue += data
            return
        if self._session is not None:
            self._session.write(data)
            data = self._outgoing.read()
        self._write(data)

    @property
    def server_has_closed(self) -> bool:
        """Whether all has come that the server will ever send on the connection (its FIN)."""
        try:
            return self._socket is None or not self._socket.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        """Close it; nothing more is reported."""
        sock, self._socket = self._socket, None
        self.connected = self.up = False
        self._queue = self._wire = b""
        if sock is not None:
            self.loop.forget(sock.fileno())
            sock.close()

    def fail(self, result: str, detail: str) -> None:
        """Close it and tell the subclass why."""
        was_up = self.up
        self.close()
        self.failed(result, detail, was_up=was_up)

    def _broke(self, error: OSError) -> None:
        self.fail(*result_of(error))

    def _event(self, mask: int) -> None:
        sock = self._socket
        if sock is None:
            return
        if not self.connected:
            if mask & _FAILED:
                self._broke(
                    OSError(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR) or errno.ECONNRESET, "")
                )
                return
            self.connected = True
            self._begin()
        elif self._wire:
            self._write(b"")
        if not mask & (EPOLLIN | _GONE):
            return
        while self._socket is sock:
            try:
                data = sock.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._broke(error)
                return
            if not data:
                self.ended()
                return
            self._read(data)
            if len(data) < _READ_BYTES and not mask & _GONE:
                return

    def _begin(self) -> None:
        """The connection is made: say hello, or straight away what was to be sent."""
        context = self.target.context
        if context is None:
            self._is_up()
            return
        self._incoming, self._outgoing = tls.MemoryBIO(), tls.MemoryBIO()
        self._session = tls.client_session(context, self._incoming, self._outgoing, self.target.server_name)
        self._shake_hands(self._session)

    def _is_up(self) -> None:
        self.up = True
        data, self._queue = self._queue, b""
        self.send(data)

    def _shake_hands(self, session: tls.Session) -> bool:
        try:
            session.do_handshake()
        except tls.WantRead:
            if self._outgoing.pending:
                self._write(self._outgoing.read())
            return False
        except tls.TLSError as error:
            if self._outgoing.pending:
                self._write(self._outgoing.read())
            if self._socket is not None:
                self.fail("tls", tls.reason(error))
            return False
        self._is_up()
        return True

    def _read(self, data: bytes) -> None:
        session = self._session
        if session is None:
            self.received(data)
            return
        incoming = self._incoming
        incoming.write(data)
        if not self.up and not self._shake_hands(session):
            return
        try:
            while self._socket is not None and (incoming.pending or session.pending()):
                self.received(session.read(_READ_BYTES))
        except tls.WantRead:
            pass
        except tls.PeerClosed:
            self.ended()
        except tls.TLSError as error:
            self.fail("tls", tls.reason(error))

    def _write(self, data: bytes) -> None:
        sock = self._socket
        if sock is None:
            return
        data = self._wire + data
        try:
            self._wire = data[sock.send(data) :]
        except BlockingIOError:
            self._wire = data
        except OSError as error:
            self._broke(error)
