"""A1's proxies: what they pass through, for whichever proxy was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.services import haproxy_config, nginx_config
from harness.services.haproxy import Haproxy
from harness.services.nginx import Nginx
from harness.services.proxy import HEALTH_ADDRESS, HEALTH_PATH, HEALTH_PORT, HttpCheck, Server, Service
from topologies.l7.plan import Plan

MASTERS_PORT = 6443
ROUTER_PORTS = {"ingress-https": 443, "ingress-http": 80}
ROUTER_HEALTH_PORT = 1936


def masters(vip: str, members: Mapping[str, str], plan: Plan) -> list[Service]:
    """The API: TLS passed through on 6443, health by `/readyz` over TLS."""
    return [
        Service(
            "api",
            MASTERS_PORT,
            _servers(members, MASTERS_PORT),
            address=vip if plan["bind"] == "vip" else "",
            http_check=HttpCheck(plan["check_path"] or "/readyz", tls=True),
        )
    ]


def routers(vip: str, members: Mapping[str, str], domain: str, plan: Plan) -> list[Service]:
    """The applications: TLS passed through by SNI on 443, plain HTTP on 80, health on 1936."""
    return [
        Service(
            name,
            port,
            _servers(members, port),
            address=vip if plan["bind"] == "vip" else "",
            server_names=(f"*.{domain}",) if port == 443 else (),
            http_check=HttpCheck(plan["check_path"] or "/healthz/ready", ROUTER_HEALTH_PORT),
        )
        for name, port in ROUTER_PORTS.items()
    ]


def _servers(members: Mapping[str, str], port: int) -> tuple[Server, ...]:
    return tuple(Server(name, f"{address}:{port}") for name, address in members.items())


def proxy(services: Sequence[Service], plan: Plan) -> Haproxy | Nginx:
    """The proxy that was chosen."""
    if plan["proxy"] == "nginx":
        passive = nginx_config.PassiveChecks(plan["max_fails"], plan["fail_timeout"], plan["server"])
        return Nginx(
            nginx_config.render(services, passive, balance=plan["balance"], connect_s=plan["connect_timeout"])
        )
    checks = haproxy_config.Checks(
        kind=plan.check,
        inter_s=plan["inter"],
        fall=plan["fall"],
        rise=plan["rise"],
        timeout_check_s=plan["timeout_check"],
        on_marked_down="" if plan["on_marked_down"] == "none" else plan["on_marked_down"],
        extra=plan["server"],
    )
    return Haproxy(
        haproxy_config.render(services, checks, balance=plan["balance"], connect_s=plan["connect_timeout"])
    )


SCRIPT = "/etc/keepalived/check-proxy"


def script(timeout_s: float) -> str:
    """Asks the proxy's own health page; bash alone, as it runs often and beside many others."""
    return f"""#!/bin/bash
# Does the proxy of this node answer at all? A dead one refuses, a hung one says nothing.
exec 3<>/dev/tcp/{HEALTH_ADDRESS}/{HEALTH_PORT} || exit 1
printf 'GET {HEALTH_PATH} HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3
read -r -t {timeout_s:g} _ status _ <&3 && [[ $status == 200 ]]
"""
