"""arp-hygiene: with direct routing and tunnels members have the VIP, and tell nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest

import topologies
from checks.directors import QUICK, VIP
from checks.judging import Judge, must_catch, must_hold
from checks.test_flow_survival_l4 import NewTestbed
from harness.drill import Drill


def forget(drill: Drill) -> None:
    """The neighbours of the VIP look for it again."""
    for node in ("cl", "rt"):
        drill.testbed.node(node).status(["ip", "neigh", "flush", "to", VIP])


def calm(drill: Drill) -> None:
    """A drill in which everybody asks anew where the VIP is."""
    drill.steady()
    forget(drill)
    drill.watch(0.5)
    drill.finish()


@pytest.mark.testbed("vip-l4", **QUICK)
def test_only_the_directors_tell_where_the_vip_is(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash")
    must_hold(judge(), "arp-hygiene")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", forwarding="tun", **QUICK)
def test_members_at_the_end_of_tunnels_tell_nobody_either(drill: Drill, judge: Judge) -> None:
    calm(drill)
    must_hold(judge(), "arp-hygiene")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", arp="none", **QUICK)
def test_members_that_answer_for_the_vip_are_caught(drill: Drill, judge: Judge) -> None:
    """arp_ignore and arp_announce were forgotten."""
    calm(drill)
    must_catch(judge(), "arp-hygiene")


@pytest.mark.saboteur
def test_a_member_that_asks_from_the_vip_is_caught(new_testbed: NewTestbed, judge: Judge) -> None:
    """arp_ignore alone: the member does not answer for the VIP, but asks others with it."""
    made = topologies.make("vip-l4", QUICK)
    half = {"net.ipv4.conf.all.arp_ignore": "1"}
    nodes = tuple(replace(node, sysctls=half) if node.name == "m1" else node for node in made.nodes)
    drill = Drill(new_testbed(replace(made, nodes=nodes)))
    drill.steady()
    drill.testbed.node("m1").run(["ip", "neigh", "flush", "dev", "eth0"])
    drill.watch(0.5)
    drill.finish()
    must_catch(judge(), "arp-hygiene")
