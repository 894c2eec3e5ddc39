"""nginx.conf for a stream proxy from typed parameters.

Open-source Nginx has passive checks only: a member is left out for `fail_timeout` after `max_fails`
failures, and in the stream module only the establishment of a connection can fail
(nginx.org/en/docs/stream/ngx_stream_upstream_module.html).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.services.proxy import HEALTH_ADDRESS, HEALTH_PATH, HEALTH_PORT, Server, Service

# What a user of HAProxy calls the way of balancing, in Nginx's words.
BALANCE = {"roundrobin": "", "leastconn": "least_conn;", "source": "hash $remote_addr consistent;"}


@dataclass(frozen=True)
class PassiveChecks:
    """When a member is left out (in whole seconds); `extra` are more words of every server line."""

    max_fails: int = 1
    fail_timeout_s: int = 10
    extra: str = ""

    def words(self) -> str:
        """The words of a server line."""
        return f"max_fails={self.max_fails} fail_timeout={self.fail_timeout_s}s {self.extra}".strip()


def _time(seconds: float) -> str:
    ms = round(seconds * 1000)
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms}ms"


def render(
    services: Sequence[Service],
    checks: PassiveChecks,
    *,
    balance: str = "roundrobin",
    connect_s: float = 1.0,
    idle_s: float = 30.0,
) -> str:
    """A whole nginx.conf; Nginx itself answers a health check at 127.0.0.1:8404 `/healthz`."""
    lines = [
        # Where an ordinary user runs the testbed, its nodes may have no other user than root.
        "user root;",
        "worker_processes 1;",
        "worker_rlimit_nofile 8192;",
        "worker_shutdown_timeout 5s;",
        "pid /run/nginx.pid;",
        "load_module modules/ngx_stream_module.so;",
        "events {",
        "    worker_connections 4096;",
        "}",
        "http {",
        "    access_log off;",
        "    server {",
        f"        listen {HEALTH_ADDRESS}:{HEALTH_PORT};",
        f"        location = {HEALTH_PATH} {{",
        '            return 200 "ok\\n";',
        "        }",
        "    }",
        "}",
        "stream {",
        f"    proxy_connect_timeout {_time(connect_s)};",
        f"    proxy_timeout {_time(idle_s)};",
    ]
    for service in services:
        lines += ["    " + line for line in _stream(service, checks, balance)]
    return "\n".join([*lines, "}"]) + "\n"


def _stream(service: Service, checks: PassiveChecks, balance: str) -> list[str]:
    upstream = service.name
    chosen = [BALANCE[balance]] if BALANCE[balance] else []
    servers = [_server(server, checks) for server in service.servers]
    lines = [f"upstream {upstream} {{", *(f"    {line}" for line in [*chosen, *servers]), "}"]
    target, wait = upstream, []
    if service.server_names:
        target = f"${upstream.replace('-', '_')}_by_name"
        names = [f"    {name} {upstream};" for name in service.server_names]
        # Of any other name the target is empty, and Nginx closes the connection.
        lines += [
            f"map $ssl_preread_server_name {target} {{",
            "    hostnames;",
            *names,
            '    default "";',
            "}",
        ]
        wait = ["    ssl_preread on;", "    preread_timeout 5s;"]
    at = f"{service.address}:{service.port}" if service.address else str(service.port)
    return [*lines, "server {", f"    listen {at};", *wait, f"    proxy_pass {target};", "}"]


def _server(server: Server, checks: PassiveChecks) -> str:
    return f"server {server.address} {checks.words()};  # {server.name}"
