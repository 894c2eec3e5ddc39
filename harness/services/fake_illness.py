"""Every way in which a fake server can be ill: one small class each, by the name that a command uses.

An illness hangs on listeners.  It acts when it begins and ends, when a connection is accepted, or
when a request has been read; several may be had at once, and the first that deals with a connection
or a request has it.  Flapping is the engine's: it makes a server ill and well at a period.
"""

from __future__ import annotations

import _socket

from harness import tls
from harness.services.fake_http import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from harness.services.fake_connection import Connection
    from harness.services.fake_core import Listener
    from harness.services.fake_http import Request

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_BPF_RETURN = 0x06


class Illness:
    """What can go wrong; this one does nothing.

    Options that all of them know: `listeners` (names; all without it), and, where it acts on
    requests, `paths` (all without it).
    """

    options: tuple[str, ...] = ()
    silent = False

    def __init__(self, options: dict[str, Any]) -> None:
        self.paths: list[str] = options.get("paths", [])

    def begin(self, listener: Listener) -> None:
        """The listener falls ill."""

    def end(self, listener: Listener) -> None:
        """The listener is well again."""

    def on_accept(self, connection: Connection) -> bool:
        """A new connection; True if the illness has dealt with it."""
        return False

    def on_request(self, connection: Connection, request: Request) -> bool:
        """A new request; True if the illness has dealt with it."""
        return False

    def strikes(self, request: Request) -> bool:
        """Whether this path is among the ill ones."""
        return not self.paths or request.path in self.paths


class Refuse(Illness):
    """Nothing listens: the kernel answers a SYN with RST. `established` resets what is connected too."""

    options = ("established",)

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._established = bool(options.get("established", False))

    def begin(self, listener: Listener) -> None:
        listener.close()
        if self._established:
            for connection in list(listener.connections.values()):
                connection.reset()

    def end(self, listener: Listener) -> None:
        listener.open()


class Blackhole(Illness):
    """Packets to the port vanish: SYNs stay unanswered, and nothing is acknowledged or said any more.

    A socket filter that drops everything does it, which needs no privilege (socket(7)).  With
    `established` false, connections of before go on.
    """

    options = ("established",)

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.silent = bool(options.get("established", True))

    def begin(self, listener: Listener) -> None:
        if listener.socket is not None:
            _drop_all(listener.socket.setsockopt)
        if self.silent:
            for connection in listener.connections.values():
                _drop_all(connection.setsockopt)

    def end(self, listener: Listener) -> None:
        if listener.socket is not None:
            _drop_none(listener.socket.setsockopt)
        for connection in listener.connections.values():
            _drop_none(connection.setsockopt)

    def on_accept(self, connection: Connection) -> bool:
        # It had connected before the filter was there, and only now comes out of the kernel's queue.
        if self.silent:
            _drop_all(connection.setsockopt)
        return self.silent


def _drop_all(setsockopt: Callable[[int, int, bytes], None]) -> None:
    from array import array
    from struct import pack

    program = array("B", pack("=HBBI", _BPF_RETURN, 0, 0, 0))
    setsockopt(_socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("@HP", 1, program.buffer_info()[0]))


def _drop_none(setsockopt: Callable[[int, int, bytes], None]) -> None:
    try:
        setsockopt(_socket.SOL_SOCKET, _SO_DETACH_FILTER, bytes(4))
    except FileNotFoundError:
        pass


class Hang(Illness):
    """Connections are accepted and never answered: `stage` "accept" (not even TLS) or "request".

    What hung once stays so after the illness, until the client gives up.
    """

    options = ("stage",)
    silent = True

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._stage = _choice(options, "stage", "request", ("accept", "request"))

    def on_accept(self, connection: Connection) -> bool:
        connection.mute = self._stage == "accept"
        return connection.mute

    def on_request(self, connection: Connection, request: Request) -> bool:
        connection.mute = self.strikes(request)
        return connection.mute


class Slow(Illness):
    """Every answer comes `delay_s` late."""

    options = ("delay_s",)

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._delay_ns = round(options["delay_s"] * 1e9)

    def on_request(self, connection: Connection, request: Request) -> bool:
        if not self.strikes(request):
            return False
        loop = connection.listener.server.loop
        loop.at(loop.now + self._delay_ns, connection.answer_late)
        return True


class Cut(Illness):
    """The connection ends in order (FIN) at a `stage`.

    That is "accept", "request" (read, not answered), or "answer" (half sent).
    """

    options = ("stage",)

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._stage = _choice(options, "stage", "accept", ("accept", "request", "answer"))

    def cut(self, connection: Connection) -> None:
        """End the connection in this illness's way."""
        connection.say_no_more()

    def on_accept(self, connection: Connection) -> bool:
        if self._stage == "accept":
            self.cut(connection)
        return self._stage == "accept"

    def on_request(self, connection: Connection, request: Request) -> bool:
        if self._stage == "accept" or not self.strikes(request):
            return False
        if self._stage == "answer":
            listener = connection.listener
            connection.answer(listener.server.behaviour.answer(request, listener), only_half=True)
        self.cut(connection)
        return True


class Reset(Cut):
    """As `close`, with a RST instead of a FIN."""

    def cut(self, connection: Connection) -> None:
        connection.reset()


class Status(Illness):
    """Requests are answered with `status` (500 without it), which is what a broken service says."""

    options = ("status",)

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._status = int(options.get("status", 500))

    def on_request(self, connection: Connection, request: Request) -> bool:
        if not self.strikes(request):
            return False
        node = connection.listener.server.node
        connection.answer(Answer(node, self._status, b"ill by command\n"))
        return True


class BadCert(Illness):
    """New connections are offered another certificate: the paths `cert` and `key`."""

    options = ("cert", "key")

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._context = tls.server_context(options["cert"], options["key"])

    def begin(self, listener: Listener) -> None:
        if listener.own_context is not None:
            listener.context = self._context

    def end(self, listener: Listener) -> None:
        listener.context = listener.own_context


class Plain(Illness):
    """Plain HTTP is spoken where TLS is expected."""

    def begin(self, listener: Listener) -> None:
        listener.context = None

    def end(self, listener: Listener) -> None:
        listener.context = listener.own_context


class Limit(Illness):
    """No more than `connections` are accepted at a time; further ones wait, connected, in the kernel."""

    options = ("connections",)

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._connections = int(options["connections"])

    def begin(self, listener: Listener) -> None:
        listener.limit(self._connections)

    def end(self, listener: Listener) -> None:
        listener.limit(0)


ILLNESSES: dict[str, type[Illness]] = {
    "refuse": Refuse,
    "blackhole": Blackhole,
    "hang": Hang,
    "slow": Slow,
    "close": Cut,
    "reset": Reset,
    "status": Status,
    "bad_cert": BadCert,
    "plain": Plain,
    "limit": Limit,
}


def make(name: str, options: dict[str, Any]) -> Illness:
    """The illness of this name; raises ValueError that names the known names or options."""
    kind = ILLNESSES.get(name)
    if kind is None:
        raise ValueError(f"unknown illness {name!r}; known: {', '.join(sorted(ILLNESSES))}")
    known = {"listeners", "paths", *kind.options}
    for option in options:
        if option not in known:
            raise ValueError(f"illness {name} has no option {option!r}; known: {', '.join(sorted(known))}")
    try:
        return kind(options)
    except KeyError as missing:
        raise ValueError(f"illness {name} needs the option {missing}") from None


def _choice(options: dict[str, Any], name: str, default: str, known: tuple[str, ...]) -> str:
    value: str = options.get(name, default)
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")
    return value
