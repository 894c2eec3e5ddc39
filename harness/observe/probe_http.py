"""HTTP/1.1 as the probe speaks it: one kind of request, and who gave the answer."""

from __future__ import annotations

_REMEMBERED_HEADS = 256


class Reply:
    """An answer's head: its status, who sent it (X-Served-By), and how its body ends.

    `length` is the body's in bytes, -1 where it is chunked, -2 where it ends with the connection.
    """

    __slots__ = ("length", "member", "status", "stays_open")

    def __init__(self, status: int, member: str | None, length: int, stays_open: bool) -> None:
        self.status, self.member, self.length, self.stays_open = status, member, length, stays_open


def request(host: str, port: int, path: str, client: str, *, keep_alive: bool, body_bytes: int = 0) -> bytes:
    """A GET request, or, with a body of so many bytes, a POST."""
    name = f"[{host}]" if ":" in host else host
    method = "POST" if body_bytes else "GET"
    fields = [f"{method} {path} HTTP/1.1", f"Host: {name}:{port}", f"User-Agent: vipdrill/{client}"]
    if body_bytes:
        fields.append(f"Content-Length: {body_bytes}")
    if not keep_alive:
        fields.append("Connection: close")
    return "\r\n".join([*fields, "", ""]).encode() + b"x" * body_bytes


_heads: dict[bytes, Reply] = {}


def read_reply(received: bytes, *, ended: bool = False) -> tuple[Reply, int] | None:
    """The first answer in what was received and its size, or None while it is not complete.

    Raises ValueError if it is no HTTP answer.  `ended` says that the server has closed.
    """
    body = received.find(b"\r\n\r\n") + 4
    if body == 3:
        if not b"HTTP/1.".startswith(received[:7]):
            raise ValueError("not HTTP")
        return None
    head = received[:body]
    reply = _heads.get(head)
    if reply is None:
        if len(_heads) >= _REMEMBERED_HEADS:
            _heads.clear()
        reply = _heads[head] = _parse(head)
    if reply.length >= 0:
        size = body + reply.length
        return (reply, size) if len(received) >= size else None
    if reply.length == -1:
        last = received.find(b"\r\n0\r\n\r\n", body - 2)
        return (reply, last + 7) if last >= 0 else None
    return (reply, len(received)) if ended else None


def _parse(head: bytes) -> Reply:
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
        raise ValueError("not HTTP")
    status = int(rest[:3])
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "chunked" in fields.get("transfer-encoding", ""):
        length = -1
    elif status in (204, 304):
        length = 0
    else:
        length = int(fields.get("content-length", "-2"))
    connection = fields.get("connection", "").lower()
    stays_open = length != -2 and version != "HTTP/1.0" and "close" not in connection
    return Reply(status, fields.get("x-served-by"), length, stays_open)
