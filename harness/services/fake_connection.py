"""One client's connection to a fake server: TLS, and HTTP/1.1 kept alive and pipelined.

It is a bare descriptor, as a socket object costs one more system call for each connection.
"""

from __future__ import annotations

import _socket
import os
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP

from harness import tls
from harness.services.fake_http import MAX_HEAD_BYTES, Answer, parse_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.services.fake_core import Listener
    from harness.services.fake_http import Request

_READ_BYTES = 16384
_STALLED_BYTES = 1 << 20
_WATCHED = EPOLLIN | EPOLLRDHUP | EPOLLET
_GONE = EPOLLRDHUP | EPOLLHUP | EPOLLERR
_RESET_ON_CLOSE = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class Connection:
    """One client's connection; `fd` is -1 once it is closed.

    `busy` from a request's end until its answer is on the way; `mute` when nothing will ever be
    said on it again; `streaming` once a stream of chunks has begun.
    """

    __slots__ = (
        "_close_after",
        "_inbox",
        "_incoming",
        "_outbox",
        "_outgoing",
        "_request",
        "_secure",
        "_session",
        "_skip",
        "busy",
        "fd",
        "listener",
        "mute",
        "peer",
        "served",
        "streaming",
    )

    def __init__(self, listener: Listener, fd: int, peer: Any) -> None:
        self.listener, self.fd, self.peer = listener, fd, peer
        self.busy = self.mute = self.streaming = self.served = False
        self._inbox = self._outbox = b""
        self._skip = 0
        self._request: Request | None = None
        self._session: tls.Session | None = None
        self._close_after = False
        context = listener.context
        if context is not None:
            self._incoming, self._outgoing = tls.MemoryBIO(), tls.MemoryBIO()
            self._session = tls.server_session(context, self._incoming, self._outgoing)
        self._secure = False
        listener.connections[fd] = self
        listener.server.loop.add(fd, _WATCHED, self._event)

    # -- closing -------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it in order (FIN)."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            listener = self.listener
            del listener.connections[fd]
            listener.server.loop.forget(fd)
            os.close(fd)
            if listener.connection_limit:
                listener.consider_accepting()
            if listener.server.draining:
                listener.server.drained_one()

    def reset(self) -> None:
        """Close it with a RST."""
        if self.fd >= 0:
            self.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET_ON_CLOSE)
            self.close()

    def say_no_more(self) -> None:
        """Send a FIN now and close when the client does, so that nothing of its makes the FIN a RST."""
        if self.fd >= 0:
            self.mute = True
            view = _socket.socket(fileno=self.fd)
            try:
                view.shutdown(_socket.SHUT_WR)
            except OSError:
                self.close()
            finally:
                view.detach()

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        """Set a socket option of this connection."""
        view = _socket.socket(fileno=self.fd)
        try:
            view.setsockopt(level, option, value)
        finally:
            view.detach()

    # -- reading -------------------------------------------------------------------------------

    def _event(self, mask: int) -> None:
        if self._outbox and mask & EPOLLOUT:
            self._send(b"")
        while self.fd >= 0:
            try:
                data = os.read(self.fd, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
                return
            if not self.mute:
                self._received(data)
            if len(data) < _READ_BYTES and not mask & _GONE:
                return

    def _received(self, data: bytes) -> None:
        session = self._session
        if session is not None:
            try:
                data = self._decrypt(session, data)
            except tls.PeerClosed:
                self.close()
                return
            except tls.TLSError:
                # The alert that says why is the last thing sent.
                self._send(self._outgoing.read())
                self.close()
                return
        if data:
            self._inbox = self._inbox + data if self._inbox else data
            self._serve()

    def _decrypt(self, session: tls.Session, data: bytes) -> bytes:
        incoming = self._incoming
        incoming.write(data)
        if not self._secure:
            try:
                session.do_handshake()
                self._secure = True
            except tls.WantRead:
                pass
            if self._outgoing.pending:
                self._send(self._outgoing.read())
            if not self._secure:
                return b""
        plain = b""
        while incoming.pending or session.pending():
            try:
                plain += session.read(_READ_BYTES)
            except tls.WantRead:
                break
        return plain

    def _serve(self) -> None:
        while self._inbox and not (self.busy or self.mute or self.streaming or self._close_after):
            if self._skip:
                skipped, self._skip = self._skip, max(0, self._skip - len(self._inbox))
                self._inbox = self._inbox[skipped:]
                if not self._skip:
                    self._requested()
                continue
            end = self._inbox.find(b"\r\n\r\n") + 4
            if end == 3:
                if len(self._inbox) > MAX_HEAD_BYTES:
                    self._refuse(431)
                elif not self._inbox[:1].isalpha():
                    self._refuse(400)
                return
            head, self._inbox = self._inbox[:end], self._inbox[end:]
            try:
                request = parse_request(head)
            except ValueError:
                self._refuse(400)
                return
            self._skip = request.body_bytes
            self._request = request
            if not self._skip:
                self._requested()

    def _requested(self) -> None:
        """A whole request has come, its body read and dropped: answer it, or do what an illness does."""
        request = self._request
        assert request is not None
        self.busy = self.served = True
        for illness in self.listener.illnesses:
            if illness.on_request(self, request):
                return
        self.answer(self.listener.server.behaviour.answer(request, self.listener))

    def _refuse(self, status: int) -> None:
        self._close_after = True
        answer = Answer(self.listener.server.node, status)
        self._write(answer.encoded(False, False))
        self.close()

    # -- writing -------------------------------------------------------------------------------

    def answer_late(self) -> None:
        """Answer the request that an illness held back."""
        if self.silent:
            self.mute = True
        elif self.fd >= 0 and self._request is not None:
            self.answer(self.listener.server.behaviour.answer(self._request, self.listener))
            self._serve()

    def answer(self, answer: Answer, *, only_half: bool = False) -> None:
        """Answer the present request, and close the connection if the client or the server is to stop."""
        request, self._request = self._request, None
        if request is None or self.fd < 0:
            return
        server = self.listener.server
        keep_alive = request.keep_alive and not server.draining
        data = answer.encoded(request.head_only, keep_alive)
        if only_half:
            data = data[: len(data) // 2]
        self.busy = False
        self._close_after = not keep_alive and answer.stream is None
        self._write(data)
        server.tell_access(self.peer, request, answer.status)
        if answer.stream is not None and not request.head_only and not only_half:
            self.streaming = True
            answer.stream(self)
        elif self._close_after and not self._outbox and not only_half:
            self.close()

    def push(self, data: bytes) -> None:
        """Send more of a stream; a client that has not read for long is dropped."""
        if len(self._outbox) > _STALLED_BYTES:
            self.reset()
        elif self.fd >= 0 and not self.silent:
            self._write(data)

    def end_stream(self, data: bytes) -> None:
        """Send the last of a stream, then close."""
        self._close_after = True
        self._write(data)
        if not self._outbox:
            self.close()

    @property
    def silent(self) -> bool:
        """Whether an illness keeps the listener from saying anything."""
        return self.mute or any(illness.silent for illness in self.listener.illnesses)

    def _write(self, data: bytes) -> None:
        session = self._session
        if session is not None:
            session.write(data)
            if self._close_after:
                _say_goodbye(session)
            data = self._outgoing.read()
        self._send(data)

    def _send(self, data: bytes) -> None:
        waiting = bool(self._outbox)
        if waiting:
            data = self._outbox + data
        if self.fd < 0 or not data:
            return
        try:
            sent = os.write(self.fd, data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        self._outbox = data[sent:]
        if bool(self._outbox) != waiting:
            self.listener.server.loop.change(self.fd, _WATCHED | EPOLLOUT if self._outbox else _WATCHED)
            if waiting and self._close_after:
                self.close()


def _say_goodbye(session: tls.Session) -> None:
    try:
        session.shutdown()
    except tls.TLSError:
        pass
