"""maintenance with IPVS: reloads of keepalived that nobody notices, members that drain with weight 0."""

from __future__ import annotations

import pytest

from checks.directors import METHODS, QUICK, address, ipvsadm
from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill


@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_reload_of_the_director_costs_nothing(drill: Drill, judge: Judge) -> None:
    drill.run("reload:active/keepalived")
    must_hold(judge(), "maintenance", "client-outage: without a fault", "single-owner")


@pytest.mark.testbed("vip-l4", forwarding="nat", **QUICK)
def test_a_member_drains_by_weight_0_without_loss(drill: Drill, judge: Judge) -> None:
    drill.run("drain:m2")
    must_hold(judge(), "maintenance", "flow-survival: continuity", "single-owner")


@pytest.mark.testbed("vip-l4", scheduler="mh", flags="mh-port", **QUICK)
def test_a_hash_without_fallback_refuses_a_drained_member_s_share(drill: Drill, judge: Judge) -> None:
    """ip_vs_mh.c: a member with weight 0 keeps its places in the table, and nobody steps in."""
    drill.steady()
    drill.strike("drain:m2")
    drill.watch(1.0)
    drill.finish()
    must_be_limited(judge(), "maintenance: drain")


@pytest.mark.testbed("vip-l4", scheduler="mh", flags="mh-port+mh-fallback", **QUICK)
def test_with_fallback_it_loses_nothing(drill: Drill, judge: Judge) -> None:
    drill.run("drain:m2")
    must_hold(judge(), "maintenance")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", **QUICK)
def test_the_standby_director_may_be_reloaded(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("reload:standby/keepalived")
    drill.watch(0.5)
    drill.finish()
    must_hold(judge(), "maintenance", "single-owner")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_drained_member_that_gets_its_weight_back_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("drain:m2")
    ipvsadm(drill.testbed, "--edit-server", address(drill.testbed, "m2"), METHODS["dr"], "--weight", "1")
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "maintenance", "rotation")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_reload_that_loses_the_table_is_caught(drill: Drill, judge: Judge) -> None:
    """Somebody clears the table, which keepalived does not look at when it reloads."""
    drill.steady()
    drill.strike("reload:active/keepalived")
    drill.testbed.node("lb1").run(["ipvsadm", "--clear"])
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "maintenance", "requests")
