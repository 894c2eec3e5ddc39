"""HAProxy's health-check arithmetic: until a member is out of rotation, and until it is back.

HAProxy 3.0 check.c: the interval runs from the end of one check to the start of the next; `fall`
failures in a row mark the server DOWN, `rise` successes UP, with `fastinter` between them.
`spread-checks` varies every interval by so many percent either way.
"""

from __future__ import annotations

from typing import Literal

from harness.bounds.bound import Bound, number
from harness.configs.haproxy_server import Check

# How a member is ill, as far as a check can tell.
Illness = Literal["refused", "black-hole", "hang", "wrong-answer"]


def failing_check_s(check: Check, illness: Illness) -> float | None:
    """How long one check of such a member takes to fail; None if the check does not notice at all."""
    if illness == "refused":
        return 0.0
    if illness == "black-hole":
        return check.connect_limit_ms / 1000
    if check.kind == "connect" and not check.tls:
        return None
    return check.silence_limit_ms / 1000 if illness == "hang" else 0.0


def removal(check: Check, illness: Illness, spread_percent: int = 0) -> Bound | None:
    """From the moment a member falls ill until HAProxy sends it no new request; None: never.

    Earliest: a check starts in that moment.  Latest: one has just succeeded.
    """
    each = failing_check_s(check, illness)
    if each is None:
        return None
    inter, fast = check.inter_ms / 1000, check.fastinter_ms / 1000
    spread = spread_percent / 100
    repeats = check.fall - 1
    low = each + repeats * (fast * (1 - spread) + each)
    high = inter * (1 + spread) + each + repeats * (fast * (1 + spread) + each)
    source = (
        f"inter {number(inter)} s, then fall {check.fall}: a check that fails takes {number(each)} s, "
        f"{repeats} more at fastinter {number(fast)} s{_spread(spread_percent)}"
    )
    return Bound(low, high, "s", source)


def return_to_service(check: Check, illness: Illness, spread_percent: int = 0) -> Bound | None:
    """From the moment a member that is DOWN is well again until HAProxy sends it requests."""
    each = failing_check_s(check, illness)
    if each is None:
        return None
    down, fast = check.downinter_ms / 1000, check.fastinter_ms / 1000
    spread = spread_percent / 100
    repeats = check.rise - 1
    low = repeats * fast * (1 - spread)
    high = each + down * (1 + spread) + repeats * fast * (1 + spread)
    source = (
        f"a check under way may fail for {number(each)} s, then downinter {number(down)} s and rise "
        f"{check.rise}: {repeats} more at fastinter {number(fast)} s{_spread(spread_percent)}"
    )
    return Bound(low, high, "s", source)


def _spread(percent: int) -> str:
    return f", each ± {percent} % (spread-checks)" if percent else ""
