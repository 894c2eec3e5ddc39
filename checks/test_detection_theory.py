"""What HAProxy and keepalived make of their checks' timers, to a millisecond: in virtual time nobody is late.

`VIPDRILL_THEORY=whole` drills every combination instead of a sample.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pytest

from checks.detection import ADDRESS, HEALTH_PATH, Pairs, Turn, pairs, port_of
from harness.bounds import checkers, haproxy
from harness.bounds.bound import Bound
from harness.bounds.checkers import Noticing
from harness.bounds.haproxy import Illness
from harness.configs.haproxy import read_haproxy
from harness.configs.keepalived import read_keepalived
from harness.services import haproxy_config, keepalived
from harness.services.haproxy import Haproxy
from harness.services.ipvs import Check, RealServer, Timing, VirtualServer
from harness.services.proxy import HttpCheck, Server, Service
from harness.testbed import Testbed
from harness.virtual import library

EXACT_S = 0.001
WHOLE = os.environ.get("VIPDRILL_THEORY") == "whole"
TURNS = 3 if WHOLE else 2
_PAIRS_AT_A_TIME = 8
_CONNECT_S = 0.7

pytestmark = [
    pytest.mark.virtual_time,
    pytest.mark.skipif(library.lacks() is not None, reason=str(library.lacks())),
]

NewTestbed = Callable[..., Testbed]
MET: dict[str, Illness] = {
    "backend-refuse": "refused",
    "backend-blackhole": "black-hole",
    "backend-hang": "hang",
    "backend-hang,stage=accept": "hang",
    "backend-status": "wrong-answer",
}


@dataclass(frozen=True)
class Theory:
    """What is promised of one pair: from its last good check to the removal, from its last bad to the return.

    The checks that the return takes are promised to take no time.
    """

    out: Bound
    back: Bound

    def missed_s(self, turn: Turn) -> tuple[float, float]:
        """How far a turn is outside of either."""
        return abs(self.out.excess(turn.out_s)), abs(self.back.excess(turn.back_s - turn.answers_s))


def must_agree(cases: Sequence[object], theories: Sequence[Theory], found: list[list[Turn]]) -> None:
    """Every turn of every pair is within a millisecond of its theory."""
    for case, theory, turns in zip(cases, theories, found, strict=True):
        assert turns, f"{case} was never struck between two checks"
        for turn in turns:
            print(case, turn, "missed by {:.6f} and {:.6f} s".format(*theory.missed_s(turn)))
            assert max(theory.missed_s(turn)) <= EXACT_S, (case, turn, str(theory.out), str(theory.back))


def at_a_time(cases: list[object]) -> list[list[object]]:
    """So many cases as one guest drills side by side."""
    return [cases[n : n + _PAIRS_AT_A_TIME] for n in range(0, len(cases), _PAIRS_AT_A_TIME)]


# -- HAProxy ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """A server line of HAProxy and how the server falls ill; times in seconds, 0 is HAProxy's default."""

    illness: str
    inter: float
    fall: int
    fastinter: float = 0
    downinter: float = 0
    rise: int = 2
    timeout_check: float = 0
    tls: bool = False

    def text(self, number: int) -> str:
        """The haproxy.cfg."""
        server = Server("m", f"{ADDRESS}:{port_of(number)}")
        service = Service("s", 80, (server,), http_check=HttpCheck(HEALTH_PATH, tls=self.tls))
        how = haproxy_config.Checks(
            "http", self.inter, self.fall, self.rise, self.fastinter, self.downinter, self.timeout_check
        )
        return haproxy_config.render((service,), how, connect_s=_CONNECT_S)

    def theory(self) -> Theory:
        """What HAProxy's arithmetic makes of that text."""
        check = read_haproxy(self.text(0)).servers[0].check
        assert check is not None
        out, back = haproxy.until_down(check, MET[self.illness]), haproxy.until_up(check, MET[self.illness])
        assert out is not None
        assert back is not None
        return Theory(out, back)


HAPROXY_SAMPLE = [
    Checked("backend-refuse", 1.0, 3),
    Checked("backend-refuse", 2.0, 2, fastinter=0.25, downinter=0.5),
    Checked("backend-blackhole", 1.0, 2, timeout_check=0.5),
    # The connection may take 0.7 s, so the shorter `timeout check` has no effect, and the longer one has.
    Checked("backend-hang", 2.0, 2, fastinter=0.5, timeout_check=0.4),
    Checked("backend-hang", 1.0, 2, rise=1, timeout_check=0.9),
    Checked("backend-hang,stage=accept", 1.0, 2, timeout_check=0.9, tls=True),
    Checked("backend-status", 0.5, 5, fastinter=0.1, downinter=0.3, rise=3),
]


def haproxy_whole() -> Iterator[Checked]:
    """Every combination: 216 pairs."""
    for inter, fall, (fast, down), (illness, timeouts) in product(
        (0.5, 1.0, 2.0),
        (1, 2, 3, 5),
        ((0, 0), (0.25, 0.4)),
        (
            ("backend-refuse", (0.0,)),
            ("backend-blackhole", (0.4, 0.9)),
            ("backend-hang", (0.0, 0.4, 0.9)),
            ("backend-hang,stage=accept", (0.4, 0.9)),
            ("backend-status", (0.0,)),
        ),
    ):
        for timeout in timeouts:
            yield Checked(illness, inter, fall, fast, down, fall, timeout, tls="accept" in illness)


@pytest.mark.parametrize("cases", at_a_time(list(haproxy_whole()) if WHOLE else list(HAPROXY_SAMPLE)))
def test_haproxy_takes_what_its_arithmetic_says(
    new_testbed: NewTestbed, vipdrill_seed: int, cases: list[Checked]
) -> None:
    """`inter`, `fall`, `rise`, `fastinter`, `downinter`, `timeout check` against check.c, at several phases.

    Each wait of HAProxy is a millisecond and a thousandth late at the most (harness/bounds/haproxy.py), and
    beyond that nothing is.
    """
    services = [Haproxy(case.text(number)) for number, case in enumerate(cases)]
    testbed = new_testbed(pairs(services, [case.tls for case in cases]))
    found = Pairs(testbed, "is DOWN", "is UP").drill([case.illness for case in cases], TURNS, vipdrill_seed)
    must_agree(cases, [case.theory() for case in cases], found)
    # Theory that fits anything would say nothing.
    for case, turns in zip(cases, found, strict=True):
        other = replace(
            case, inter=case.inter + 0.03, downinter=(case.downinter or case.inter) + 0.03
        ).theory()
        assert all(min(other.missed_s(turn)) > EXACT_S for turn in turns)


# -- keepalived ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checker(keepalived.Keepalived):
    """keepalived that checks real servers and speaks no VRRP."""

    ready_line = r"(?i)Activating healthchecker"


@dataclass(frozen=True)
class Watched:
    """A real server of keepalived and how it falls ill; times in seconds."""

    kind: str
    illness: str
    delay_loop: float
    retry: int
    delay_before_retry: float
    connect_timeout: float = 0.7
    fast_recovery: bool = False

    @property
    def tls(self) -> bool:
        """Whether its server speaks TLS."""
        return self.kind == "SSL_GET"

    def text(self, number: int) -> str:
        """The keepalived.conf."""
        check = Check(
            self.kind,  # type: ignore[arg-type]
            self.connect_timeout,
            path=HEALTH_PATH,
            fast_recovery=self.fast_recovery,
        )
        timing = Timing(self.delay_loop, self.retry, self.delay_before_retry)
        server = RealServer(ADDRESS, port_of(number), checks=(check,))
        block = VirtualServer("10.0.0.200", 80, (server,), "NAT", "rr", timing).render()
        return keepalived.render((), blocks=(block,))

    def theory(self) -> Theory:
        """What keepalived's arithmetic makes of that text, where every answer comes at once."""
        (virtual,) = read_keepalived(self.text(0)).virtual_servers
        (checker,) = virtual.real_servers[0].checkers
        noticing = Noticing(checker, MET[self.illness])
        out, back = checkers.until_out(noticing), checkers.until_in(noticing)
        assert out is not None
        assert back is not None
        return Theory(replace(out, high=out.low), replace(back, high=back.low))


KEEPALIVED_SAMPLE = [
    Watched("TCP_CHECK", "backend-refuse", 1.0, 2, 0.5),
    Watched("TCP_CHECK", "backend-blackhole", 2.0, 0, 0.5),
    Watched("HTTP_GET", "backend-hang", 1.0, 1, 1.5, 0.9),
    Watched("HTTP_GET", "backend-status", 1.0, 3, 0.25, fast_recovery=True),
    Watched("SSL_GET", "backend-refuse", 1.5, 1, 0.25),
]


def keepalived_whole() -> Iterator[Watched]:
    """Every combination: 162 pairs."""
    for loop, retry, (before, connect), (kind, illnesses) in product(
        (1.0, 2.0, 3.0),
        (0, 1, 3),
        ((0.25, 0.9), (2.5, 0.7)),
        (
            ("TCP_CHECK", ("backend-refuse", "backend-blackhole")),
            ("HTTP_GET", ("backend-refuse", "backend-blackhole", "backend-hang", "backend-status")),
            (
                "SSL_GET",
                ("backend-refuse", "backend-blackhole", "backend-hang,stage=accept"),
            ),
        ),
    ):
        for illness in illnesses:
            yield Watched(kind, illness, loop, retry, before, connect, kind != "TCP_CHECK" and retry == 1)


@pytest.mark.parametrize("cases", at_a_time(list(keepalived_whole()) if WHOLE else list(KEEPALIVED_SAMPLE)))
def test_keepalived_takes_what_its_arithmetic_says(
    new_testbed: NewTestbed, vipdrill_seed: int, cases: list[Watched]
) -> None:
    """`delay_loop`, `retry`, `delay_before_retry`, `connect_timeout` against check_tcp.c and check_http.c."""
    services = [Checker(case.text(number)) for number, case in enumerate(cases)]
    testbed = new_testbed(pairs(services, [case.tls for case in cases], needs=("ip_vs",)))
    drilled = Pairs(testbed, "Removing service", "Adding service")
    found = drilled.drill([case.illness for case in cases], TURNS, vipdrill_seed)
    must_agree(cases, [case.theory() for case in cases], found)
    for case, turns in zip(cases, found, strict=True):
        longer = replace(case, delay_loop=case.delay_loop + 0.005)
        assert all(longer.theory().missed_s(turn)[0] > EXACT_S for turn in turns)
