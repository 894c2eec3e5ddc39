"""haproxy.cfg from typed parameters; terms and defaults as in its configuration manual, 4.2 and 5.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.services.haproxy import SOCKET
from harness.services.proxy import HEALTH_ADDRESS, HEALTH_PATH, HEALTH_PORT, HttpCheck, Service

Kind = Literal["http", "tcp", "none"]


@dataclass(frozen=True)
class Checks:
    """How members are checked; times in seconds, 0 where HAProxy's own default is to hold.

    `on_marked_down` is an action (`shutdown-sessions`) or ""; `extra` are more words of every server line.
    """

    kind: Kind = "http"
    inter_s: float = 1.0
    fall: int = 2
    rise: int = 2
    fastinter_s: float = 0
    downinter_s: float = 0
    timeout_check_s: float = 0
    on_marked_down: str = ""
    extra: str = ""

    def words(self, check: HttpCheck | None) -> str:
        """The words of a server line."""
        words = [self.extra] if self.extra else []
        if self.kind == "none":
            return " ".join(words)
        options = ["check"]
        if self.kind == "http" and check is not None:
            if check.port:
                options += ["port", str(check.port)]
            if check.tls:
                options += ["check-ssl", "verify", "none"]
        options += ["inter", duration(self.inter_s)]
        if self.fastinter_s:
            options += ["fastinter", duration(self.fastinter_s)]
        if self.downinter_s:
            options += ["downinter", duration(self.downinter_s)]
        options += ["fall", str(self.fall), "rise", str(self.rise)]
        if self.on_marked_down:
            options += ["on-marked-down", self.on_marked_down]
        return " ".join([*options, *words])


def duration(seconds: float) -> str:
    """A time as HAProxy writes it: `1s`, `250ms`."""
    ms = round(seconds * 1000)
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"


def render(
    services: Sequence[Service],
    checks: Checks,
    *,
    balance: str = "roundrobin",
    connect_s: float = 1.0,
    idle_s: float = 30.0,
) -> str:
    """A whole haproxy.cfg; HAProxy itself answers a health check at 127.0.0.1:8404 `/healthz`."""
    lines = [
        "global",
        f"    stats socket {SOCKET} level admin expose-fd listeners",
        "    log stdout format raw local0 notice",
        "    maxconn 4000",
        "defaults",
        "    mode tcp",
        "    log global",
        f"    timeout connect {duration(connect_s)}",
        f"    timeout client {duration(idle_s)}",
        f"    timeout server {duration(idle_s)}",
    ]
    if checks.timeout_check_s:
        lines.append(f"    timeout check {duration(checks.timeout_check_s)}")
    lines += [
        "frontend health",
        f"    bind {HEALTH_ADDRESS}:{HEALTH_PORT}",
        "    mode http",
        f"    monitor-uri {HEALTH_PATH}",
    ]
    for service in services:
        lines += [*_frontend(service), *_backend(service, checks, balance)]
    return "\n".join(lines) + "\n"


def _frontend(service: Service) -> list[str]:
    lines = [f"frontend {service.name}", f"    bind {service.address or '*'}:{service.port}"]
    if service.server_names:
        # The name is known only once the ClientHello is there; content rules are what waits for it.
        lines += [
            "    tcp-request inspect-delay 5s",
            *(f"    acl known_name req.ssl_sni {_matching(name)}" for name in service.server_names),
            "    tcp-request content accept if { req.ssl_hello_type 1 } known_name",
            "    tcp-request content reject if { req.ssl_hello_type 1 }",
            "    tcp-request content reject if WAIT_END",
        ]
    return [*lines, f"    default_backend {service.name}-members"]


def _matching(name: str) -> str:
    return f"-i -m end {name[1:]}" if name.startswith("*.") else f"-i -m str {name}"


def _backend(service: Service, checks: Checks, balance: str) -> list[str]:
    lines = [f"backend {service.name}-members", f"    balance {balance}"]
    check = service.http_check
    if checks.kind == "http" and check is not None:
        lines += [
            "    option httpchk",
            f"    http-check send meth GET uri {check.path}",
            "    http-check expect status 200",
        ]
    words = checks.words(check)
    return lines + [f"    server {s.name} {s.address} {words}".rstrip() for s in service.servers]
