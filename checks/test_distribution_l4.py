"""distribution with IPVS: shares by scheduler and weights, clients that stay with their member."""

from __future__ import annotations

import pytest

from checks.directors import METHODS, QUICK, SCRIPTS, TABLE_ENTRY, address, ipvsadm
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill


def calm(drill: Drill) -> None:
    """A drill without a fault, long enough for some hundred connections."""
    drill.steady()
    drill.watch(2.0)
    drill.finish()


def give_out_in_turn(drill: Drill) -> None:
    """The directors' virtual servers have the scheduler rr and no persistence, whatever is configured."""
    for director in ("lb1", "lb2"):
        drill.testbed.node(director).run(
            ["ipvsadm", "--edit-service", "--tcp-service", TABLE_ENTRY, "--scheduler", "rr"]
        )


@pytest.mark.parametrize(
    "testbed",
    [
        {"scheduler": "rr", "forwarding": "nat"},
        {"scheduler": "wrr", "weights": "3+2+1"},
        {"scheduler": "lc"},
        {"scheduler": "wlc", "weights": "3+2+1"},
        {"scheduler": "sh"},
        {"scheduler": "mh"},
        {"scheduler": "wlc", "persistence": 60},
    ],
    indirect=True,
    ids=str,
)
@pytest.mark.testbed("vip-l4", **QUICK)
def test_every_scheduler_does_as_it_promises(drill: Drill, judge: Judge) -> None:
    calm(drill)
    must_hold(judge(), "distribution", "client-outage: without a fault")


@pytest.mark.testbed("vip-l4", check="misc-dynamic", scheduler="wrr", **SCRIPTS)
def test_scripts_set_the_weights(drill: Drill, judge: Judge) -> None:
    """misc_dynamic: what a script exits with, less two, is the member's weight from then on."""
    testbed = drill.testbed
    drill.steady()
    for director in ("lb1", "lb2"):
        testbed.node(director).write(f"/etc/keepalived/weights/{address(testbed, 'm1')}", "4\n")
    told = testbed.recorder.timeline
    testbed.recorder.wait(
        lambda: bool(told.of("ipvs", node="lb1", weight=4)), 8.0, "the weight of the script"
    )
    drill.watch(2.0)
    drill.finish()
    must_hold(judge(), "distribution")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", scheduler="mh", flags="mh-port", **QUICK)
def test_a_hash_by_port_need_not_keep_a_client(drill: Drill, judge: Judge) -> None:
    calm(drill)
    verdicts = judge()
    assert not [v for v in verdicts if v.property == "distribution" and "affinity" in v.aspect]
    must_hold(verdicts, "client-outage: without a fault")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", scheduler="wrr", **QUICK)
def test_a_weight_that_was_changed_by_hand_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    ipvsadm(drill.testbed, "--edit-server", address(drill.testbed, "m1"), METHODS["dr"], "--weight", "12")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "distribution")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", scheduler="lc", probe_rate=10, **QUICK)
def test_connections_that_go_round_in_turn_are_caught(drill: Drill, judge: Judge) -> None:
    """The virtual server really gives them out by rr, also to who has a long one.

    One request at a time: of what overlaps nobody can say for sure who had less to do.
    """
    drill.steady()
    give_out_in_turn(drill)
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "distribution", "lb1, least")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", persistence=60, **QUICK)
def test_a_client_that_does_not_stay_is_caught(drill: Drill, judge: Judge) -> None:
    """The virtual server really has no persistence."""
    drill.steady()
    give_out_in_turn(drill)
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "distribution")
