"""self-client with IPVS: what becomes of members and directors that ask their own VIP, and what cures it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import topologies
from checks.directors import QUICK, VIP
from checks.judging import Judge, must_be_limited, must_catch, must_hold
from checks.test_flow_survival_l4 import NewTestbed
from harness.drill import Drill
from harness.verdict import Status, Verdict, check_all, worst


def own_clients(new_testbed: NewTestbed, *clients: str, **options: object) -> Drill:
    """A2 in which these nodes ask the VIP themselves; nobody waits until they are served."""
    made = topologies.make("vip-l4", {**QUICK, **options})
    first = made.probes[0]
    own = (replace(first, client=client, awaited=False, patience_s=0.0) for client in clients)
    return Drill(new_testbed(replace(made, probes=(*made.probes, *own)), probe_rate=50.0))


def judged(drill: Drill, judge: Judge, seconds: float = 1.0) -> list[Verdict]:
    """What a while without a fault shows."""
    drill.steady()
    return watched(drill, judge, seconds)


def watched(drill: Drill, judge: Judge, seconds: float = 1.0) -> list[Verdict]:
    """What a while shows that need not be without loss."""
    drill.watch(seconds)
    drill.finish()
    return judge()


def test_behind_nat_a_member_is_refused_and_the_packets_tell_why(
    new_testbed: NewTestbed, judge: Judge
) -> None:
    """The answer of another member passes the director by; masters' A2 is unfit."""
    drill = own_clients(new_testbed, "m1", "lb1", "lb2", forwarding="nat")
    verdicts = judged(drill, judge)
    found = must_be_limited(verdicts, "self-client: member")
    assert found.outright
    told = [e for e in drill.testbed.recorder.timeline.of("packet", client="m1") if e.what == "SYN+ACK"]
    assert told, "no member's direct answer is among the packets"
    assert all(e.node != "lb1" and e.to == "m1" for e in told)
    must_hold(verdicts, "client-outage: without a fault", "self-client: holder", "self-client: standby")
    check_all(verdicts)
    assert worst(verdicts) is Status.LIMITATION


def test_masquerading_at_the_director_cures_it(new_testbed: NewTestbed, judge: Judge) -> None:
    verdicts = judged(own_clients(new_testbed, "m1", forwarding="nat", masquerade=True), judge)
    must_hold(verdicts, "self-client: member", "client-outage: without a fault")


@pytest.mark.parametrize("forwarding", ["dr", "tun"])
def test_a_member_with_the_vip_asks_only_itself(
    new_testbed: NewTestbed, forwarding: str, judge: Judge
) -> None:
    """And nobody once its own service is down, although the others are well."""
    drill = own_clients(new_testbed, "m1", "lb1", "lb2", forwarding=forwarding)
    drill.steady()
    drill.watch(1.0)
    drill.strike("kill:m1")
    drill.watch(1.5)
    drill.finish()
    verdicts = judge()
    must_be_limited(verdicts, "self-client: member")
    assert must_be_limited(verdicts, "self-client: member alone").outright
    must_be_limited(verdicts, "self-client: holder")
    must_hold(verdicts, "self-client: standby", "member-removal: removal")


@pytest.mark.testbed("vip-l4", forwarding="nat", bystander=True, **QUICK)
def test_who_stands_beside_members_behind_nat_is_answered_past_the_director(
    drill: Drill, judge: Judge
) -> None:
    """The answer comes from the member's own address straight to the client, who began nothing with it."""
    verdicts = judged(drill, judge)
    assert must_be_limited(verdicts, "self-client: bystander").outright
    told = drill.testbed.recorder.timeline.of("packet", client="by")
    answers = [e for e in told if e.what == "SYN+ACK"]
    assert answers, "no member's direct answer is among the packets"
    assert all((e.node[0], e.to, e.src.startswith(VIP)) == ("m", "by", False) for e in answers)
    resets = [e for e in told if "RST" in e.what]
    assert {(e.node, e.dst) for e in resets} <= {("by", e.src) for e in answers}
    assert resets, "the client refused nothing"
    must_hold(verdicts, "client-outage: without a fault")


@pytest.mark.testbed("vip-l4", forwarding="nat", bystander=True, masquerade=True, **QUICK)
def test_masquerading_serves_who_stands_beside_members_too(drill: Drill, judge: Judge) -> None:
    must_hold(judged(drill, judge), "self-client: bystander", "client-outage: without a fault")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
def test_masters_may_ask_for_applications(new_testbed: NewTestbed, judge: Judge) -> None:
    """A control: a member of another VIP's pool is a client like any other."""
    made = topologies.make("vip-l4", {**QUICK, "serve": "both"})
    first = next(probe for probe in made.probes if probe.port == 80)
    nodes = (*made.probes, replace(first, client="m1", awaited=False))
    drill = Drill(new_testbed(replace(made, probes=nodes), probe_rate=50.0))
    must_hold(judged(drill, judge), "self-client: member")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
def test_a_cure_that_is_missing_is_caught(new_testbed: NewTestbed, judge: Judge) -> None:
    """The rules that masquerade are gone, and nobody was told."""
    drill = own_clients(new_testbed, "m1", forwarding="nat", masquerade=True)
    drill.steady()
    for director in ("lb1", "lb2"):
        drill.testbed.node(director).run(["iptables-legacy", "--table", "nat", "--flush"])
    must_catch(watched(drill, judge), "self-client", "member")


@pytest.mark.saboteur
def test_a_limitation_that_is_none_is_caught(new_testbed: NewTestbed, judge: Judge) -> None:
    """A director masquerades although nothing says so: what was to be impossible works."""
    drill = own_clients(new_testbed, "m1", forwarding="nat")
    drill.steady()
    rule = "--table nat --append POSTROUTING --out-interface eth1 --jump MASQUERADE"
    for director in ("lb1", "lb2"):
        node = drill.testbed.node(director)
        node.sysctl({"net.ipv4.vs.conntrack": "1"})
        node.run(["iptables-legacy", *rule.split()])
    must_catch(watched(drill, judge), "self-client", "member")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", forwarding="nat", bystander=True, **QUICK)
def test_a_bystander_that_comes_in_by_another_door_is_caught(drill: Drill, judge: Judge) -> None:
    """Members answer it through the director after all, by a route to it alone: what was to fail works."""
    drill.steady()
    for member in ("m1", "m2", "m3"):
        drill.testbed.node(member).run(["ip", "route", "add", "10.0.1.90/32", "via", "10.0.1.1"])
    must_catch(watched(drill, judge), "self-client", "bystander")


@pytest.mark.saboteur
def test_a_member_that_lost_the_vip_is_caught(new_testbed: NewTestbed, judge: Judge) -> None:
    """Without the VIP on lo the member is served by whoever the director chooses, if at all."""
    drill = own_clients(new_testbed, "m1")
    drill.steady()
    drill.testbed.node("m1").run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"])
    must_catch(watched(drill, judge), "self-client", "member")
