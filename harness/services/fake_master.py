"""What a fake master answers: the parts of a Kubernetes API server that a load balancer, its health
check and its clients see.

Health endpoints as https://kubernetes.io/docs/reference/using-api/health-checks/ describes them:
"ok", or the list of checks with `?verbose` and always on failure; each check also has a path of its
own.  Once shutdown has begun `/readyz` fails its `shutdown` check while `/livez` and `/healthz` stay
well, as in kube-apiserver.
"""

from __future__ import annotations

from harness.lean_json import dumps
from harness.services.fake_http import Answer, chunk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.loop import Loop
    from harness.services.fake_connection import Connection
    from harness.services.fake_core import Listener
    from harness.services.fake_http import Request

_CHECKS = ("ping", "log", "etcd", "poststarthook/start-apiserver-admission-initializer")
_JSON = "application/json"
_MOST_BYTES = 16 << 20


class Master:
    """The endpoints; `config` may set `watch_interval_s` (1), and `git_version`."""

    def __init__(self, loop: Loop, node: str, config: dict[str, Any]) -> None:
        self._loop, self._node = loop, node
        self._git_version = config.get("git_version", "v1.33.0")
        self._watch_interval_ns = round(config.get("watch_interval_s", 1.0) * 1e9)
        self._watchers: set[Connection] = set()
        self._ticking = False
        self._revision = 1
        self._fixed = self._fixed_answers(shutting_down=False)

    def answer(self, request: Request, listener: Listener) -> Answer:
        """The answer to a request, the same on every listener."""
        if request.method not in ("GET", "HEAD", "OPTIONS", "POST"):
            return self._status(
                405, "MethodNotAllowed", "the server does not allow this method on the resource"
            )
        answer = self._fixed.get(request.path)
        if answer is not None and not request.query:
            return answer
        if request.asks("verbose"):
            answer = self._fixed.get(request.path + "?verbose", answer)
        elif request.path == "/echo":
            return Answer(self._node, 200, b"x" * _count(request.value("bytes")))
        elif request.path.startswith("/api/v1/"):
            if request.value("watch") in ("1", "true"):
                return Answer(self._node, 200, content_type=_JSON, stream=self._watch)
            items = {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}
            return self._json(200, items)
        return answer or self._status(404, "NotFound", "the server could not find the requested resource")

    def shutdown_begins(self) -> None:
        """Readiness fails from now on; the rest stays."""
        self._fixed = self._fixed_answers(shutting_down=True)

    def end_streams(self) -> None:
        """Close every watch in order, as with kube-apiserver's --shutdown-watch-termination-grace-period."""
        watchers, self._watchers = self._watchers, set()
        for connection in watchers:
            connection.end_stream(chunk(b""))

    # -- fixed answers -------------------------------------------------------------------------

    def _fixed_answers(self, *, shutting_down: bool) -> dict[str, Answer]:
        version = {
            "major": "1",
            "minor": self._git_version.split(".")[1],
            "gitVersion": self._git_version,
            "gitCommit": "0" * 40,
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "go1.24.2",
            "compiler": "gc",
            "platform": "linux/amd64",
            "node": self._node,
        }
        answers = {
            "/echo": Answer(self._node, 200, b"ok"),
            "/version": self._json(200, version),
        }
        answers |= self._health("livez", (*_CHECKS,), "")
        answers |= self._health("healthz", (*_CHECKS,), "")
        answers |= self._health("readyz", (*_CHECKS, "shutdown"), "shutdown" if shutting_down else "")
        answers["/"] = self._json(
            200, {"paths": ["/api", "/api/v1", *sorted(a for a in answers if "?" not in a)]}
        )
        return answers

    def _health(self, endpoint: str, checks: tuple[str, ...], failing: str) -> dict[str, Answer]:
        lines = [
            f"[-]{check} failed: reason withheld\n" if check == failing else f"[+]{check} ok\n"
            for check in checks
        ]
        verdict = "failed" if failing else "passed"
        verbose = Answer(
            self._node, 500 if failing else 200, "".join([*lines, f"{endpoint} check {verdict}\n"]).encode()
        )
        answers = {f"/{endpoint}": verbose if failing else Answer(self._node, 200, b"ok")}
        answers[f"/{endpoint}?verbose"] = verbose
        for check in checks:
            well = Answer(self._node, 200, b"ok")
            ill = Answer(self._node, 500, f"internal server error: {check} failed\n".encode())
            answers[f"/{endpoint}/{check}"] = ill if check == failing else well
        return answers

    def _json(self, status: int, value: object) -> Answer:
        return Answer(self._node, status, dumps(value).encode() + b"\n", _JSON)

    def _status(self, code: int, reason: str, message: str) -> Answer:
        """A `Status` object, the API's form of an error."""
        kind = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        return self._json(code, {**kind, "message": message, "reason": reason, "details": {}, "code": code})

    # -- watches -------------------------------------------------------------------------------

    def _watch(self, connection: Connection) -> None:
        self._watchers.add(connection)
        connection.push(self._event("ADDED"))
        if not self._ticking:
            self._ticking = True
            self._loop.at(self._loop.now + self._watch_interval_ns, self._tick)

    def _tick(self) -> None:
        self._watchers = {connection for connection in self._watchers if connection.fd >= 0}
        self._ticking = bool(self._watchers)
        if self._ticking:
            self._revision += 1
            event = self._event("MODIFIED")
            for connection in self._watchers:
                connection.push(event)
            self._loop.at(self._loop.now + self._watch_interval_ns, self._tick)

    def _event(self, change: str) -> bytes:
        metadata = {"name": self._node, "resourceVersion": str(self._revision)}
        body = {"type": change, "object": {"kind": "Namespace", "apiVersion": "v1", "metadata": metadata}}
        return chunk(dumps(body).encode() + b"\n")


def _count(text: str) -> int:
    return min(int(text), _MOST_BYTES) if text.isdigit() else 2
