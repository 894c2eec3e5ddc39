"""member-removal with IPVS: keepalived's checkers take an ill member out of the table in time, and back."""

from __future__ import annotations

import signal

import pytest

from checks.directors import CALM, METHODS, QUICK, SCRIPTS, address, deceive, ipvsadm
from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill

ROUTERS = QUICK | {"serve": "routers"}


@pytest.mark.testbed("vip-l4", **QUICK)
@pytest.mark.parametrize(
    "fault", ["kill:member", "host-crash:member", "backend-hang", "backend-status:member,paths=/readyz"]
)
def test_a_page_by_tls_shows_every_illness(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault)
    must_hold(judge(), "member-removal", "vip-migration")


@pytest.mark.testbed("vip-l4", digest=True, **ROUTERS)
def test_a_page_by_http_with_its_digest(drill: Drill, judge: Judge) -> None:
    drill.run("backend-status:r1,paths=/healthz/ready")
    must_hold(judge(), "member-removal")


@pytest.mark.testbed("vip-l4", forwarding="nat", check="tcp", **QUICK)
def test_a_connection_is_enough_to_find_a_dead_member(drill: Drill, judge: Judge) -> None:
    drill.run("backend-blackhole")
    must_hold(judge(), "member-removal")


@pytest.mark.testbed("vip-l4", check="misc", **SCRIPTS)
def test_a_script_finds_a_dead_member(drill: Drill, judge: Judge) -> None:
    drill.run("kill:member")
    must_hold(judge(), "member-removal")


@pytest.mark.testbed("vip-l4", inhibit_on_failure=True, **QUICK)
def test_an_inhibited_member_stays_with_weight_0(drill: Drill, judge: Judge) -> None:
    drill.run("kill:member")
    must_hold(judge(), "member-removal")


PERSISTENT = {**QUICK, "persistence": 60, "inhibit_on_failure": True}


def kill_the_clients_member(drill: Drill) -> None:
    """The member with which persistence keeps `cl` dies."""
    drill.steady()
    answers = drill.testbed.recorder.timeline.of("probe", client="cl", stream="new", result="ok")
    drill.strike(f"kill:{answers[-1].member}")
    drill.watch(2.0)
    drill.finish()


@pytest.mark.testbed("vip-l4", expire_quiescent_template=True, **PERSISTENT)
def test_persistence_ends_with_weight_0(drill: Drill, judge: Judge) -> None:
    kill_the_clients_member(drill)
    must_hold(judge(), "member-removal: removal", "member-removal: table")


@pytest.mark.testbed("vip-l4", **PERSISTENT)
def test_persistence_outlasts_weight_0(drill: Drill, judge: Judge) -> None:
    """expire_quiescent_template is off, as kernels have it: a client is sent to its dead member for ever."""
    kill_the_clients_member(drill)
    verdicts = judge()
    assert must_be_limited(verdicts, "member-removal: removal").outright
    must_hold(verdicts, "member-removal: table")


@pytest.mark.testbed("vip-l4", check="tcp", **QUICK)
def test_a_connection_does_not_show_what_a_member_answers(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("backend-status")
    drill.watch(1.5)
    drill.finish()
    must_be_limited(judge(), "member-removal")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", **(QUICK | {"retry": 2, "delay_before_retry": 0.4}))
def test_flapping_within_the_retries_removes_nobody(drill: Drill, judge: Judge) -> None:
    """Ill for less than all retries take, then well for at least one: the member keeps its turn."""
    drill.steady()
    drill.strike("backend-flap:member,period_s=1.6,ill_percent=25")
    drill.watch(3.5)
    drill.finish()
    must_hold(judge(), "member-removal: hysteresis", "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l4", **(PERSISTENT | {"inhibit_on_failure": False}))
def test_persistence_ends_with_the_member(drill: Drill, judge: Judge) -> None:
    """Who leaves the table altogether keeps nobody."""
    kill_the_clients_member(drill)
    must_hold(judge(), "member-removal: removal", "member-removal: table")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", check="none", **CALM)
def test_a_real_server_without_a_checker_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("kill:member")
    drill.watch(1.5)
    drill.finish()
    assert must_be_limited(judge(), "member-removal").outright


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_director_that_checks_too_seldom_is_caught(drill: Drill, judge: Judge) -> None:
    """keepalived really checks every three seconds."""
    drill.steady()
    _reconfigure(drill, "delay_loop 0.4", "delay_loop 3")
    drill.strike("kill:member")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "member-removal", "table")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", expire_quiescent_template=True, **PERSISTENT)
def test_persistence_that_does_not_end_is_caught(drill: Drill, judge: Judge) -> None:
    """Somebody has set the kernel back."""
    drill.steady()
    for director in ("lb1", "lb2"):
        drill.testbed.node(director).sysctl({"net.ipv4.vs.expire_quiescent_template": "0"})
    kill_the_clients_member(drill)
    must_catch(judge(), "member-removal", "removal")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **(QUICK | {"retry": 3, "delay_before_retry": 0.5}))
def test_a_director_that_does_not_retry_is_caught(drill: Drill, judge: Judge) -> None:
    """keepalived really gives a member up at the first failure: too early is a failure too."""
    drill.steady()
    _reconfigure(drill, "retry 3", "retry 1\n    delay_before_retry 0.1\n#")
    drill.strike("kill:member")
    drill.watch(2.5)
    drill.finish()
    must_catch(judge(), "member-removal", "table")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_member_that_is_put_back_by_hand_is_caught(drill: Drill, judge: Judge) -> None:
    """Somebody adds the dead member to the table again (keepalived does not look at the table)."""
    drill.steady()
    drill.strike("kill:member")
    drill.watch(1.2)
    ipvsadm(drill.testbed, "--add-server", address(drill.testbed, "m1"), METHODS["dr"])
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "member-removal", "removal")


def _reconfigure(drill: Drill, old: str, new: str) -> None:
    """keepalived of both directors runs by another configuration than is known."""
    deceive(drill, old, new)
    for director in ("lb1", "lb2"):
        drill.testbed.process(director, "keepalived").signal(signal.SIGHUP)
    drill.watch(1.5)
