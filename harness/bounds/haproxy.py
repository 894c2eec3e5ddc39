"""HAProxy's health-check arithmetic: until a member is out of rotation, and until it is back.

HAProxy 3.0 check.c: the interval runs from the end of one check to the start of the next; `fall`
failures in a row mark the server DOWN, `rise` successes UP, with `fastinter` between them.
`spread-checks` varies every interval by so many percent either way.

Every wait is late, by a little that adds up: compute_poll_timeout (fd.c) asks epoll_wait(2) for one
millisecond more than what is left, and the kernel may wake who waits in it a thousandth of the wait later,
at most 0.1 s (fs/select.c, select_estimate_accuracy).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from harness.bounds.bound import Bound, number
from harness.configs.haproxy_server import Check

# How a member is ill, as far as a check can tell.
Illness = Literal["refused", "black-hole", "hang", "wrong-answer"]

_TICK_S, _SLACK, _MOST_SLACK_S = 0.001, 0.001, 0.1
_LATE = "each wait up to 1 ms and 0.1 % late (epoll_wait)"


def failing_check_s(check: Check, illness: Illness) -> tuple[float, float] | None:
    """How long one check of such a member takes to fail, at least and at most; None if it does not notice.

    A TLS handshake that does not come about is a connection that does not: the time for that counts.
    """
    if illness == "refused":
        return 0.0, 0.0
    connect_s, silence_s = check.connect_limit_ms / 1000, check.silence_limit_ms / 1000
    if illness == "black-hole":
        return connect_s, connect_s
    if check.kind == "connect" and not check.tls:
        return None
    if illness == "hang":
        return (min(connect_s, silence_s) if check.tls else silence_s), silence_s
    return 0.0, 0.0


def until_down(check: Check, illness: Illness, spread_percent: int = 0) -> Bound | None:
    """From the end of the last check that succeeded until HAProxy marks the server DOWN; None: never."""
    each = failing_check_s(check, illness)
    if each is None:
        return None
    least, most = each
    inter, fast = check.inter_ms / 1000, check.fastinter_ms / 1000
    spread, repeats = spread_percent / 100, check.fall - 1
    low = inter * (1 - spread) + least + repeats * (fast * (1 - spread) + least)
    high = _latest([inter * (1 + spread), most, *[fast * (1 + spread), most] * repeats])
    taken = number(least) if least == most else f"{number(least)} to {number(most)}"
    source = (
        f"inter {number(inter)} s, then fall {check.fall}: a check that fails takes {taken} s, "
        f"{repeats} more at fastinter {number(fast)} s{_spread(spread_percent)}; {_LATE}"
    )
    return Bound(low, high, "s", source)


def removal(check: Check, illness: Illness, spread_percent: int = 0) -> Bound | None:
    """From the moment a member falls ill until HAProxy sends it no new request; None: never.

    Earliest: a check starts in that moment.  Latest: one has just succeeded.
    """
    bound = until_down(check, illness, spread_percent)
    if bound is None:
        return None
    first_s = check.inter_ms / 1000 * (1 - spread_percent / 100)
    return Bound(max(bound.low - first_s, 0.0), bound.high, "s", bound.source)


def until_up(check: Check, illness: Illness, spread_percent: int = 0) -> Bound | None:
    """From the start of the last check that fails until the server is UP, if answers come at once."""
    each = failing_check_s(check, illness)
    if each is None:
        return None
    least, most = each
    down, fast = check.downinter_ms / 1000, check.fastinter_ms / 1000
    spread, repeats = spread_percent / 100, check.rise - 1
    source = (
        f"a check under way may fail for {number(most)} s, then downinter {number(down)} s and rise "
        f"{check.rise}: {repeats} more at fastinter {number(fast)} s{_spread(spread_percent)}; {_LATE}"
    )
    low = least + (down + repeats * fast) * (1 - spread)
    high = _latest([most, down * (1 + spread), *[fast * (1 + spread)] * repeats])
    return Bound(low, high, "s", source)


def return_to_service(check: Check, illness: Illness, spread_percent: int = 0) -> Bound | None:
    """From the moment a member that is DOWN is well again until HAProxy sends it requests.

    Earliest: a check starts in that moment.  Latest: one that will fail has just started.
    """
    bound = until_up(check, illness, spread_percent)
    if bound is None:
        return None
    low = (check.rise - 1) * check.fastinter_ms / 1000 * (1 - spread_percent / 100)
    return Bound(low, bound.high, "s", bound.source)


def _latest(waits_s: Iterable[float]) -> float:
    """The sum of several waits, each of them as late as it may be."""
    waits = [wait_s for wait_s in waits_s if wait_s]
    return sum(wait_s + _TICK_S + min((wait_s + _TICK_S) * _SLACK, _MOST_SLACK_S) for wait_s in waits)


def _spread(percent: int) -> str:
    return f", each ± {percent} % (spread-checks)" if percent else ""
