"""What became of clients whose source ports came again while directors still knew them, each as one drill.

A busy proxy or a NAT gateway has few ports, and takes one again long before IPVS has forgotten the connection
that had it (two minutes after a FIN): Documentation/networking/ipvs-sysctl.rst, conn_reuse_mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from checks.directors import QUICK
from checks.incidents import courses
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill
from harness.timeline import Event

PORTS: dict[str, Any] = {"client_ports": 60, **QUICK}
"""As many as a client at fifty attempts a second takes in 1.2 s: long enough for its connections to end."""


def unanswered(drill: Drill) -> Iterator[Event]:
    """The attempts of `cl` that never had a connection, once all was steady."""
    timeline = drill.testbed.recorder.timeline
    steady = timeline.first("phase", name="steady")
    assert steady is not None
    for attempt in timeline.of("probe", client="cl", stream="new", result="timeout", since=steady.t):
        if attempt.get("detail") == "while connecting":
            yield attempt


@pytest.mark.parametrize(
    "testbed", [{"forwarding": "nat", "conntrack": True}, {"conn_reuse_mode": 2}], indirect=True, ids=str
)
@pytest.mark.control
@pytest.mark.testbed("vip-l4", **PORTS)
def test_a_port_that_comes_again_waits_for_nothing(drill: Drill, judge: Judge) -> None:
    """Linux before 5.9 dropped the first SYN on the entry of a tracked connection, and a client waited 1 s.

    Since commit f0a5e4d7a594 (also in stable series) it does not if the tracked one is over as well, as with
    NAT, where a director sees both halves.  Nor is anything dropped where nothing is tracked.
    """
    drill.steady()
    drill.watch(1.5)
    drill.finish()
    asked = drill.testbed.recorder.timeline.of("access", path="/version")
    ports = Counter(e.peer for e in asked if e.peer.startswith("10.0.0.10:200"))
    assert len(ports) == PORTS["client_ports"], "not every port was taken"
    assert min(ports.values()) > 1, "a port did not come again"
    must_hold(judge(), "client-outage: without a fault")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", conntrack=True, **PORTS)
def test_a_director_that_tracks_connections_drops_the_first_syn(drill: Drill, judge: Judge) -> None:
    """Somebody sets conn_reuse_mode to 2, so that new members get their share at once.

    A director that sees half of each connection (DR) tracks it as one that never was answered, so a SYN on
    it is dropped by any kernel, and comes again after TCP's first time-out: 1 s (RFC 6298 section 2.1).
    """
    drill.steady()
    drill.testbed.node("lb1").sysctl({"net.ipv4.vs.conn_reuse_mode": "2"})
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "client-outage", "without a fault")
    seen = courses(drill, unanswered(drill))
    assert seen, "no attempt waited for its connection"
    assert all(packets == ["SYN from cl to lb1"] for packets in seen), seen


@pytest.mark.parametrize("testbed", [{}, {"conn_reuse_mode": 0}], indirect=True, ids=str)
@pytest.mark.testbed("vip-l4", forwarding="nat", **PORTS)
def test_a_drained_member_gets_new_connections_from_old_ports(drill: Drill, judge: Judge) -> None:
    """With conn_reuse_mode 0, the old cure for that second, a port stays with its member: it never drains."""
    drill.steady()
    drill.strike("drain:m2")
    drill.watch(1.5)
    drill.finish()
    verdicts = judge()
    if drill.testbed.topology.options["conn_reuse_mode"]:
        must_hold(verdicts, "maintenance: rotation", "maintenance: drain")
    else:
        must_catch(verdicts, "maintenance", "rotation")
