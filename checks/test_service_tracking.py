"""service-tracking: the proxy dies or hangs under a living keepalived; the VIP moves to one that serves."""

from __future__ import annotations

import signal

import pytest

from checks.judging import Judge, must_be_limited, must_catch, must_hold
from checks.sabotage import reconfigure_secretly
from harness.drill import Drill
from harness.verdict import Status, worst

_NS = 1_000_000_000
QUICK = {"script_interval": 0.3, "script_timeout": 0.2}


@pytest.mark.testbed("vip-l7", **QUICK)
@pytest.mark.parametrize("fault", ["kill:active/haproxy", "hang:active/haproxy", "stop:active/haproxy"])
def test_the_vip_leaves_a_balancer_without_a_proxy(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "service-tracking", "client-outage", "single-owner")


@pytest.mark.testbed("vip-l7", proxy="nginx", **QUICK)
@pytest.mark.parametrize("fault", ["kill:active/nginx", "hang:active/nginx"])
def test_the_vip_leaves_a_balancer_without_nginx(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "service-tracking", "client-outage", "single-owner")


@pytest.mark.testbed("vip-l7", track="script-weighted", **QUICK)
def test_a_weight_moves_the_vip_after_a_whole_down_interval(drill: Drill, judge: Judge) -> None:
    drill.run("kill:active/haproxy")
    must_hold(judge(), "service-tracking", "client-outage", "single-owner")


@pytest.mark.testbed("vip-l7", preempt=False, **QUICK)
def test_with_nopreempt_the_vip_stays_where_it_went(drill: Drill, judge: Judge) -> None:
    drill.run("kill:active/haproxy")
    must_hold(judge(), "service-tracking", "client-outage", "single-owner")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l7", **QUICK)
def test_the_standby_s_proxy_is_missed_by_nobody(drill: Drill, judge: Judge) -> None:
    drill.run("kill:standby/haproxy")
    must_hold(judge(), "service-tracking", "client-outage", "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", script_fall=4, **QUICK)
def test_a_short_hang_is_forgiven(drill: Drill, judge: Judge) -> None:
    """A proxy that hangs for less than `fall` checks keeps the VIP."""
    drill.steady()
    fault = drill.strike("hang:active/haproxy")
    drill.testbed.recorder.pass_time(fault.injected_ns + _NS // 3)
    drill.heal(fault)
    drill.finish()
    must_hold(judge(), "service-tracking: detection", "single-owner")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", track="none")
def test_no_tracking_is_a_limitation_that_is_told(drill: Drill, judge: Judge) -> None:
    """Nothing watches the proxy: the VIP stays, clients lose everything, and the drill does not pass."""
    drill.steady()
    drill.strike("kill:active/haproxy")
    drill.watch(1.0)
    drill.finish()
    verdicts = judge()
    must_be_limited(verdicts, "service-tracking")
    assert worst(verdicts) is Status.LIMITATION


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", track="script-weighted", weight=20, **QUICK)
def test_a_weight_below_the_gap_is_caught(drill: Drill, judge: Judge) -> None:
    """150 - 20 is still above 100: the owner tells a lower priority, and keeps the VIP for ever."""
    drill.steady()
    drill.strike("kill:active/haproxy")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "service-tracking", "takeover")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", script="/usr/bin/true", **QUICK)
def test_a_script_that_asks_nothing_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("kill:active/haproxy")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "service-tracking", "detection")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
@pytest.mark.parametrize("how", ["rm -f", "chmod 0777"])
def test_a_script_that_does_not_run_is_caught(drill: Drill, judge: Judge, how: str) -> None:
    """It is gone, or others may write to it: keepalived, reloaded, then goes on without it."""
    node = drill.testbed.node("lb1")
    drill.steady()
    assert node.status([*how.split(), "/etc/keepalived/check-proxy"]).ok
    reconfigure_secretly(drill.testbed, "lb1", "keepalived", "rise 2", "rise 2")
    drill.strike("kill:active/haproxy")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "service-tracking", "detection")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", script_fall=4, **QUICK)
def test_giving_up_too_early_is_caught(drill: Drill, judge: Judge) -> None:
    """keepalived leaves for another reason before four checks can have failed: the bound has two sides."""
    drill.steady()
    fault = drill.strike("kill:active/haproxy")
    drill.testbed.recorder.pass_time(fault.injected_ns + _NS // 10)
    process = drill.testbed.process("lb1", "keepalived")
    process.expected_end = True
    process.signal(signal.SIGTERM)
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "service-tracking", "detection")
