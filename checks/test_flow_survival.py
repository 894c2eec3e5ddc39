"""flow-survival: what becomes of long-lived connections when something fails, is reloaded or drained."""

from __future__ import annotations

import signal

import pytest

from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill

QUICK = {"inter": 0.3}


@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize("fault", ["host-crash", "stop", "link-down"])
def test_a_connection_ends_with_its_proxy_and_is_soon_made_anew(
    drill: Drill, judge: Judge, fault: str
) -> None:
    """A proxy cannot hand a connection to another host: the limitation of every L7 architecture."""
    drill.run(fault, heal=False)
    verdicts = judge()
    must_be_limited(verdicts, "flow-survival: continuity")
    must_hold(verdicts, "flow-survival: reconnect")


@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_connection_ends_with_its_member_only(drill: Drill, judge: Judge) -> None:
    drill.run("kill:member")
    verdicts = judge()
    continuity = [v for v in verdicts if v.title() == "flow-survival: continuity"]
    assert continuity
    for verdict in continuity:
        verdict.check()


@pytest.mark.testbed("vip-l7", on_marked_down="shutdown-sessions", masters=1, **QUICK)
def test_the_sessions_of_a_member_that_is_marked_down_are_cut(drill: Drill, judge: Judge) -> None:
    """It goes on serving them, but its readiness is gone: `on-marked-down shutdown-sessions` ends them."""
    drill.steady()
    drill.strike("backend-status:member,paths=/readyz")
    drill.watch(1.5)
    drill.finish()
    must_be_limited(judge(), "flow-survival: continuity")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l7", **QUICK)
@pytest.mark.parametrize(
    "fault", ["reload:active/haproxy", "host-crash:standby", "backend-status:member,paths=/readyz"]
)
def test_a_connection_outlives_what_does_not_touch_it(drill: Drill, judge: Judge, fault: str) -> None:
    """A reload, the standby's end, and the removal of a member that goes on serving."""
    drill.run(fault)
    must_hold(judge(), "flow-survival: continuity")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
@pytest.mark.parametrize("fault", ["reload:active/haproxy", "kill:standby"])
def test_a_connection_that_breaks_for_nothing_is_caught(drill: Drill, judge: Judge, fault: str) -> None:
    """Its member ends at the same time, which nobody is told."""
    testbed = drill.testbed
    drill.steady()
    drill.strike(fault)
    last = testbed.recorder.timeline.last("probe", client="cl", stream="long", result="ok")
    assert last is not None
    process = testbed.process(last.member, "master")
    process.expected_end = True
    process.signal_tree(signal.SIGKILL)
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "flow-survival", "continuity")
