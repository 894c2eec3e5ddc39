"""What a fake router answers: an OpenShift router as load balancers, health checks and clients see it.

Applications are told apart by the host that is asked for; a host without an application gets 503.  The
health endpoints are on a port of their own, with the checks that pkg/router/metrics/health.go of
openshift/router has: once shutdown has begun `/healthz/ready` fails its `process-running` check, while
`/healthz` stays well and traffic is served on.
"""

from __future__ import annotations

from harness.services.fake_http import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.loop import Loop
    from harness.services.fake_core import Listener
    from harness.services.fake_http import Request

_LIVE_CHECKS = ("controller", "backend-http")
_READY_CHECKS = ("backend-http", "has-synced", "process-running")
_OWN_HEALTH = "/_______internal_router_healthz"
_UNAVAILABLE = b"<html><body><h1>Application is not available</h1></body></html>\n"
_MOST_BYTES = 16 << 20


class Router:
    """The endpoints; `config["hosts"]` maps each application's host to "allow" or "redirect".

    That is its insecureEdgeTerminationPolicy: what a listener without TLS does.
    """

    def __init__(self, loop: Loop, node: str, config: dict[str, Any]) -> None:
        self._node = node
        self._ready = True
        hosts: dict[str, str] = config["hosts"]
        self._policies = hosts
        self._applications = {host: self._text(200, f"{host} by {node}\n") for host in hosts}
        self._unavailable = Answer(node, 503, _UNAVAILABLE, "text/html")
        self._well = self._text(200, "ok")

    def answer(self, request: Request, listener: Listener) -> Answer:
        """The answer to a request; a listener for the purpose `health` knows nothing of applications."""
        if listener.purpose == "health":
            return self._health(request)
        if request.path == _OWN_HEALTH:
            return self._well
        host = request.host.lower()
        application = self._applications.get(host)
        if application is None:
            return self._unavailable
        if listener.own_context is None and self._policies[host] == "redirect":
            return Answer(self._node, 302, headers=f"Location: https://{host}{request.target}\r\n")
        if request.path == "/echo":
            count = request.value("bytes")
            return Answer(self._node, 200, b"x" * min(int(count) if count.isdigit() else 2, _MOST_BYTES))
        return application

    def shutdown_begins(self) -> None:
        """Readiness fails from now on; the rest stays."""
        self._ready = False

    def end_streams(self) -> None:
        """There are none."""

    def _health(self, request: Request) -> Answer:
        if request.path == "/healthz":
            return self._checks(request, _LIVE_CHECKS, "")
        if request.path == "/healthz/ready":
            return self._checks(request, _READY_CHECKS, "" if self._ready else "process-running")
        return self._text(404, "404 page not found\n")

    def _checks(self, request: Request, checks: tuple[str, ...], failing: str) -> Answer:
        if not failing and not request.asks("verbose"):
            return self._well
        lines = [
            f"[-]{check} failed: reason withheld\n" if check == failing else f"[+]{check} ok\n"
            for check in checks
        ]
        verdict = "healthz check failed\n" if failing else "healthz check passed\n"
        return self._text(500 if failing else 200, "".join(lines) + verdict)

    def _text(self, status: int, text: str) -> Answer:
        return Answer(self._node, status, text.encode())
