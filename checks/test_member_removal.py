"""member-removal: a member falls ill; the balancer stops asking it in time, and asks it again once well."""

from __future__ import annotations

import pytest

from checks.judging import Judge, must_be_limited, must_catch, must_hold
from checks.sabotage import reconfigure_secretly
from harness.drill import Drill

QUICK = {"inter": 0.3}
ILLNESSES = (
    "kill:member",
    "freeze:member",
    "host-crash:member",
    "backend-refuse",
    "backend-blackhole",
    "backend-hang",
    "backend-reset",
    "backend-status",
    "backend-status:member,paths=/readyz",
)


@pytest.mark.testbed("vip-l7", **QUICK)
@pytest.mark.parametrize("fault", ILLNESSES)
def test_a_member_that_is_ill_is_removed_and_returns(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "member-removal", "vip-migration")


@pytest.mark.testbed("vip-l7", inter=2.0, fall=3, rise=3, server="fastinter 100ms downinter 300ms")
def test_a_member_in_transition_is_asked_more_often(drill: Drill, judge: Judge) -> None:
    drill.run("kill:member")
    must_hold(judge(), "member-removal")


@pytest.mark.testbed("vip-l7", check="tcp", **QUICK)
@pytest.mark.parametrize("fault", ["kill:member", "backend-blackhole"])
def test_a_connection_is_enough_to_find_a_dead_member(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "member-removal")


@pytest.mark.testbed("vip-l7", proxy="nginx", fail_timeout=1.0, connect_timeout=0.2)
@pytest.mark.parametrize("fault", ["kill:member", "backend-blackhole"])
def test_nginx_leaves_a_member_out_that_cannot_be_reached(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "member-removal")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l7", fall=3, **QUICK)
def test_flapping_within_fall_removes_nobody(drill: Drill, judge: Judge) -> None:
    """Ill for less than three checks, then well for at least one: the member keeps its turn."""
    drill.steady()
    drill.strike("backend-flap:member,period_s=1.6,ill_percent=25")
    drill.watch(3.5)
    drill.finish()
    must_hold(judge(), "member-removal: hysteresis", "single-owner")


# -- limitations: what a check cannot see --------------------------------------------------------------


def watch(drill: Drill, fault: str) -> None:
    """The drill up to a while after the fault: a member that is never removed is not waited for."""
    drill.steady()
    drill.strike(fault)
    drill.watch(2.0)
    drill.finish()


def watch_deceived(drill: Drill, old: str, new: str, seconds: float) -> None:
    """A member is killed while HAProxy checks otherwise than is known; what follows for so long."""
    drill.steady()
    reconfigure_secretly(drill.testbed, "lb1", "haproxy", old, new)
    drill.watch(0.5)
    drill.strike("kill:member")
    drill.watch(seconds)
    drill.finish()


@pytest.mark.testbed("vip-l7", check="tcp", **QUICK)
@pytest.mark.parametrize("fault", ["backend-status:member,paths=/readyz", "backend-hang", "backend-status"])
def test_a_connection_alone_does_not_show_these(drill: Drill, judge: Judge, fault: str) -> None:
    watch(drill, fault)
    must_be_limited(judge(), "member-removal")


@pytest.mark.testbed("vip-l7", proxy="nginx")
@pytest.mark.parametrize("fault", ["backend-hang", "backend-status"])
def test_nginx_does_not_see_what_a_member_answers(drill: Drill, judge: Judge, fault: str) -> None:
    watch(drill, fault)
    must_be_limited(judge(), "member-removal")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", check="none")
def test_a_missing_check_is_caught(drill: Drill, judge: Judge) -> None:
    watch(drill, "kill:member")
    assert must_be_limited(judge(), "member-removal").outright


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_late_removal_is_caught(drill: Drill, judge: Judge) -> None:
    """HAProxy really checks every two seconds."""
    watch_deceived(drill, "inter 300ms", "inter 2s", 2.0)
    must_catch(judge(), "member-removal", "removal")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", inter=1.0)
def test_an_early_removal_is_caught(drill: Drill, judge: Judge) -> None:
    """HAProxy really checks five times as often."""
    watch_deceived(drill, "inter 1s", "inter 200ms", 2.5)
    must_catch(judge(), "member-removal", "removal")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_hundred_failures_to_wait_for_are_caught(drill: Drill, judge: Judge) -> None:
    """HAProxy really waits for a hundred failed checks."""
    watch_deceived(drill, "fall 2", "fall 100", 2.0)
    must_catch(judge(), "member-removal", "removal")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", check_path="/livez", **QUICK)
def test_a_check_of_the_wrong_page_is_caught(drill: Drill, judge: Judge) -> None:
    """A member that is alive but not ready stays in rotation, and clients are told so by it."""
    watch(drill, "backend-status:member,status=503,paths=/readyz+/version")
    must_be_limited(judge(), "member-removal")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_check_of_a_page_that_is_not_there_is_caught(drill: Drill, judge: Judge) -> None:
    """Every member is taken out, though nothing happened to any."""
    drill.steady()
    reconfigure_secretly(drill.testbed, "lb1", "haproxy", "uri /readyz", "uri /nowhere")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "client-outage", "without a fault")
