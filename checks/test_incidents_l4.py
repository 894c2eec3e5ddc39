"""What directors have done to people, each as one drill: what happened, and the verdict that shows it.

Where there is a cure, the same drill shows that it cures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.directors import CALM, QUICK, VIP
from checks.judging import Judge, must_be_limited, must_catch, must_hold
from checks.test_arp_hygiene import forget
from harness.drill import Drill
from harness.timeline import Event


def lost(drill: Drill, client: str, stream: str, since_ns: int, until_ns: int | None = None) -> list[Event]:
    """What a client lost in a window."""
    told = drill.testbed.recorder.timeline.of("probe", client=client, stream=stream, since=since_ns)
    return [e for e in told if e.result != "ok" and (until_ns is None or e.t < until_ns)]


def member_of_the_long_connection(drill: Drill) -> str:
    """The member that answers cl's long connection."""
    answers = drill.testbed.recorder.timeline.of("probe", client="cl", stream="long", result="ok")
    return str(answers[-1].member)


@pytest.mark.parametrize("testbed", [{}, {"expire_nodest_conn": True}], indirect=True, ids=str)
@pytest.mark.testbed("vip-l4", **QUICK)
def test_the_connections_of_a_removed_member_hang_in_silence(drill: Drill, judge: Judge) -> None:
    """A node stops answering and is taken out of the table, and clients hang until their own time-outs.

    Nobody resets what they had open: IPVS drops packets of a connection whose member is gone, unless
    expire_nodest_conn is set, and then they are told at once.  flow-survival tells how long it took them.
    """
    drill.steady()
    fault = drill.strike(f"backend-blackhole:{member_of_the_long_connection(drill)}")
    drill.aftermath(fault)
    drill.watch(3.0)
    drill.finish()
    must_hold(judge(), "member-removal: table")
    told = {e.result for e in lost(drill, "cl", "long", fault.injected_ns)}
    resets = drill.testbed.topology.options["expire_nodest_conn"]
    assert ("reset" in told) == resets, told


@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_planned_stop_of_a_director_cuts_everybody_off(drill: Drill, judge: Judge) -> None:
    """The standby takes over in time, and resets every connection that it was never told of."""
    drill.run("stop:lb1/keepalived", heal=False)
    verdicts = judge()
    must_be_limited(verdicts, "flow-survival: continuity")
    must_hold(verdicts, "vip-migration", "flow-survival: reconnect")


@pytest.mark.parametrize(
    "testbed", [{"sync": "both", "sync_threshold": "3 10"}, {"sync": "off"}], indirect=True, ids=str
)
@pytest.mark.testbed("vip-l4", preempt_delay=2.0, **QUICK)
def test_a_director_comes_back_and_knows_nobody(drill: Drill, judge: Judge) -> None:
    """It crashed, and the other one was told of everything; the way back is a second takeover.

    A director that only tells while it is MASTER and only listens otherwise has heard nothing while it was
    away.  With daemons that do both, and some time before it takes the address back, connections outlive
    both ways; without any they break twice.
    """
    drill.run("host-crash")
    told = drill.testbed.recorder.timeline
    steady = told.first("phase", name="steady")
    assert steady is not None
    anew = [e for e in told.of("probe", client="cl", stream="long", since=steady.t) if e.get("reconnected")]
    if drill.testbed.topology.options["sync"] == "off":
        must_be_limited(judge(), "flow-survival: continuity")
        assert len(anew) >= 2, "one of the two takeovers cost no connection"
    else:
        must_hold(judge(), "flow-survival: continuity", "fail-back")
        assert not anew, "a connection broke on the way back"


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", arp="none", **QUICK)
def test_a_member_answers_for_the_vip_and_gets_all_the_traffic(drill: Drill, judge: Judge) -> None:
    """arp_ignore is missing: whoever answers first has the clients, and the balancing is gone.

    arp-hygiene names the members, with their answers.
    """
    drill.steady()
    forget(drill)
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "arp-hygiene")
    answers = drill.testbed.recorder.timeline.of("arp", sender_ip=VIP)
    assert {e.node for e in answers} & {"m1", "m2", "m3"}, "no member answered for the VIP"


@pytest.mark.testbed("vip-l4", forwarding="nat", bystander=True, **QUICK)
def test_the_service_works_from_everywhere_but_its_own_network(drill: Drill, judge: Judge) -> None:
    """Behind NAT a client in the members' network is answered by a member directly, and resets it."""
    drill.steady()
    drill.watch(1.0)
    drill.finish()
    verdicts = judge()
    assert must_be_limited(verdicts, "self-client: bystander").outright
    must_hold(verdicts, "client-outage: without a fault")


@pytest.mark.parametrize("which", ["active", "standby"])
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_reload_while_a_member_is_down_does_not_keep_it_out(drill: Drill, judge: Judge, which: str) -> None:
    """keepalived 1.2 to 2.0 forgot at a reload that a check had failed, and never took the member back."""
    drill.steady()
    dead = drill.strike("kill:m1")
    drill.aftermath(dead)
    drill.strike(f"reload:{which}/keepalived")
    drill.watch(1.0)
    drill.heal(dead)
    drill.finish()
    must_hold(judge(), "member-removal: return")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_member_deleted_from_the_file_takes_its_connections_along(
    drill: Drill, judge: Judge, tmp_path: Path
) -> None:
    """Somebody deletes a real_server and reloads: what clients had open there is dropped (flow-survival).

    The drill `drain` is what should have come first: weight 0, and nobody notices.
    """
    drill.steady()
    member = member_of_the_long_connection(drill)
    own = drill.testbed.topology.node(member).interfaces[0].addresses[0].partition("/")[0]
    text = drill.testbed.node("lb1").read("/etc/keepalived/keepalived.conf").decode()
    head, _, block = text.partition(f"    real_server {own} ")
    file = tmp_path / "keepalived.conf"
    file.write_text(head + block.partition("\n    }\n")[2])
    drill.strike(f"reload:active/keepalived,config={file}")
    drill.watch(4.0)
    drill.finish()
    must_catch(judge(), "flow-survival", "continuity")


@pytest.mark.parametrize("testbed", [{}, {"alpha": True, "preempt_delay": 3.0}], indirect=True, ids=str)
@pytest.mark.testbed(
    "vip-l4", delay_loop=0.4, delay_before_retry=0.2, connect_timeout=0.3, warmup=2.0, **CALM
)
def test_a_director_boots_and_sends_clients_to_a_dead_member(drill: Drill, judge: Judge) -> None:
    """Without alpha a director takes everybody for well at first, and has the VIP before it has checked.

    director-start tells how long the dead member was in its table; with alpha, and with the VIP taken only
    after the first checks, it never was, and nobody lost anything by it.
    """
    drill.steady()
    dead = drill.strike("kill:m1")
    drill.aftermath(dead)
    crash = drill.strike("host-crash:lb1")
    drill.aftermath(crash)
    drill.heal(crash)
    drill.watch(2.0)
    drill.finish()
    timeline = drill.testbed.recorder.timeline
    healing = timeline.last("phase", name="healing")
    assert healing is not None
    back = next(e.t for e in timeline.of("vrrp", node="lb1", since=healing.t) if e.priority > 0)
    refused = [e for e in lost(drill, "cl", "new", back) if e.result == "refused"]
    if drill.testbed.topology.options["alpha"]:
        must_hold(judge(), "director-start: kept out", "director-start: let in")
        assert not refused
    else:
        must_hold(judge(), "director-start: taken out")
        assert refused, "nobody was sent to the dead member"
