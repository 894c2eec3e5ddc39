"""Pairs of a balancer that checks one server, and that server: when checks began, and when it was given up.

All servers are ports of one member, so that one guest drills many pairs at a time:

    p0  keepalived or HAProxy ──┐
    p1                          ├── lan ── m  :8000 for p0, :8001 for p1, …
    p2                        ──┘

Checks are read off the wire, what a balancer decides off its log, at the moment at which the line is written.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from select import EPOLLIN
from typing import IO

from harness import faults
from harness.kernel.syscalls import inotify_modified
from harness.observe.packets import segments
from harness.services.base import Service
from harness.services.site import Site
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology

MEMBER, ADDRESS = "m", "10.0.0.99"
HEALTH_PATH = "/healthz"
_FIRST_PORT = 8000
_NS = 1_000_000_000
# Longer than any arithmetic that is drilled here.
_PATIENCE_S = 120.0
_ADMISSION_S, _WELL_S, _ILL_S, _LAST_S = 10.0, 6.0, 5.0, 2.0
# Sooner than any check comes again, and later than a SYN that met an old connection is sent anew.
_AGAIN_NS = 90_000_000


@dataclass(frozen=True)
class Turn:
    """One illness of one server, in seconds.

    `phase_s` from the end of the last check that succeeded to the illness, `out_s` from there until the
    balancer gave the server up, `back_s` from the start of the last check that failed until it took it back;
    of that, `answers_s` were checks that succeeded.  Neither counts how long a SYN waited whose port came
    again too soon: the server's old connection answers it, and it is sent anew (RFC 5961 section 4.2).
    """

    phase_s: float
    out_s: float
    back_s: float
    answers_s: float


@dataclass
class _Check:
    """A check on the wire: its first SYN, and when the balancer closed it (ns, CLOCK_MONOTONIC)."""

    began_ns: int
    ended_ns: int
    again_ns: int = 0  # how long after its first SYN it sent its last
    closed: bool = False


def port_of(number: int) -> int:
    """The port of the server that the balancer of this number checks."""
    return _FIRST_PORT + number


def pairs(balancers: Sequence[Service], tls: Sequence[bool], needs: tuple[str, ...] = ()) -> Topology:
    """The topology: a node for each balancer, and whether its server speaks TLS."""
    ports = tuple((port_of(number), speaks) for number, speaks in enumerate(tls))
    member = NodeSpec(
        MEMBER, "member", _interface(ADDRESS), services=(Site(MEMBER, ADDRESS, ports, (), (HEALTH_PATH,)),)
    )
    nodes = [
        NodeSpec(f"p{number}", "balancer", _interface(f"10.0.0.{number + 1}"), services=(each,), needs=needs)
        for number, each in enumerate(balancers)
    ]
    return Topology("pairs", {}, (Segment("lan"),), (*nodes, member), (), ())


def _interface(address: str) -> tuple[Interface]:
    return (Interface("eth0", "lan", (f"{address}/24",)),)


class Pairs:
    """The pairs of a testbed while they are drilled; `out` and `back` are words of the balancers' logs."""

    def __init__(self, testbed: Testbed, out: str, back: str) -> None:
        self._testbed, self._words = testbed, (out, back)
        self._balancers = [node.name for node in testbed.topology.role("balancer")]
        self._said: list[tuple[int, int, bool]] = []  # when, which pair, whether it gave up
        for number, name in enumerate(self._balancers):
            (service,) = testbed.topology.node(name).services
            log = testbed.nodes[name].log_dir / f"{service.name}.log"
            opened = log.open(encoding="utf-8", errors="replace")
            notice = inotify_modified(str(log))
            testbed.recorder.serve(notice, EPOLLIN, partial(self._read, number, notice, opened))

    def _read(self, number: int, notice: int, log: IO[str], mask: int) -> None:
        os.read(notice, 4096)
        now = time.monotonic_ns()
        for line in log.read().splitlines():
            self._said += [
                (now, number, up_or_down == 0) for up_or_down, word in enumerate(self._words) if word in line
            ]

    def drill(self, illnesses: Sequence[str], turns: int, seed: int) -> list[list[Turn]]:
        """Make every server ill (`FAULT[,KEY=VALUE]` each) and well, so many times, at times of chance.

        Ends with the testbed's end; what was seen is by pair.
        """
        recorder, chance = self._testbed.recorder, random.Random(seed)
        struck: list[list[tuple[int, int]]] = [[] for _ in illnesses]
        self._pass(_ADMISSION_S)
        for _ in range(turns):
            self._pass(_WELL_S * (1 + chance.random()))
            aimed = [self._aim(illness, number) for number, illness in enumerate(illnesses)]
            began_ns = time.monotonic_ns()
            for fault in aimed:
                fault.inject()
            recorder.wait(partial(self._all, began_ns, True), _PATIENCE_S, "all servers given up")
            self._pass(_ILL_S * (1 + chance.random()))
            began_ns = time.monotonic_ns()
            for fault in aimed:
                fault.heal()
            recorder.wait(partial(self._all, began_ns, False), _PATIENCE_S, "all servers back")
            for number, fault in enumerate(aimed):
                struck[number].append((fault.injected_ns, fault.healed_ns))
        # A capture may lack what was on the wire in its last moments.
        self._pass(_LAST_S)
        self._testbed.close()
        return [
            [turn for turn in (self._turn(number, *moments) for moments in found) if turn is not None]
            for number, found in enumerate(struck)
        ]

    def _aim(self, illness: str, number: int) -> faults.Fault:
        name, comma, parameters = illness.partition(",")
        return faults.parse(f"{name}:{MEMBER},listeners={port_of(number)}{comma}{parameters}", self._testbed)

    def _pass(self, seconds: float) -> None:
        self._testbed.recorder.pass_time(time.monotonic_ns() + int(seconds * _NS))

    def _all(self, since_ns: int, out: bool) -> bool:
        told = {number for t, number, gave_up in self._said if t >= since_ns and gave_up is out}
        return len(told) == len(self._balancers)

    def _turn(self, number: int, ill_ns: int, well_ns: int) -> Turn | None:
        """What was seen of one illness; None if it came in the middle of a check, which then is neither."""
        seen = self._checks(number)
        good = [check for check in seen if check.began_ns < ill_ns][-1]
        if good.ended_ns >= ill_ns:
            return None
        bad = [check for check in seen if check.began_ns < well_ns][-1]
        out_ns, back_ns = (
            next(t for t, who, gave_up in self._said if who == number and gave_up is out and t > since_ns)
            for since_ns, out in ((ill_ns, True), (well_ns, False))
        )
        failed = [c for c in seen if ill_ns <= c.began_ns <= out_ns]
        answers = [c.ended_ns - c.began_ns for c in seen if bad.began_ns < c.began_ns <= back_ns]
        return Turn(
            (ill_ns - good.ended_ns) / _NS,
            (out_ns - good.ended_ns - sum(check.again_ns for check in failed)) / _NS,
            (back_ns - bad.began_ns - bad.again_ns) / _NS,
            sum(answers) / _NS,
        )

    def _checks(self, number: int) -> list[_Check]:
        """The checks of one server; of those that nobody answers, no more than a SYN is seen."""
        server = f"{ADDRESS}:{port_of(number)}"
        clock = self._testbed.recorder.timeline.last("clock")
        assert clock is not None
        found: list[_Check] = []
        latest: dict[str, _Check] = {}
        for segment in segments(self._testbed.artifacts / "captures" / "lan.pcap"):
            if server not in (segment.src, segment.dst):
                continue
            t = segment.real_ns - clock.offset_ns
            client = segment.src if segment.dst == server else segment.dst
            if segment.what == "SYN":
                check = latest.get(client)
                if check is not None and t - check.began_ns < _AGAIN_NS:
                    check.again_ns, check.closed = t - check.began_ns, False
                else:
                    found.append(_Check(t, t))
                    latest[client] = found[-1]
            if not latest[client].closed:
                latest[client].ended_ns = t
                latest[client].closed = segment.src == client and (
                    "FIN" in segment.what or "RST" in segment.what
                )
        return found
