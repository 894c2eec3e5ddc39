"""fail-back: what a returning balancer does to the VIP: takes it back in time, or leaves it where it is."""

from __future__ import annotations

import pytest

from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill


@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize("fault", ["host-crash", "kill", "stop", "freeze", "link-down"])
def test_the_vip_returns_within_its_bound(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "fail-back", "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", preempt=False)
@pytest.mark.parametrize("fault", ["host-crash", "stop", "link-down"])
def test_the_vip_stays_with_nopreempt(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "vip-migration", "fail-back", "single-owner")


@pytest.mark.testbed("vip-l7", instance="preempt_delay 2")
def test_the_vip_returns_after_preempt_delay(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash")
    must_hold(judge(), "fail-back", "single-owner")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_vip_that_does_not_return_is_caught(drill: Drill, judge: Judge) -> None:
    """The returned balancer is heard by nobody, so its neighbours keep the VIP where it was."""
    testbed = drill.testbed
    drill.steady()
    fault = drill.strike("stop")
    drill.aftermath(fault)
    testbed.fabric.silence(testbed.fabric.ports_of("lb1"))
    fault.heal()
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "fail-back")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", preempt=False)
def test_a_vip_that_returns_despite_nopreempt_is_caught(drill: Drill, judge: Judge) -> None:
    """The balancer that should have kept the VIP loses it for another reason."""
    drill.steady()
    fault = drill.strike("stop")
    drill.aftermath(fault)
    fault.heal()
    drill.watch(0.5)
    drill.testbed.process("lb2", "keepalived").signal_tree(9)
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "fail-back")


def heard_again(drill: Drill) -> None:
    """Adverts are lost both ways; then lb2 hears lb1 again, and gives way without lb1 ever knowing of it."""
    drill.steady()
    unheard = drill.strike("vrrp-drop:lb2,direction=out")
    deaf = drill.strike("vrrp-drop:lb2,direction=in", at_once=True)
    drill.watch(1.0)
    drill.heal(deaf)
    unheard.heal()
    drill.finish()


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", instance="garp_master_delay 0")
def test_neighbours_that_nobody_tells_are_caught(drill: Drill, judge: Judge) -> None:
    """The VIP is back where it was, and clients go on sending to the other balancer (keepalived#20)."""
    heard_again(drill)
    verdicts = judge()
    must_catch(verdicts, "fail-back", "gratuitous ARP")
    must_catch(verdicts, "client-outage", "healing")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", instance="garp_master_delay 1;garp_master_refresh 1")
def test_neighbours_that_are_told_every_second_find_back(drill: Drill, judge: Judge) -> None:
    heard_again(drill)
    must_hold(judge(), "fail-back: gratuitous ARP", "client-outage: healing")
