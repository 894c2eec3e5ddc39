"""HTTP/1.1 for the fake servers: requests as they come in, answers as they go out.

Clients of a testbed (health checks, probes) send the same bytes over and over, so a request head is
parsed once and remembered, and an answer is encoded once and sent many times.
"""

from __future__ import annotations

from harness.lean_json import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from harness.services.fake_connection import Connection

    StreamStart: TypeAlias = Callable[[Connection], None]

MAX_HEAD_BYTES = 65536
_REMEMBERED_HEADS = 1024

REASONS = {
    200: "OK",
    301: "Moved Permanently",
    302: "Found",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Request:
    """A request's head: `target` as sent, split into `path` and `query`; `host` without its port.

    `label` is what the access event says of it, as JSON members.
    """

    __slots__ = (
        "body_bytes",
        "head_only",
        "host",
        "keep_alive",
        "label",
        "method",
        "path",
        "query",
        "target",
    )

    def __init__(self, method: str, target: str, host: str, keep_alive: bool, body_bytes: int) -> None:
        self.method, self.target, self.host = method, target, host
        self.path, _, self.query = target.partition("?")
        self.keep_alive, self.body_bytes = keep_alive, body_bytes
        self.head_only = method == "HEAD"
        label = f'"path":{dumps(self.path)}'
        self.label = (label + f',"host":{dumps(host)}' if host else label).encode()

    def asks(self, name: str) -> bool:
        """Whether the query has a parameter of this name, with or without a value."""
        return any(part.partition("=")[0] == name for part in self.query.split("&"))

    def value(self, name: str) -> str:
        """The value of a query parameter, or the empty string."""
        for part in self.query.split("&"):
            key, _, value = part.partition("=")
            if key == name:
                return value
        return ""


_heads: dict[bytes, Request] = {}


def parse_request(head: bytes) -> Request:
    """Read a request's head, up to and with its empty line; raises ValueError if it is not one."""
    request = _heads.get(head)
    if request is None:
        if len(_heads) >= _REMEMBERED_HEADS:
            _heads.clear()
        request = _heads[head] = _parse(head)
    return request


def _parse(head: bytes) -> Request:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1.") or not target or not method.isalpha():
        raise ValueError(f"not an HTTP/1 request line: {first!r}")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"not a header field: {line!r}")
        fields[name.lower()] = value.strip()
    if "transfer-encoding" in fields:
        raise ValueError("a request body without Content-Length")
    connection = fields.get("connection", "").lower()
    keep_alive = "keep-alive" in connection if version == "HTTP/1.0" else "close" not in connection
    host = fields.get("host", "")
    if not host.endswith("]"):
        host = host.rpartition(":")[0] or host
    return Request(method, target, host, keep_alive, int(fields.get("content-length", "0")))


class Answer:
    """An answer of a node: status and body, or, with `stream`, a head after which chunks follow.

    `stream` is called with the connection once the head has been sent.
    """

    __slots__ = ("_encoded", "_head", "body", "status", "stream")

    def __init__(
        self,
        node: str,
        status: int,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        headers: str = "",
        stream: StreamStart | None = None,
    ) -> None:
        self.status, self.body, self.stream = status, body, stream
        length = "Transfer-Encoding: chunked" if stream else f"Content-Length: {len(body)}"
        self._head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\n"
            f"X-Served-By: {node}\r\nCache-Control: no-cache, private\r\nX-Content-Type-Options: nosniff\r\n"
            f"Content-Type: {content_type}\r\n{headers}{length}\r\n"
        )
        self._encoded: dict[tuple[bool, bool], bytes] = {}

    def encoded(self, head_only: bool, keep_alive: bool) -> bytes:
        """The bytes on the wire."""
        form = (head_only, keep_alive)
        data = self._encoded.get(form)
        if data is None:
            head = (self._head + ("\r\n" if keep_alive else "Connection: close\r\n\r\n")).encode()
            data = self._encoded[form] = head if head_only else head + self.body
        return data


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; of no data, the last one."""
    return b"%x\r\n%s\r\n" % (len(data), data)
