"""Attempts that a testbed may have lost by itself, because its processes woke too late to serve anybody."""

from __future__ import annotations

from collections.abc import Sequence

from harness.bounds.bound import number
from harness.observe.lateness import LAG_TOLD_NS, NETWORK_LOCK, STALE
from harness.properties.facts import Facts
from harness.timeline import Event

# Processes that must wake one after the other for one attempt over TLS 1.3 (RFC 8446 section 2): proxy,
# client, proxy, member, proxy, client, proxy, member, proxy, client.  Each may be late by what is not told.
_WAKINGS = 10


def overloaded(facts: Facts, attempts: Sequence[Event]) -> str:
    """Why one of these attempts could time out without anybody's fault, or nothing.

    Lateness adds up over the wakings of one attempt: the client's, the proxies' and the members' whole
    lateness meanwhile is held against its time-out.
    """
    for attempt in attempts:
        if attempt.get("detail") == STALE:
            return f"{attempt.client}'s attempts were {STALE}"
        if attempt.result == "timeout" and (reason := _overloaded(facts, attempt)):
            return reason
    return ""


def excuse(facts: Facts, lost: Sequence[Event]) -> str:
    """Why each of these lost attempts may be the testbed's own fault, or nothing if one cannot be."""
    reasons = [overloaded(facts, [attempt]) for attempt in lost]
    return reasons[0] if reasons and all(reasons) else ""


def _overloaded(facts: Facts, attempt: Event) -> str:
    late_ns = sum(
        lag.lag_ns for lag in facts.lags_within(attempt.t, attempt.end) if _serves(lag.source, attempt.client)
    )
    limit_ns = attempt.end - attempt.t
    if late_ns + _WAKINGS * LAG_TOLD_NS < limit_ns:
        return ""
    return (
        f"the testbed was late by {number(late_ns / 1e9)} s in all "
        f"while an attempt could take {number(limit_ns / 1e9)} s"
    )


def _serves(source: str, client: str) -> bool:
    """Whether an attempt waits for what was late: not for the witness, the balancers' VRRP, other clients.

    Nor for the lock on addresses and links: connections need none of those changed.
    """
    if source.startswith("probe:"):
        return source == f"probe:{client}"
    return source not in ("observer", NETWORK_LOCK) and not source.endswith("/keepalived")
