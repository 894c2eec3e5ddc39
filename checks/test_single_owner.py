"""single-owner: over the whole run, never two owners of the VIP and never none, longer than the bound."""

from __future__ import annotations

import signal

import pytest

from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill


@pytest.mark.testbed("vip-l7")
def test_an_undisturbed_pair_has_one_owner(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.watch(2.0)
    drill.finish()
    must_hold(judge(), "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7")
def test_one_lost_advert_is_forgiven(drill: Drill, judge: Judge) -> None:
    """A control: a backup waits for three advertisements before it takes over."""
    testbed = drill.testbed
    drill.steady()
    rule = testbed.fabric.rules.drop("ip protocol 112", destination=testbed.fabric.port("lb2", "eth0"))
    drill.next_adverts(1)
    testbed.fabric.rules.remove(rule)
    drill.watch(1.0)
    drill.finish()
    must_hold(judge(), "single-owner")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_vrrp_dropped_one_way_is_caught(drill: Drill, judge: Judge) -> None:
    """The backup does not hear the owner: split-brain (both announce, both have the address)."""
    testbed = drill.testbed
    drill.steady()
    testbed.fabric.rules.drop("ip protocol 112", destination=testbed.fabric.port("lb2", "eth0"))
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "single-owner", "two")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_vip_without_any_owner_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    for balancer in ("lb1", "lb2"):
        drill.testbed.process(balancer, "keepalived").signal_tree(signal.SIGSTOP)
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "single-owner", "none")
