"""self-client: members and balancers reach the service through the VIP, the VIP's holder included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import topologies
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill
from harness.testbed import Testbed

NewTestbed = Callable[..., Testbed]


def own_clients(new_testbed: NewTestbed, *clients: str, **options: object) -> Drill:
    """A1 in which these nodes ask the VIP themselves, beside the usual clients."""
    made = topologies.make("vip-l7", options)
    first = made.probes[0]
    probes = (*made.probes, *(replace(first, client=client) for client in clients))
    return Drill(new_testbed(replace(made, probes=probes), probe_rate=50.0))


def block(drill: Drill, client: str) -> None:
    """What a node sends to the VIP is lost on its way out."""
    fabric = drill.testbed.fabric
    fabric.rules.drop("ip daddr 10.0.0.100", source=fabric.port(client, "eth0"))


@pytest.mark.parametrize("proxy", ["haproxy", "nginx"])
def test_every_node_reaches_the_vip(new_testbed: NewTestbed, proxy: str, judge: Judge) -> None:
    drill = own_clients(new_testbed, "m1", "lb1", "lb2", proxy=proxy)
    drill.steady()
    drill.watch(1.0)
    drill.finish()
    verdicts = judge()
    must_hold(verdicts, "self-client: member", "self-client: holder", "self-client: standby")


@pytest.mark.control
def test_a_member_reaches_the_vip_while_it_serves_nobody_itself(
    new_testbed: NewTestbed, judge: Judge
) -> None:
    """A control: its own server is dead and removed; before and after, the VIP serves it."""
    drill = own_clients(new_testbed, "m1", inter=0.2)
    drill.run("kill:m1")
    must_hold(judge(), "self-client: member", "member-removal")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.parametrize(("client", "aspect"), [("m1", "member"), ("lb2", "standby")])
def test_a_node_that_cannot_reach_the_vip_is_caught(
    new_testbed: NewTestbed, client: str, aspect: str, judge: Judge
) -> None:
    drill = own_clients(new_testbed, client)
    drill.steady()
    block(drill, client)
    drill.watch(1.0)
    drill.finish()
    must_catch(judge(), "self-client", aspect)


@pytest.mark.saboteur
def test_a_holder_that_cannot_reach_its_own_vip_is_caught(new_testbed: NewTestbed, judge: Judge) -> None:
    """The holder's packets to the VIP go by its loopback, so they are dropped there."""
    drill = own_clients(new_testbed, "lb1")
    drill.steady()
    drill.testbed.process("lb1", "haproxy").signal_tree(19)
    drill.watch(1.0)
    drill.testbed.process("lb1", "haproxy").signal_tree(18)
    drill.finish()
    must_catch(judge(), "self-client", "holder")
