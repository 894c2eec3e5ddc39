"""single-owner under faults of the network: who hears whom decides who owns the VIP, and whom to reach."""

from __future__ import annotations

import pytest

from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill
from harness.verdict import Status, Verdict, worst


def held(drill: Drill, judge: Judge, fault: str, seconds: float = 1.0) -> list[Verdict]:
    """The findings of a drill whose fault acts for so long, whatever clients see meanwhile."""
    drill.steady()
    struck = drill.strike(fault)
    drill.watch(seconds)
    drill.heal(struck)
    drill.finish()
    return judge()


@pytest.mark.testbed("vip-l7")
def test_a_backup_that_does_not_hear_the_owner_owns_the_vip_beside_it(drill: Drill, judge: Judge) -> None:
    """VRRP has no quorum: the limitation of every pair.  The owner hears the other and tells neighbours."""
    verdicts = held(drill, judge, "vrrp-drop:standby,direction=in")
    assert must_be_limited(verdicts, "single-owner: two").outright
    must_hold(verdicts, "vip-migration", "fail-back: gratuitous ARP", "client-outage: healing")


@pytest.mark.testbed("vip-l7", instance="garp_master_delay 1;garp_master_refresh 1")
def test_an_owner_that_nobody_hears_has_the_vip_all_the_same(drill: Drill, judge: Judge) -> None:
    verdicts = held(drill, judge, "vrrp-drop:active")
    assert "two nodes had" in must_be_limited(verdicts, "single-owner: two").sentence
    must_hold(verdicts, "vip-migration", "fail-back: gratuitous ARP")


@pytest.mark.testbed("vip-l7", instance="garp_master_delay 1;garp_master_refresh 1")
def test_both_halves_of_a_partition_are_served(drill: Drill, judge: Judge) -> None:
    """Each half has a balancer, members and a client; once healed one owner is left, and all know it."""
    verdicts = held(drill, judge, "partition,shape=halves,left=lb1+m1+cl", 1.0)
    assert must_be_limited(verdicts, "single-owner: two").outright
    must_hold(verdicts, "vip-migration", "client-outage: healing", "client-outage: without a fault")


@pytest.mark.testbed("vip-l7", instance="garp_master_delay 1;garp_master_refresh 1")
@pytest.mark.parametrize("fault", ["link-blocked:active", "link-oneway:active,lost=out"])
def test_the_vip_leaves_an_owner_that_nobody_hears(drill: Drill, judge: Judge, fault: str) -> None:
    must_hold(held(drill, judge, fault), "vip-migration", "single-owner", "fail-back", "client-outage")


@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize("fault", ["link-oneway:active,lost=in", "port-security:active", "arp-spoof:member"])
def test_vrrp_does_not_see_an_owner_that_nobody_reaches(drill: Drill, judge: Judge, fault: str) -> None:
    """Its advertisements are heard, so the VIP stays where it serves nobody: the limitation of VRRP."""
    drill.steady()
    drill.strike(fault)
    drill.watch(1.5)
    drill.finish()
    verdicts = judge()
    assert must_be_limited(verdicts, "client-outage: outage").outright
    assert worst(verdicts) is Status.LIMITATION
    must_hold(verdicts, "single-owner")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize(
    "fault", ["link-blocked:standby", "link-oneway:standby,lost=out", "delay:active,ms=5"]
)
def test_what_keeps_adverts_in_time_moves_nothing(drill: Drill, judge: Judge, fault: str) -> None:
    must_hold(held(drill, judge, fault), "vip-migration", "single-owner", "client-outage: without a fault")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_two_owners_after_a_partition_are_caught(drill: Drill, judge: Judge) -> None:
    """Somebody drops VRRP at the standby as well, and goes on when the partition is healed."""
    fabric = drill.testbed.fabric
    drill.steady()
    struck = drill.strike("partition,shape=halves,left=lb1+m1+cl")
    fabric.rules.drop("ip protocol 112", destination=fabric.port("lb2", "eth0"))
    drill.watch(0.7)
    struck.heal()
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "single-owner", "two")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_half_that_stays_without_an_owner_is_caught(drill: Drill, judge: Judge) -> None:
    """It stands still, so that nobody takes over in the half without an owner."""
    drill.steady()
    drill.testbed.process("lb2", "keepalived").signal_tree(19)
    drill.strike("partition,shape=halves,left=lb1+m1+cl")
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "vip-migration", "takeover")
