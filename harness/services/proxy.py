"""What a TCP proxy has to do, in words that every kind of proxy understands; each renders its own file."""

from __future__ import annotations

from dataclasses import dataclass

HEALTH_PATH = "/healthz"
HEALTH_ADDRESS, HEALTH_PORT = "127.0.0.1", 8404


@dataclass(frozen=True)
class Server:
    """A member to which connections are passed: its name, and its address:port."""

    name: str
    address: str


@dataclass(frozen=True)
class HttpCheck:
    """A health check by a GET that must be answered with 200; `port` 0 is that of the traffic."""

    path: str
    port: int = 0
    tls: bool = False


@dataclass(frozen=True)
class Service:
    """One port that is balanced: TLS is passed through, never ended.

    `address` is where it listens ("" for everywhere).  With `server_names` (exact, or `*.domain`) only
    TLS connections whose SNI (RFC 6066 section 3) is one of them are passed on, all others are closed.
    """

    name: str
    port: int
    servers: tuple[Server, ...]
    address: str = ""
    server_names: tuple[str, ...] = ()
    http_check: HttpCheck | None = None
