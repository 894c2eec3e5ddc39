"""distribution: members get the share of new connections that weights and algorithm promise."""

from __future__ import annotations

import pytest

from checks.judging import Judge, must_catch, must_hold
from checks.sabotage import reconfigure_secretly
from harness.drill import Drill


def calm(drill: Drill) -> None:
    """A drill without a fault, long enough for some hundred connections."""
    drill.steady()
    drill.watch(1.5)
    drill.finish()


@pytest.mark.testbed("vip-l7")
def test_haproxy_gives_every_member_its_turn(drill: Drill, judge: Judge) -> None:
    calm(drill)
    must_hold(judge(), "distribution")


@pytest.mark.testbed("vip-l7", proxy="nginx")
def test_nginx_gives_every_member_its_turn(drill: Drill, judge: Judge) -> None:
    calm(drill)
    must_hold(judge(), "distribution")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", masters=5)
def test_five_members_share_alike(drill: Drill, judge: Judge) -> None:
    """A control: the shares follow the number of members."""
    calm(drill)
    must_hold(judge(), "distribution")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize(
    ("old", "new"),
    [("10.0.0.21:6443 check", "10.0.0.21:6443 weight 16 check"), ("balance roundrobin", "balance first")],
)
def test_an_uneven_share_is_caught(drill: Drill, judge: Judge, old: str, new: str) -> None:
    """HAProxy really weighs one member more, or fills one before it asks the next."""
    drill.steady()
    reconfigure_secretly(drill.testbed, "lb1", "haproxy", old, new)
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "distribution")
