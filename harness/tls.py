"""TLS contexts for agents, made for many short handshakes on non-blocking connections.

Built on `_ssl`, the C half of the standard library's `ssl`: its Python half costs 10 ms to import
(100 ms in a UML guest) and 5 us on every connection, and adds nothing that an agent needs.  A
connection is a `Session` with two memory buffers, so that each flight of a handshake is one system
call, where a TLS socket reads record by record.
"""

from __future__ import annotations

import _ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, Protocol

    class Session(Protocol):
        """One side of a TLS connection (`_ssl._SSLSocket`)."""

        context: Any

        def do_handshake(self) -> None: ...
        def read(self, size: int, /) -> bytes: ...
        def write(self, data: bytes, /) -> int: ...
        def pending(self) -> int: ...
        def shutdown(self) -> object: ...


Context = _ssl._SSLContext
MemoryBIO = _ssl.MemoryBIO

TLSError = _ssl.SSLError
WantRead = _ssl.SSLWantReadError
PeerClosed = _ssl.SSLZeroReturnError
UnexpectedEnd = _ssl.SSLEOFError
CertificateRefused = _ssl.SSLCertVerificationError

_X509_V_FLAG_PARTIAL_CHAIN = 0x80000
_HTTP_1_1 = b"\x08http/1.1"


def _private(context: Context) -> Any:
    """The context's methods that only `ssl` itself is meant to call."""
    return context


def server_context(cert: str, key: str) -> Context:
    """A context that serves this certificate; full handshakes only, as no tickets are given out."""
    context = Context(_ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _ssl.PROTO_TLSv1_2
    context.num_tickets = 0
    _private(context)._set_alpn_protocols(_HTTP_1_1)
    context.load_cert_chain(cert, key)
    return context


def choose_by_name(default: Context, others: Mapping[str, Context]) -> None:
    """Let `default` hand over to another context by the client's server name (SNI)."""

    def choose(session: Session, name: str | None, _context: Context) -> None:
        chosen = others.get(name or "")
        if chosen is not None:
            session.context = chosen

    _private(default).sni_callback = choose


def client_context(ca: str | None, pins: Sequence[str]) -> Context:
    """A context that trusts a CA's chain, or only the pinned certificates themselves, or anybody.

    A pinned certificate is its own trust anchor (X509_V_FLAG_PARTIAL_CHAIN): name and dates are
    still checked, but no second signature is, which saves 50 us of 380 us.  As pins mean servers of
    our own, only X25519 is offered to them: it is 45 us faster than P-256 on either side, and
    OpenSSL 3.5 would add a post-quantum key share (1.2 kB on the wire, and its time).
    """
    context = Context(_ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = _ssl.PROTO_TLSv1_2
    if pins:
        context.verify_flags |= _X509_V_FLAG_PARTIAL_CHAIN
        with_x25519_only(context)
        for pin in pins:
            context.load_verify_locations(pin)
    elif ca:
        context.load_verify_locations(ca)
    else:
        context.check_hostname = False
        context.verify_mode = _ssl.CERT_NONE
    return context


def with_x25519_only(context: Context) -> None:
    """Offer no other key exchange, where Python can say so (3.11 and later)."""
    try:
        context.set_ecdh_curve("X25519")
    except TLSError:
        pass


def client_session(context: Context, incoming: MemoryBIO, outgoing: MemoryBIO, name: str | None) -> Session:
    """A client's side of a connection to the server `name` (None: no name is sent, none checked)."""
    session: Session = _private(context)._wrap_bio(incoming, outgoing, False, name)
    return session


def server_session(context: Context, incoming: MemoryBIO, outgoing: MemoryBIO) -> Session:
    """A server's side of a connection."""
    session: Session = _private(context)._wrap_bio(incoming, outgoing, True)
    return session


def reason(error: TLSError) -> str:
    """What went wrong, in OpenSSL's words."""
    text = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return str(text).lower().replace("_", " ")
