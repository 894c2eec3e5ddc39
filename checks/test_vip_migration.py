"""vip-migration: the active balancer fails; the VIP moves within its bound, and clients follow."""

from __future__ import annotations

import signal

import pytest

from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill

FAULTS = ("host-crash", "kill", "stop", "freeze", "link-down")
_NS = 1_000_000_000


@pytest.mark.smoke
@pytest.mark.testbed("vip-l7")
def test_the_vip_moves_when_its_host_crashes(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash")
    must_hold(judge(), "vip-migration", "client-outage", "single-owner", "fail-back")


@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_vip_moves_within_its_bound(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "vip-migration", "client-outage", "single-owner")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.testbed("vip-l7", vrrp_version=2, advert_int=1, probe_rate=20)
def test_the_vip_moves_within_its_bound_with_version_2(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault, heal=False)
    must_hold(judge(), "vip-migration", "client-outage", "single-owner")


@pytest.mark.testbed("vip-l7", unicast=True)
def test_unicast_adverts_move_the_vip_as_well(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash")
    must_hold(judge(), "vip-migration", "client-outage", "single-owner", "fail-back")


# -- controls: what must not be flagged ----------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize("fault", ["host-crash:standby", "kill:standby", "freeze:standby"])
def test_the_standby_s_failure_moves_nothing(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "vip-migration", "client-outage", "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", advert_int=1.0)
def test_a_short_freeze_moves_nothing(drill: Drill, judge: Judge) -> None:
    """A host that freezes for two advertisements is missed by nobody's timer."""
    drill.steady()
    fault = drill.strike("freeze")
    drill.testbed.recorder.pass_time(fault.injected_ns + 2 * _NS)
    drill.heal(fault)
    drill.finish()
    must_hold(judge(), "vip-migration", "single-owner")


# -- saboteurs: what must be caught --------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_dead_standby_is_caught(drill: Drill, judge: Judge) -> None:
    """The standby stopped taking part without anybody having noticed."""
    drill.steady()
    drill.testbed.process("lb2", "keepalived").signal_tree(signal.SIGSTOP)
    drill.strike("host-crash:lb1")
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "vip-migration")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_late_standby_is_caught(drill: Drill, judge: Judge) -> None:
    """The standby stands still until its bound is over: a takeover beyond the bound."""
    drill.steady()
    crash = drill.strike("host-crash")
    drill.testbed.process("lb2", "keepalived").signal_tree(signal.SIGSTOP)
    drill.testbed.recorder.pass_time(crash.injected_ns + 3 * _NS // 4)
    drill.testbed.process("lb2", "keepalived").signal_tree(signal.SIGCONT)
    drill.aftermath(crash)
    drill.finish()
    must_catch(judge(), "vip-migration", "takeover")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_silent_takeover_is_caught(drill: Drill, judge: Judge) -> None:
    """Without gratuitous ARP the neighbours go on sending to the host that is gone."""
    fabric = drill.testbed.fabric
    fabric.rules.drop("arp saddr ip 10.0.0.100", source=fabric.port("lb2", "eth0"))
    drill.run("host-crash", heal=False)
    verdicts = judge()
    must_catch(verdicts, "vip-migration", "gratuitous ARP")
    must_catch(verdicts, "client-outage")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_client_that_never_asks_again_is_caught(drill: Drill, judge: Judge) -> None:
    """Gratuitous ARP is sent, but lost on the way to a client whose cache is never in doubt."""
    client = drill.testbed.node("cl")
    drill.steady()
    mac = drill.testbed.fabric.port("lb1", "eth0").mac
    kept = ["ip", "neigh", "replace", "10.0.0.100", "lladdr", mac, "dev", "eth0", "nud", "permanent"]
    assert client.status(kept).ok
    drill.follow("host-crash", heal=False)
    verdicts = judge()
    must_hold(verdicts, "vip-migration")
    must_catch(verdicts, "client-outage", "outage")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", bind="vip")
def test_a_standby_that_may_not_bind_the_vip_is_caught(drill: Drill, judge: Judge) -> None:
    """Somebody took ip_nonlocal_bind away; the next start of the proxy fails, and its script with it."""
    testbed = drill.testbed
    drill.steady()
    assert testbed.node("lb2").status(["sysctl", "-qw", "net.ipv4.ip_nonlocal_bind=0"]).ok
    process = testbed.process("lb2", "haproxy")
    process.expected_end = True
    process.signal_tree(signal.SIGKILL)
    again = testbed.node("lb2").status(["haproxy", "-f", "/etc/haproxy/haproxy.cfg"])
    assert "cannot bind" in again.stderr.lower()
    drill.watch(3.0)
    drill.strike("host-crash:lb1")
    drill.watch(1.0)
    drill.finish()
    verdicts = judge()
    must_catch(verdicts, "vip-migration", "takeover")
    must_catch(verdicts, "client-outage", "outage")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_an_early_takeover_is_caught(drill: Drill, judge: Judge) -> None:
    """A takeover before the active balancer's silence was long enough: the bound has two sides."""
    testbed = drill.testbed
    drill.steady()
    heard = testbed.fabric.rules.drop(
        "ip protocol 112",
        source=testbed.fabric.port("lb1", "eth0"),
        destination=testbed.fabric.port("lb2", "eth0"),
    )
    drill.next_adverts(3)
    drill.strike("kill:lb1", at_once=True)
    testbed.fabric.rules.remove(heard)
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "vip-migration")
