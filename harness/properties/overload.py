"""Attempts that a testbed may have lost by itself, because its processes woke too late to serve anybody."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.bounds.bound import number
from harness.properties.facts import SECOND_NS, Facts
from harness.timeline import Event

# Processes that must wake one after the other for one attempt over TLS 1.3 (RFC 8446 section 2): proxy,
# client, proxy, member, proxy, client, proxy, member, proxy, client.
_WAKINGS = 10


def overloaded(facts: Facts, attempts: Sequence[Event], from_ns: int, until_ns: int) -> str:
    """Why an attempt could time out in a window without anybody's fault, or nothing.

    Lateness adds up over the wakings of one attempt, so a share of the clients' time-out is enough.
    """
    limits = [(a.end - a.t) / 1e9 for a in attempts if a.result == "timeout"]
    if not limits:
        return ""
    lag, limit = facts.lag_s(from_ns, until_ns), median(limits)
    if lag * _WAKINGS < limit:
        return ""
    allowed = f"{_WAKINGS} times in an attempt that may take {number(limit)} s"
    return f"the testbed woke up to {number(lag)} s late, and wakes {allowed}"


def excuse(facts: Facts, lost: Sequence[Event]) -> str:
    """Why each of these lost attempts may be the testbed's own fault, or nothing if one cannot be."""
    reasons = [overloaded(facts, [a], a.t - SECOND_NS, a.end) if a.result == "timeout" else "" for a in lost]
    return reasons[0] if reasons and all(reasons) else ""
