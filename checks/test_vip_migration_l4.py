"""vip-migration with IPVS: a director fails; the VIP moves within its bound, and clients follow."""

from __future__ import annotations

import signal

import pytest

from checks.directors import QUICK
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill

HOLDS = ("vip-migration", "client-outage", "single-owner")


@pytest.mark.parametrize(
    "testbed", [{"forwarding": "nat"}, {"forwarding": "dr"}, {"forwarding": "tun"}], indirect=True, ids=str
)
@pytest.mark.testbed("vip-l4", **QUICK)
def test_the_vip_moves_when_its_director_crashes(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash")
    must_hold(judge(), *HOLDS, "fail-back")


@pytest.mark.parametrize("fault", ["kill", "freeze", "link-down"])
@pytest.mark.testbed("vip-l4", **QUICK)
def test_the_vip_moves_within_its_bound(drill: Drill, judge: Judge, fault: str) -> None:
    drill.run(fault, heal=False)
    must_hold(judge(), *HOLDS)


@pytest.mark.testbed("vip-l4", forwarding="nat", **(QUICK | {"serve": "both"}))
def test_the_members_way_out_moves_with_the_vips(drill: Drill, judge: Judge) -> None:
    """Masters and routers behind NAT: both VIPs and the members' gateway are one instance."""
    drill.run("stop", heal=False)
    must_hold(judge(), *HOLDS)


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", **QUICK)
def test_the_standby_director_s_crash_moves_nothing(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash:standby", heal=False)
    must_hold(judge(), *HOLDS)


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_dead_standby_director_is_caught(drill: Drill, judge: Judge) -> None:
    """The standby stopped taking part without anybody having noticed."""
    drill.steady()
    drill.testbed.process("lb2", "keepalived").signal_tree(signal.SIGSTOP)
    drill.strike("host-crash:lb1")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "vip-migration")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", forwarding="nat", **QUICK)
def test_a_way_out_that_stays_behind_is_caught(drill: Drill, judge: Judge) -> None:
    """The members' gateway is not in the standby's configuration, so answers leave by nobody."""
    drill.steady()
    path = "/etc/keepalived/keepalived.conf"
    node = drill.testbed.node("lb2")
    node.write(path, node.read(path).decode().replace("10.0.1.1/24 dev eth1", "10.0.1.201/24 dev eth1"))
    drill.testbed.process("lb2", "keepalived").signal(signal.SIGHUP)
    drill.watch(1.0)
    drill.strike("host-crash:lb1")
    drill.watch(2.0)
    drill.finish()
    must_catch(judge(), "client-outage")
