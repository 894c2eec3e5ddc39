"""The core that every fake server shares: the listeners, and the server that they belong to.

What is answered is the behaviour's business (fake_master, fake_router), and what goes wrong is
the illnesses' (fake_illness); both are asked from here and know nothing of descriptors.
"""

from __future__ import annotations

import _socket
import os
from select import EPOLLIN

from harness import tls
from harness.lean_json import dumps
from harness.services.fake_connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from harness.loop import Loop
    from harness.services.fake_http import Answer, Request
    from harness.services.fake_illness import Illness

    class Behaviour(Protocol):
        """What a kind of server answers."""

        def answer(self, request: Request, listener: Listener) -> Answer:
            """The answer to a request that came by a listener; the core adds nothing but framing."""

        def shutdown_begins(self) -> None:
            """The server has been asked to stop and goes on serving for a while."""

        def end_streams(self) -> None:
            """Bring every stream of chunks to its end, in order."""


_BACKLOG = 4096
_ACCEPTS_AT_ONCE = 64
_REST_NS = 100_000_000


class Listener:
    """An address and port that is served, and the illnesses it has at present.

    `context` is the TLS context of new connections, None for plain HTTP.  Port 0 becomes the port
    that the kernel gave at first, and stays it; a listener without a name is called by its port.
    `purpose` is for the behaviour, where it does not answer the same everywhere.
    """

    def __init__(self, server: Server, config: dict[str, Any]) -> None:
        self.server = server
        self.address: str = config["address"]
        self.port: int = config["port"]
        self.name: str = config.get("name", "")
        self.purpose: str = config.get("purpose", "")
        self.config = config
        self.own_context = _contexts(config) if config.get("tls", True) else None
        self.context = self.own_context
        self.illnesses: list[Illness] = []
        self.connections: dict[int, Connection] = {}
        self.connection_limit = 0
        self.socket: _socket.socket | None = None
        self._paused = self._in_trouble = False

    def open(self) -> None:
        """Bind and listen; raises OSError."""
        family = _socket.AF_INET6 if ":" in self.address else _socket.AF_INET
        listening = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
        listening.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        listening.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        try:
            listening.bind((self.address, self.port))
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
        self.port = listening.getsockname()[1]
        self.name = self.name or str(self.port)
        self.socket, self._paused = listening, False
        self.server.loop.add(listening.fileno(), EPOLLIN, self._accept)

    def close(self) -> None:
        """Stop listening: what comes now is refused by the kernel, what is connected stays."""
        if self.socket is not None:
            self.server.loop.forget(self.socket.fileno())
            self.socket.close()
            self.socket = None

    def limit(self, connections: int) -> None:
        """Accept no more while this many connections are open; 0 for no limit."""
        self.connection_limit = connections
        self.consider_accepting()

    def consider_accepting(self) -> None:
        """Leave new connections in the kernel's queue, or take them again, as the limit says."""
        full = 0 < self.connection_limit <= len(self.connections)
        if self.socket is not None and full != self._paused:
            self._paused = full
            self.server.loop.change(self.socket.fileno(), 0 if full else EPOLLIN)

    def _rest(self, error: OSError) -> None:
        """Accept nothing for a moment: what failed (no descriptor left, say) would fail again at once."""
        loop, listening = self.server.loop, self.socket
        if listening is None:
            return
        if not self._in_trouble:
            self._in_trouble = True
            self.server.trouble(f"accept on {self.name}: {error.strerror}")
        self._paused = True
        loop.change(listening.fileno(), 0)

        def again() -> None:
            if self.socket is listening:
                self.consider_accepting()

        loop.at(loop.now + _REST_NS, again)

    def _accept(self, _mask: int) -> None:
        # Alone in its round, the event is one connection's; under load, asking until none is left
        # costs less than another round.
        for _ in range(1 if self.server.loop.ready == 1 else _ACCEPTS_AT_ONCE):
            if self.socket is None or self._paused:
                return
            try:
                fd, peer = self.socket._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as error:
                self._rest(error)
                return
            self._in_trouble = False
            os.set_blocking(fd, False)
            connection = Connection(self, fd, peer)
            if self.connection_limit:
                self.consider_accepting()
            for illness in self.illnesses:
                if illness.on_accept(connection):
                    break


class Server:
    """A node's fake server: its listeners, what it answers, and how it ends."""

    def __init__(self, loop: Loop, node: str, behaviour: Behaviour) -> None:
        self.loop, self.node, self.behaviour = loop, node, behaviour
        self.listeners: list[Listener] = []
        self.draining = False
        self._access = b'{"t":%%d,"kind":"access","node":%s,"peer":"%%s:%%d",%%s,"status":%%d}\n' % (
            dumps(node).encode().replace(b"%", b"%%")
        )

    @property
    def connections(self) -> list[Connection]:
        """All that are open."""
        return [connection for listener in self.listeners for connection in listener.connections.values()]

    def tell_access(self, peer: Any, request: Request, status: int) -> None:
        """Record an answered request."""
        host: str = peer[0]
        if ":" in host:
            host = host[7:] if host.startswith("::ffff:") else f"[{host}]"
        self.loop.writer.raw(self._access % (self.loop.now, host.encode(), peer[1], request.label, status))

    def trouble(self, text: str) -> None:
        """Record that the server itself has a difficulty."""
        self.loop.writer.emit(self.loop.now, "note", text=f"{self.node}: {text}", node=self.node)

    def begin_draining(self) -> None:
        """Stop listening, drop idle connections, and let requests in flight finish."""
        self.draining = True
        for listener in self.listeners:
            listener.close()
        for connection in self.connections:
            if connection.served and not connection.busy and not connection.streaming:
                connection.close()
        self.drained_one()

    def drained_one(self) -> None:
        """End the server when nothing is left to drain."""
        if not any(listener.connections for listener in self.listeners):
            self.loop.stop()


def _contexts(config: dict[str, Any]) -> tls.Context:
    """The listener's TLS context; `names` maps further server names to certificates of their own."""
    context = tls.server_context(config["cert"], config["key"])
    others = {
        name: tls.server_context(pair["cert"], pair["key"]) for name, pair in config.get("names", {}).items()
    }
    if others:
        tls.choose_by_name(context, others)
    return context
