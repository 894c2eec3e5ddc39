"""The holder's end of the protocol: connections served from the recorder's waits, so that it needs no thread.

Whatever a connection began (a command, a fault for a while, a subscription) is told when it closes.
Nobody but the user whose lab it is may connect (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import os
import select
import socket
import struct
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError, VipdrillError
from harness.lab.channel import MOST_DESCRIPTORS, BadMessage, Lines, Message, encode, receive

if TYPE_CHECKING:
    from harness.recorder import Recorder

Handler = Callable[["Connection", Message], None]
# What a subscriber may leave unread before events are left out for it, instead of kept in memory.
_UNREAD_BYTES = 4 << 20
_INTERNAL_ERROR = 70


class Connection:
    """One client. Writing never blocks; what it does not read waits here, events only up to a limit."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server, self._socket = server, sock
        self._lines = Lines()
        self._out = bytearray()
        self._fds: list[int] = []
        self._left_out = 0
        self.open = True
        self.on_message: Callable[[Message], None] | None = None
        """Who takes what the client says, instead of its being a request."""
        self.on_close: list[Callable[[], None]] = []
        """What to do once the client is gone; to be added to by `when_gone`."""
        sock.setblocking(False)
        server.recorder.serve(sock.fileno(), select.EPOLLIN, self._ready)

    # -- out -----------------------------------------------------------------------------------

    def send(self, **message: Any) -> None:
        """Send a message as soon as the client reads."""
        if self.open:
            self._out += encode(message)
            self._flush()

    def send_event(self, line: str) -> None:
        """Send an event (as JSON); who has left too much unread is only told how many it missed."""
        if not self.open:
            return
        if len(self._out) > _UNREAD_BYTES:
            self._left_out += 1
            return
        if self._left_out:
            self._out += encode({"left_out": self._left_out})
            self._left_out = 0
        self._out += b'{"event":' + line.encode() + b"}\n"
        self._flush()

    def fail(self, error: VipdrillError) -> None:
        """Answer that it cannot be done, and why."""
        self.send(error=str(error), exit_code=error.exit_code)

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        mask = select.EPOLLIN | (select.EPOLLOUT if self._out else 0)
        self._server.recorder.serve(self._socket.fileno(), mask, self._ready)

    def say_last(self, timeout_s: float = 2.0, **message: Any) -> None:
        """Send a message and what waits, and hang up: at the lab's end nothing is served any more."""
        if self.open:
            self._out += encode(message) if message else b""
            try:
                self._socket.settimeout(timeout_s)
                self._socket.sendall(self._out)
            except OSError:
                pass
            self.close()

    # -- in ------------------------------------------------------------------------------------

    def take_fds(self, count: int) -> list[int]:
        """The descriptors that came with the request, now the caller's; UsageError for another number."""
        fds, self._fds = self._fds, []
        if len(fds) != count:
            _close(fds)
            raise UsageError(f"{count} descriptors were to come with the request, not {len(fds)}")
        return fds

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Have something done once the client is gone: at once, if that has been noticed already."""
        if self.open:
            self.on_close.append(callback)
        else:
            callback()

    def _ready(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self._flush()
        if self.open and mask & ~select.EPOLLOUT:
            self._read()

    def _read(self) -> None:
        try:
            data, fds = receive(self._socket)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        self._fds += fds
        if not data or len(self._fds) > MOST_DESCRIPTORS:
            self.close()
            return
        try:
            messages = self._lines.feed(data)
        except BadMessage as error:
            self.send(error=f"bad request: {error}", exit_code=UsageError.exit_code)
            self.close()
            return
        for message in messages:
            self._server.request(self, message)

    def close(self) -> None:
        """Hang up, and let what hangs on the client end."""
        if not self.open:
            return
        self.open = False
        self._server.recorder.dismiss(self._socket.fileno())
        self._server.forget(self)
        self._socket.close()
        _close(self._fds)
        for callback in self.on_close:
            self._server.unasked(callback)


class Server:
    """Serves requests by their `do`; whatever goes wrong is the answer, and the lab lives on."""

    def __init__(self, recorder: Recorder, handlers: dict[str, Handler]) -> None:
        self.recorder, self._handlers = recorder, handlers
        self._listener: socket.socket | None = None
        self.connections: list[Connection] = []

    def listen(self, listener: socket.socket) -> None:
        """Take connections from now on."""
        self._listener = listener
        listener.setblocking(False)
        self.recorder.serve(listener.fileno(), select.EPOLLIN, self._accept)

    def adopt(self, sock: socket.socket) -> Connection:
        """Serve a client that is connected already."""
        connection = Connection(self, sock)
        self.connections.append(connection)
        return connection

    def _accept(self, _mask: int) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:  # it has hung up again, or we have no descriptor left for it
            return
        if _peer_uid(sock) != os.geteuid():
            sock.close()
            return
        self.adopt(sock)

    def request(self, connection: Connection, message: Message) -> None:
        """Carry out one request."""
        handler = self._handlers.get(str(message.get("do")))
        self.guarded(connection, lambda: self._handle(handler, connection, message))

    @staticmethod
    def _handle(handler: Handler | None, connection: Connection, message: Message) -> None:
        if connection.on_message is not None:
            connection.on_message(message)
            return
        if handler is None:
            raise UsageError(
                f"this lab does not know how to {message.get('do')!r}: another version of vipdrill holds it"
            )
        handler(connection, message)

    @staticmethod
    def guarded(connection: Connection, work: Callable[[], None]) -> None:
        """Do work for a client; what goes wrong is its answer, and the lab lives on."""
        try:
            work()
        except VipdrillError as error:
            connection.fail(error)
        except Exception as error:  # a defect of ours, or a request that no command of ours makes
            traceback.print_exc()
            where = f"{type(error).__name__}: {error}"
            connection.send(
                error=f"the lab could not do it ({where}); its log tells", exit_code=_INTERNAL_ERROR
            )

    def unasked(self, work: Callable[[], None]) -> None:
        """Do work that nobody waits for; what goes wrong is told in a note, and the lab lives on."""
        try:
            work()
        except VipdrillError as error:
            self.recorder.emit("note", text=f"the lab could not do what was due: {error}")
        except Exception as error:
            traceback.print_exc()
            where = f"{type(error).__name__}: {error}"
            self.recorder.emit("note", text=f"the lab could not do what was due ({where}); its log tells")

    def forget(self, connection: Connection) -> None:
        """A connection is closed."""
        if connection in self.connections:
            self.connections.remove(connection)

    def stop_listening(self) -> None:
        """Take no more connections."""
        if self._listener is not None:
            self.recorder.dismiss(self._listener.fileno())
            self._listener.close()
            self._listener = None

    def hang_up(self) -> None:
        """Say what is left to say to everybody, and close."""
        for connection in list(self.connections):
            connection.say_last()


def _peer_uid(sock: socket.socket) -> int:
    """Whose the other end is, in the numbers of this user namespace; others than its own show as `nobody`."""
    size = struct.calcsize("3i")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", credentials)[1])


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
    fds.clear()
