"""What became of packets that took a way which somebody had not thought of, each as one drill."""

from __future__ import annotations

import time

import pytest

from checks.directors import QUICK
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill
from harness.timeline import Event
from harness.verdict import Status, Verdict

UPLOAD = 4000
"""Bytes of a request's body: more than two full packets, less than costs a processor much."""


def calm(verdicts: list[Verdict], client: str) -> Verdict:
    """What a client lost while nothing was wrong."""
    title = "client-outage: without a fault"
    return next(v for v in verdicts if v.title() == title and v.subject.startswith(f"{client} "))


def filter_icmp(drill: Drill) -> list[Event]:
    """From the steady state on all ICMP to `clx` is dropped; what directors told of packets too big, ever.

    A client remembers what either of them told it, be it that one was MASTER for a moment only.  What `clx`
    has learnt of the path is forgotten, as it is after ten minutes (mtu_expires).
    """
    drill.steady()
    fabric = drill.testbed.fabric
    fabric.rules.drop("ip protocol icmp", destination=fabric.port("clx", "eth0"))
    drill.testbed.node("clx").run(["ip", "route", "flush", "cache"])
    drill.watch(1.5)
    drill.finish()
    # What one director has told of a path, a client knows of it for the other as well.
    told = drill.testbed.recorder.timeline.of("icmp", segment="lan")
    return [e for e in told if e.node in ("lb1", "lb2")]


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", forwarding="tun", upload=UPLOAD, **QUICK)
def test_large_requests_hang_behind_a_filter_of_icmp(drill: Drill, judge: Judge) -> None:
    """A tunnel's outer header takes 20 bytes of each packet (RFC 2003), so full ones do not fit.

    The director refuses them (pmtu_disc 1) and says so, which a client must hear (RFC 1191); who does not
    sends the same packet again and again.
    """
    told = filter_icmp(drill)
    verdicts = judge()
    assert must_catch(verdicts, "client-outage", "without a fault") is calm(verdicts, "clx")
    assert calm(verdicts, "cl").status is Status.PASS
    assert {(e.what, e.mtu) for e in told} == {("fragmentation needed", 1500 - 20)}
    assert {e.dst for e in told} == {"10.0.0.10", "198.51.100.10"}
    steady = drill.testbed.recorder.timeline.first("phase", name="steady")
    assert steady is not None
    assert any(e.t > steady.t and (e.node, e.dst) == ("lb1", "198.51.100.10") for e in told)


@pytest.mark.control
@pytest.mark.testbed("vip-l4", forwarding="tun", upload=UPLOAD, pmtu_disc=False, **QUICK)
def test_a_director_that_sends_fragments_needs_no_icmp(drill: Drill, judge: Judge) -> None:
    """The cure on the director's side: Documentation/networking/ipvs-sysctl.rst, pmtu_disc."""
    told = filter_icmp(drill)
    must_hold(judge(), "client-outage: without a fault")
    assert not told


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", two_nics=True, rp_filter=2, **QUICK)
def test_members_drop_what_comes_by_the_other_interface(drill: Drill, judge: Judge) -> None:
    """Somebody hardens the members: rp_filter 1 (RFC 3704, strict) takes a client's packet for a forged one.

    It came from the director by eth1, and the way back is by eth0.  Health checks come and go by eth1, so
    keepalived finds everybody well.  With 2 (loose) clients were served.
    """
    drill.steady()
    timeline, members = drill.testbed.recorder.timeline, ("m1", "m2", "m3")
    assert not any(dropped_by_way(drill, member) for member in members)
    hardened_ns = time.monotonic_ns()
    for member in members:
        drill.testbed.node(member).sysctl({"net.ipv4.conf.all.rp_filter": "1"})
    drill.watch(1.5)
    in_table = drill.testbed.node("lb1").run(["ipvsadm", "--list", "--numeric", "--connection"])
    assert "SYN_RECV" in in_table, in_table
    assert all(dropped_by_way(drill, member) for member in members)
    drill.finish()
    must_catch(judge(), "client-outage", "without a fault")
    assert not timeline.of("ipvs", node="lb1", change="del"), "a check noticed"
    steady = timeline.first("phase", name="steady")
    assert steady is not None
    before = timeline.of("probe", client="cl", stream="new", since=steady.t, until=hardened_ns)
    assert all(e.result == "ok" for e in before if e.end < hardened_ns), "not served before"


def dropped_by_way(drill: Drill, member: str) -> int:
    """How many packets a member's kernel took for forged by the way that they came."""
    name = "TcpExtIPReversePathFilter"
    told = drill.testbed.node(member).run(["nstat", "--noupdate", "--ignore", "--zeros", name])
    return int(told.split(name)[1].split()[0])
