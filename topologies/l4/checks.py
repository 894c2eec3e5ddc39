"""A2's health checks: what keepalived asks of members, and the scripts that it can run instead."""

from __future__ import annotations

import hashlib

from harness.errors import UsageError
from harness.services.ipvs import Check
from topologies.l4.plan import Plan

MASTERS_PORT, ROUTER_HEALTH_PORT = 6443, 1936
SCRIPT = "/etc/keepalived/check-member"
WEIGHTS = "/etc/keepalived/weights"
# What both kinds of members answer on their health pages while they are well.
_WELL = b"ok"


def of_masters(plan: Plan) -> tuple[Check, ...]:
    """Masters are asked on the port of the traffic: a connection, or `/readyz` over TLS."""
    kind, timeout_s = plan.check("masters"), plan["connect_timeout"]
    if kind == "none":
        return ()
    if kind == "tcp":
        return (Check("TCP_CHECK", timeout_s),)
    if kind == "ssl":
        path = plan["check_path"] or "/readyz"
        return (
            Check("SSL_GET", timeout_s, path=path, digest=_digest(plan), fast_recovery=plan["fast_recovery"]),
        )
    return (_script(plan, plan["script"] or f"{SCRIPT} https /readyz"),)


def of_routers(plan: Plan, application: str) -> tuple[Check, ...]:
    """Routers are asked on their health port, or for an application by TLS, or for a connection only."""
    kind, timeout_s = plan.check("routers"), plan["connect_timeout"]
    if kind == "none":
        return ()
    if kind == "tcp":
        return (Check("TCP_CHECK", timeout_s),)
    if kind == "http":
        path, fast = plan["check_path"] or "/healthz/ready", plan["fast_recovery"]
        return (
            Check("HTTP_GET", timeout_s, ROUTER_HEALTH_PORT, path, digest=_digest(plan), fast_recovery=fast),
        )
    if kind == "ssl":
        if plan["digest"]:
            raise UsageError(
                "each router answers / in its own words, so no digest is that of all: leave it out"
            )
        path, fast = plan["check_path"] or "/", plan["fast_recovery"]
        return (Check("SSL_GET", timeout_s, 443, path, name=application, fast_recovery=fast),)
    return (_script(plan, plan["script"] or f"{SCRIPT} http /healthz/ready", ROUTER_HEALTH_PORT),)


def of_resolvers(plan: Plan) -> tuple[Check, ...]:
    """Resolvers are asked for a connection, as every DNS server takes them (RFC 7766 section 5)."""
    return () if plan.check("resolvers") == "none" else (Check("TCP_CHECK", plan["connect_timeout"]),)


def _digest(plan: Plan) -> str:
    """keepalived compares MD5 sums (keepalived.conf(5), `digest`)."""
    return hashlib.md5(_WELL, usedforsecurity=False).hexdigest() if plan["digest"] else ""


def _script(plan: Plan, command: str, port: int = 0) -> Check:
    return Check(
        "MISC_CHECK",
        port=port,
        script=command,
        script_timeout_s=plan["misc_timeout"],
        dynamic=plan["check"] == "misc-dynamic",
    )


def files(plan: Plan) -> dict[str, str]:
    """The script, where the check is one of ours."""
    if not plan["check"].startswith("misc") or plan["script"]:
        return {}
    patience_s = plan["misc_timeout"] or plan["delay_loop"]
    # A little less than keepalived's own time-out, so that the script can still tell.
    return {SCRIPT: _text(0.9 * patience_s)}


def _text(timeout_s: float) -> str:
    return f"""#!/bin/bash
# Usage: check-member SCHEME PATH ADDRESS PORT. Is the page there? A weight that is noted for the address
# becomes the exit status, plus 2: what misc_dynamic takes for the weight.
status=$(curl --silent --insecure --output /dev/null --write-out '%{{http_code}}' \\
    --max-time {timeout_s:g} "$1://$3:$4$2")
[[ $status == 200 ]] || exit 1
[[ -r {WEIGHTS}/$3 ]] && read -r weight <{WEIGHTS}/$3 && exit $((weight + 2))
exit 0
"""
