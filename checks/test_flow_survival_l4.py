"""flow-survival with IPVS: connections outlive a takeover if the next director was told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import topologies
from checks.directors import QUICK
from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill
from harness.services.firewall import Firewall
from harness.testbed import Testbed

NewTestbed = Callable[..., Testbed]

TOLD = {**QUICK, "sync_threshold": "3 10"}
"""Connections are told often, also those that began before both daemons listened."""


@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_director_that_was_not_told_ends_connections(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash", heal=False)
    verdicts = judge()
    must_be_limited(verdicts, "flow-survival: continuity")
    must_hold(verdicts, "flow-survival: reconnect")


@pytest.mark.parametrize(
    "testbed",
    [
        {"sync": "both", "forwarding": "dr"},
        {"sync": "both", "forwarding": "nat"},
        {"sync": "instance", "forwarding": "tun"},
    ],
    indirect=True,
    ids=str,
)
@pytest.mark.testbed("vip-l4", **TOLD)
def test_a_director_that_was_told_goes_on(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash", heal=False)
    must_hold(judge(), "flow-survival: continuity", "client-outage: outage")


@pytest.mark.testbed("vip-l4", scheduler="mh", sloppy_tcp=True, **QUICK)
def test_a_hash_and_sloppy_tcp_do_as_well(drill: Drill, judge: Judge) -> None:
    """The next director takes a connection up in its middle and chooses the same member."""
    drill.run("host-crash", heal=False)
    must_hold(judge(), "flow-survival: continuity")


@pytest.mark.testbed("vip-l4", sync="both", **(QUICK | {"sync_threshold": "5000 9000"}))
def test_a_connection_may_be_too_young_to_be_told_of(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash", heal=False)
    must_be_limited(judge(), "flow-survival: continuity")


@pytest.mark.parametrize(
    "testbed", [{"expire_nodest_conn": True}, {"expire_nodest_conn": False}], indirect=True
)
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_connection_ends_with_its_member_only(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash:member", heal=False)
    verdicts = judge()
    continuity = [v for v in verdicts if v.title() == "flow-survival: continuity"]
    assert continuity
    for verdict in continuity:
        verdict.check()


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", **QUICK)
@pytest.mark.parametrize("fault", ["reload:active/keepalived", "host-crash:standby"])
def test_a_connection_through_ipvs_outlives_what_does_not_touch_it(
    drill: Drill, judge: Judge, fault: str
) -> None:
    drill.run(fault, heal=False)
    must_hold(judge(), "flow-survival: continuity")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.parametrize(("director", "chain"), [("lb1", "OUTPUT"), ("lb2", "INPUT")])
def test_sync_messages_that_are_lost_are_caught(
    new_testbed: NewTestbed, director: str, chain: str, judge: Judge
) -> None:
    """A firewall on one director drops what the sync daemon sends, or what it is to receive."""
    # No connection begins at the other director, which would know it without being told.
    made = topologies.make("vip-l4", {"sync": "both", "globals2": "vrrp_startup_delay 2", **TOLD})
    lost = Firewall((f"filter {chain} -p udp --dport 8848 -j DROP",))
    nodes = tuple(
        replace(node, services=(lost, *node.services)) if node.name == director else node
        for node in made.nodes
    )
    testbed = new_testbed(replace(made, nodes=nodes))
    drill = Drill(testbed)
    drill.steady()
    assert testbed.recorder.timeline.of("vrrp", node="lb2") == []
    drill.strike("host-crash:lb1")
    drill.watch(3.0)
    drill.finish()
    must_catch(judge(), "flow-survival", "continuity")
