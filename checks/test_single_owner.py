"""single-owner: over the whole run, never two owners of the VIP and never none, longer than the bound."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

import topologies
from checks.judging import Judge, must_catch, must_hold
from harness.bounds.vrrp import Speaker, down_us
from harness.configs.keepalived import read_keepalived
from harness.drill import Drill
from harness.services.keepalived import Keepalived
from harness.testbed import Testbed
from harness.topology import NodeSpec


@pytest.mark.testbed("vip-l7")
def test_an_undisturbed_pair_has_one_owner(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.watch(2.0)
    drill.finish()
    must_hold(judge(), "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7")
def test_one_lost_advert_is_forgiven(drill: Drill, judge: Judge) -> None:
    """A control: a backup waits for three advertisements before it takes over."""
    testbed = drill.testbed
    drill.steady()
    rule = testbed.fabric.rules.drop("ip protocol 112", destination=testbed.fabric.port("lb2", "eth0"))
    drill.next_adverts(1)
    testbed.fabric.rules.remove(rule)
    drill.watch(1.0)
    drill.finish()
    must_hold(judge(), "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", globals2="v3_checksum_as_v2 true")
def test_two_ways_to_reckon_the_checksum_get_along(drill: Drill, judge: Judge) -> None:
    """A control: keepalived 2.3.3 takes either, with a pseudo-header or without (RFC 9568 section 5.2.8)."""
    drill.steady()
    drill.watch(1.0)
    drill.finish()
    must_hold(judge(), "single-owner")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_vrrp_dropped_one_way_is_caught(drill: Drill, judge: Judge) -> None:
    """The backup does not hear the owner: split-brain (both announce, both have the address)."""
    testbed = drill.testbed
    drill.steady()
    testbed.fabric.rules.drop("ip protocol 112", destination=testbed.fabric.port("lb2", "eth0"))
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "single-owner", "two")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
def test_a_vip_without_any_owner_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    for balancer in ("lb1", "lb2"):
        drill.testbed.process(balancer, "keepalived").signal_tree(signal.SIGSTOP)
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "single-owner", "none")


VERSION_2 = {"vrrp_version": 2, "advert_int": 1}


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize(
    "testbed",
    [
        pytest.param({"instance2": "advert_int 2", **VERSION_2}, id="timers-mismatched-in-version-2"),
        pytest.param(
            {"instance2": "authentication {;auth_type PASS;auth_pass secret;}", **VERSION_2},
            id="authentication-mismatched",
        ),
        pytest.param(
            {"instance2": "unicast_src_ip 10.0.0.12;unicast_peer {;10.0.0.11;}"},
            id="unicast-beside-multicast",
        ),
        pytest.param({"instance2": "version 2;advert_int 1"}, id="versions-mismatched"),
    ],
    indirect=True,
)
def test_who_discards_the_other_s_adverts_is_caught(drill: Drill, judge: Judge) -> None:
    """Both are on the wire from the start, and each believes to be alone."""
    files = drill.testbed.recorder.timeline.of("config", service="keepalived")
    configs = [read_keepalived(file.text, file.path) for file in files]
    speakers = [Speaker.of("", instance, config) for config in configs for instance in config.instances]
    drill.next_adverts(1)
    drill.watch(max(down_us(speaker) for speaker in speakers) / 1e6 + 1.0)
    drill.finish()
    must_catch(judge(), "single-owner", "two")


@pytest.mark.saboteur
def test_another_pair_with_the_same_vrid_is_caught(new_testbed: Callable[..., Testbed], judge: Judge) -> None:
    """A third speaker of VRID 51 on the segment, of higher priority, with an address of its own.

    keepalived 2.3.3 takes its advertisements for those of an owner, so that nobody has the VIP.
    """
    made = topologies.make("vip-l7", {"balancers": 3, "priority3": 200})
    drill = Drill(new_testbed(replace(made, nodes=tuple(map(_foreign, made.nodes)))))
    drill.next_adverts(1)
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "single-owner", "none")


def _foreign(node: NodeSpec) -> NodeSpec:
    """lb3 belongs to somebody else: another address under the same VRID."""
    if node.name != "lb3":
        return node
    services = tuple(
        replace(service, text=service.text.replace("10.0.0.100/24", "10.0.0.200/24"))
        if isinstance(service, Keepalived)
        else service
        for service in node.services
    )
    return replace(node, services=services)


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", balancers=3, priority2=100, priority3=100)
def test_equal_priorities_are_caught(drill: Drill, judge: Judge) -> None:
    """Whether one or both of them take the VIP is chance; that it is chance is caught."""
    drill.run("stop:lb1", heal=False)
    must_catch(judge(), "single-owner", "election")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", balancers=3)
def test_the_second_of_three_takes_over_alone(drill: Drill, judge: Judge) -> None:
    """A control: three balancers with distinct priorities."""
    drill.run("stop:lb1")
    must_hold(judge(), "vip-migration", "single-owner", "fail-back", "client-outage")
