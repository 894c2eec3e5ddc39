"""udp-flows: a flow of datagrams stays with its member, dead or alive, or moves at once."""

from __future__ import annotations

from typing import Any

import pytest

from checks.directors import QUICK
from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill

RESOLVERS: dict[str, Any] = {**QUICK, "serve": "resolvers"}


def member_of_the_flow(drill: Drill) -> str:
    """The member that answers cl's flow."""
    told = drill.testbed.recorder.timeline.of("probe", client="cl", stream="long", result="ok")
    return str(told[-1].member)


def lose_its_member(drill: Drill) -> None:
    """Kill the member that a flow has, until it is taken out and some time more."""
    drill.aftermath(drill.strike(f"kill:{member_of_the_flow(drill)}"))
    drill.watch(0.5)
    drill.finish()


@pytest.mark.testbed("vip-l4", inhibit_on_failure=True, expire_nodest_conn=True, **RESOLVERS)
def test_a_flow_never_leaves_a_dead_member_of_weight_0(drill: Drill, judge: Judge) -> None:
    """Who asks anew is served, and who goes on from the same port never is, expire_nodest_conn or not."""
    drill.steady()
    lose_its_member(drill)
    verdicts = judge()
    assert must_be_limited(verdicts, "udp-flows").outright
    must_hold(verdicts, "member-removal: table", "member-removal: removal")


@pytest.mark.testbed("vip-l4", expire_nodest_conn=True, **RESOLVERS)
def test_a_flow_moves_when_its_member_is_gone_and_its_entry_expires(drill: Drill, judge: Judge) -> None:
    drill.steady()
    lose_its_member(drill)
    must_hold(judge(), "udp-flows", "member-removal: table")


@pytest.mark.control
@pytest.mark.testbed("vip-l4", ops=True, **RESOLVERS)
def test_datagrams_that_are_scheduled_one_by_one_know_no_flow(drill: Drill, judge: Judge) -> None:
    """Drained with weight 0, a member gets nothing more, which is the other cure."""
    drill.run("drain:d1", heal=False)
    must_hold(judge(), "udp-flows", "maintenance: rotation")


@pytest.mark.parametrize("testbed", [{"expire_nodest_conn": True}, {}], indirect=True, ids=str)
@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **RESOLVERS)
def test_entries_that_live_on_or_expire_against_what_is_said_are_caught(drill: Drill, judge: Judge) -> None:
    """Somebody sets expire_nodest_conn: what was to move is dropped, or moves though it could not."""
    drill.steady()
    other = "0" if drill.testbed.topology.options["expire_nodest_conn"] else "1"
    for director in ("lb1", "lb2"):
        drill.testbed.node(director).sysctl({"net.ipv4.vs.expire_nodest_conn": other})
    lose_its_member(drill)
    must_catch(judge(), "udp-flows")
