"""quorum: a virtual server that has lost it is served by the sorry server, in time, and only then."""

from __future__ import annotations

import signal

import pytest

from checks.directors import METHODS, QUICK, address, deceive, ipvsadm
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill


@pytest.mark.testbed("vip-l4", sorry=True, quorum=3, **QUICK)
def test_the_sorry_server_stands_in_and_steps_back(drill: Drill, judge: Judge) -> None:
    drill.run("kill:m1")
    verdicts = judge()
    must_hold(verdicts, "quorum: lost", "quorum: regained", "member-removal: table")
    last = drill.testbed.recorder.timeline.of("probe", member="sorry")
    assert last, "the sorry server never served anybody"


@pytest.mark.testbed("vip-l4", sorry=True, scheduler="wrr", weights="1+2+1", quorum=3, hysteresis=1, **QUICK)
def test_the_two_thresholds_of_hysteresis(drill: Drill, judge: Judge) -> None:
    """Of weight 4 in all, 2 is enough to keep the quorum, and 3 is not to regain it."""
    drill.steady()
    second = drill.strike("kill:m2")
    drill.aftermath(second)
    first = drill.strike("kill:m1")
    drill.aftermath(first)
    drill.heal(second)
    drill.heal(first)
    drill.finish()
    must_hold(judge(), *(f"quorum: {aspect}" for aspect in ("kept", "lost", "not regained", "regained")))


@pytest.mark.testbed("vip-l4", sorry=True, server="sorry_server_inhibit", quorum=3, **QUICK)
def test_an_inhibited_sorry_server_stands_by_with_weight_0(drill: Drill, judge: Judge) -> None:
    drill.run("kill:m1")
    must_hold(judge(), "quorum: lost", "quorum: regained")
    table = drill.testbed.recorder.timeline.of(
        "ipvs", node="lb1", member=f"{address(drill.testbed, 'sorry')}:6443"
    )
    assert [(e.change, e.weight) for e in table] == [("add", 0), ("weight", 1), ("weight", 0)]


NOTIFIED = {
    "globals": "script_user root; enable_script_security",
    "server": 'quorum_down "/usr/bin/touch /run/quorum-down"',
    **QUICK,
}


@pytest.mark.parametrize("testbed", [{"omega": True}, {"omega": False}], indirect=True, ids=str)
@pytest.mark.testbed("vip-l4", **NOTIFIED)
def test_omega_tells_that_the_quorum_ends_with_keepalived(drill: Drill) -> None:
    """ipwrapper.c, do_vs_notifies: while it stops keepalived runs quorum_down with omega only."""
    drill.run("stop:lb1/keepalived", heal=False)
    told = drill.testbed.node("lb1").exists("/run/quorum-down")
    assert told == drill.testbed.topology.options["omega"]


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", sorry=True, quorum=2, hysteresis=1, **QUICK)
def test_within_the_hysteresis_nobody_stands_in(drill: Drill, judge: Judge) -> None:
    drill.run("kill:m1", heal=False)
    must_hold(judge(), "quorum: kept", "member-removal")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", sorry=True, scheduler="wrr", weights="1+2+1", quorum=3, hysteresis=1, **QUICK)
def test_a_quorum_that_is_regained_too_early_is_caught(drill: Drill, judge: Judge) -> None:
    """keepalived really has no hysteresis, so that 3 is enough."""
    drill.steady()
    deceive(drill, "hysteresis 1", "hysteresis 0")
    for director in ("lb1", "lb2"):
        drill.testbed.process(director, "keepalived").signal(signal.SIGHUP)
    drill.watch(1.5)
    second = drill.strike("kill:m2")
    drill.aftermath(second)
    first = drill.strike("kill:m1")
    drill.aftermath(first)
    drill.heal(second)
    drill.finish()
    must_catch(judge(), "quorum", "not regained")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", sorry=True, quorum=3, **QUICK)
def test_a_sorry_server_that_never_comes_is_caught(drill: Drill, judge: Judge) -> None:
    """The director's checkers stand still."""
    drill.steady()
    drill.strike("kill:m1")
    drill.testbed.process("lb1", "keepalived").signal_children(signal.SIGSTOP)
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "quorum", "lost")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", sorry=True, quorum=2, hysteresis=1, **QUICK)
def test_a_sorry_server_that_comes_for_nothing_is_caught(drill: Drill, judge: Judge) -> None:
    """Somebody puts it into the table by hand while the quorum holds."""
    drill.steady()
    drill.strike("kill:m1")
    ipvsadm(drill.testbed, "--add-server", address(drill.testbed, "sorry"), METHODS["dr"], directors="lb1")
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "quorum", "kept")
