"""keepalived's checker arithmetic: until a real server is out of the IPVS table, and until it is back.

keepalived 2.3.3's check_tcp.c, check_http.c and check_misc.c.  The next check of TCP_CHECK, HTTP_GET
and SSL_GET is counted from the end of the last one, that of MISC_CHECK from its start.  A check that
fails while the server is up is repeated `retry` times, each `delay_before_retry` after the last.  A
server that is down is checked every `delay_loop`, HTTP_GET and SSL_GET no sooner than
`delay_before_retry`; one good answer brings it back, but HTTP_GET and SSL_GET ask all their pages anew
after it, `delay_loop` apart, unless `fast_recovery` is set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.bounds.bound import Bound, number
from harness.bounds.haproxy import Illness
from harness.configs.ipvs_model import Checker, VirtualServer

# A neighbour that does not answer ARP is given up after mcast_solicit 3 questions, retrans_time 1 s apart
# (arp(7)); who connects then is told at once that it is unreachable.
UNREACHABLE_S = 3.0
# check_api.c, register_checkers_thread: BOOTSTRAP_DELAY is a second, then a share of warmup at random.
BOOTSTRAP_S = 1.0


@dataclass(frozen=True)
class Noticing:
    """A checker that meets an illness; `pages` is how many of its pages are asked until an ill one is."""

    checker: Checker
    illness: Illness
    pages: int = 1

    def __str__(self) -> str:
        return self.checker.keyword


def failing_check_s(checker: Checker, illness: Illness) -> tuple[float, float] | None:
    """How long one check of such a server takes to fail, at least and at most; None if it does not notice.

    How long a script takes is its own affair, up to its time-out.
    """
    if checker.kind == "misc":
        return 0.0, checker.script_timeout_us / 1e6
    connect_s = checker.connect_timeout_us / 1e6
    if checker.kind == "other":
        return None
    if illness == "refused":
        return 0.0, 0.0
    if illness == "black-hole":
        return min(connect_s, UNREACHABLE_S), connect_s
    if checker.kind == "tcp":
        return None
    # connect_timeout limits each step of a check alike: the connection, the handshake, the answer, whether
    # that is a good or a bad one.
    return (connect_s, connect_s) if illness == "hang" else (0.0, connect_s)


def until_out(noticing: Noticing) -> Bound | None:
    """From the end of the last check that succeeded until keepalived takes the server out; None: never.

    Of MISC_CHECK, from its start.
    """
    checker = noticing.checker
    each = failing_check_s(checker, noticing.illness)
    if each is None:
        return None
    least, most = each
    loop, again, retries = _s(checker.delay_loop_us), _s(checker.delay_before_retry_us), checker.retry
    if checker.kind == "misc":
        low = loop + least + retries * max(again, least)
        high = loop + most + retries * max(again, most)
    else:
        low = loop + least + retries * (again + least)
        high = noticing.pages * loop + most + retries * (again + most)
    pages = f" for each of {noticing.pages} pages" if noticing.pages > 1 else ""
    since = "from the start of" if checker.kind == "misc" else "after"
    source = (
        f"{checker.keyword}: delay_loop {number(loop)} s{pages}, a check that fails takes "
        f"{_span(least, most)} s, retry {retries}, each {number(again)} s {since} the last"
    )
    return Bound(low, high, "s", source)


def removal(noticing: Noticing) -> Bound | None:
    """From the moment a real server falls ill until keepalived takes it out; None: never.

    Earliest: a check starts in that moment; or one that is under way, and has waited for an answer as long
    as it may, gets none (the client side of TLS waits for a delayed acknowledgement in every one).
    Latest: one has just succeeded.
    """
    bound, checker = until_out(noticing), noticing.checker
    each = failing_check_s(checker, noticing.illness)
    if bound is None or each is None:
        return None
    low = bound.low - _s(checker.delay_loop_us)
    if checker.kind == "misc":
        # A run that had begun before, as long ago as a run may take, meets the illness as well.
        low -= each[1]
    elif checker.kind in ("http", "ssl"):
        low -= each[0]
    return Bound(max(low, 0.0), bound.high, "s", bound.source)


def until_in(noticing: Noticing) -> Bound | None:
    """From the start of the last check that fails until keepalived takes the server back.

    Earliest: every answer comes at once.  Of MISC_CHECK that is its own affair, so nothing is promised then.
    """
    checker = noticing.checker
    each = failing_check_s(checker, noticing.illness)
    if each is None:
        return None
    loop, (least, most) = _s(checker.delay_loop_us), each
    under_way = f"a check under way may fail for {number(most)} s"
    if checker.kind == "misc":
        high = max(loop, most) + most
        source = f"MISC_CHECK: {under_way}, then delay_loop {number(loop)} s from its start, and a good run"
        return Bound(0.0, high, "s", source)
    if checker.kind == "tcp":
        answer = _s(checker.connect_timeout_us)
        then = f"then delay_loop {number(loop)} s, and a connection within {number(answer)} s"
        return Bound(least + loop, most + loop + answer, "s", f"TCP_CHECK: {under_way}, {then}")
    wait = max(loop, _s(checker.delay_before_retry_us))
    rounds = _rounds_s(checker)
    # A good answer may take as long as a check may wait for it: the first one, and one for each page.
    answers = (1 + len(checker.urls)) * _s(checker.connect_timeout_us)
    source = (
        f"{checker.keyword}: {under_way}, then the longer of delay_loop and delay_before_retry, "
        f"{number(wait)} s; after a good answer each of {len(checker.urls)} pages anew, "
        f"{'at once (fast_recovery)' if checker.fast_recovery else f'delay_loop {number(loop)} s apart'}, "
        f"every answer within connect_timeout {number(_s(checker.connect_timeout_us))} s"
    )
    return Bound(least + wait + rounds, most + wait + rounds + answers, "s", source)


def _rounds_s(checker: Checker) -> float:
    """How long the pages are asked anew after a first good answer."""
    asks = checker.kind not in ("misc", "tcp") and not checker.fast_recovery
    return len(checker.urls) * _s(checker.delay_loop_us) if asks else 0.0


def return_to_service(noticing: Noticing) -> Bound | None:
    """From the moment a real server that is out is well again until keepalived takes it back.

    Earliest: a check starts in that moment.  Latest: one that will fail has just started.
    """
    bound = until_in(noticing)
    return None if bound is None else Bound(_rounds_s(noticing.checker), bound.high, "s", bound.source)


def removal_by(noticing: list[Noticing]) -> Bound | None:
    """The removal by whichever checker notices first: one that fails is enough."""
    return _one_of(min, map(removal, noticing))


def return_after(noticing: list[Noticing]) -> Bound | None:
    """The return once all checkers are content again."""
    return _one_of(max, map(return_to_service, noticing))


def out_at_start(noticing: Noticing) -> Bound | None:
    """From keepalived's start until a real server that is ill then is out of the table; None: never.

    Without `alpha` it is taken for well, but its first failure is enough (check_data.c,
    validate_check_config: retry_it begins at retry).
    """
    checker = noticing.checker
    each = failing_check_s(checker, noticing.illness)
    if each is None:
        return None
    warmup, pages = _s(checker.warmup_us), (noticing.pages - 1) * _s(checker.delay_loop_us)
    least, most = each
    source = (
        f"{checker.keyword}: the first check {number(BOOTSTRAP_S)} s after the start, and up to warmup "
        f"{number(warmup)} s later; it takes {_span(least, most)} s to fail, and is not repeated"
    )
    return Bound(BOOTSTRAP_S + least, BOOTSTRAP_S + warmup + pages + most, "s", source)


def out_at_start_by(noticing: list[Noticing]) -> Bound | None:
    """The same by whichever checker notices first."""
    return _one_of(min, map(out_at_start, noticing))


def let_in_at_start(checkers: Iterable[Checker]) -> Bound:
    """From keepalived's start until a real server that is well is in the table.

    ipwrapper.c, init_service_rs: without a check, so before the first of them, unless one of its checkers
    has `alpha` and so counts as failed.
    """
    bound = _one_of(max, (_first_good(checker) for checker in checkers if checker.alpha))
    if bound is not None:
        return bound
    why = f"without alpha every real server is in before its first check, {number(BOOTSTRAP_S)} s later"
    return Bound(0.0, BOOTSTRAP_S, "s", why)


def _first_good(checker: Checker) -> Bound:
    """Until a checker with `alpha` is content with a server that is well: one good check is enough."""
    warmup, between = _s(checker.warmup_us), 0.0
    if checker.kind == "misc":
        answers, words = checker.script_timeout_us / 1e6, "a run within misc_timeout"
    else:
        pages = max(len(checker.urls), 1)
        between = (pages - 1) * _s(checker.delay_loop_us)
        answers = pages * _s(checker.connect_timeout_us)
        words = f"an answer within connect_timeout {number(_s(checker.connect_timeout_us))} s"
    source = (
        f"{checker.keyword}, alpha: the first check {number(BOOTSTRAP_S)} s after the start, and up to "
        f"warmup {number(warmup)} s later; {words}"
    )
    return Bound(BOOTSTRAP_S + between, BOOTSTRAP_S + warmup + between + answers, "s", source)


def has_quorum(server: VirtualServer, weight: int, *, had: bool) -> bool:
    """Whether a virtual server has quorum with this sum of weights, given whether it had it before.

    ipwrapper.c, update_quorum_state: it is lost below `quorum - hysteresis`, and with no weight at all;
    it is gained at `quorum + hysteresis`.
    """
    if had:
        return weight > 0 and weight >= server.quorum - server.hysteresis
    return weight >= server.quorum + server.hysteresis


def _one_of(which: Callable[[Iterable[float]], float], promised: Iterable[Bound | None]) -> Bound | None:
    """The bound of whichever comes first (`min`) or last (`max`) of what is promised; None if nothing is."""
    bounds = [bound for bound in promised if bound is not None]
    if not bounds:
        return None
    low, high = which(b.low for b in bounds), which(b.high for b in bounds)
    return Bound(low, high, "s", " / ".join(dict.fromkeys(b.source for b in bounds)))


def _s(microseconds: int) -> float:
    return microseconds / 1e6


def _span(low: float, high: float) -> str:
    return number(low) if low == high else f"{number(low)} to {number(high)}"
