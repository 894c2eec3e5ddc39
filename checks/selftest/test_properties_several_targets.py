"""One fault of several targets: in whatever order they are named, the same is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from checks.selftest.pooled import PoolLab
from checks.selftest.synthetic import Lab
from checks.selftest.test_properties_service_tracking import script
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

THREE = {"lb1": 100, "lb2": 90, "lb3": 80}
TRACK = dict.fromkeys(THREE, "track_script {\nchk\n}")


def silenced(fault: str, target: str) -> Lab:
    """lb1 falls silent with what else is hit, and lb2 takes over by its timer."""
    lab = Lab()
    lab.takes("lb1", 0.5, 2.05)
    lab.fault(fault, target, 2.03)
    taken_s = 2.0 + 0.3 + 0.06484375
    lab.takes("lb2", taken_s, 6.0)
    lab.probes(0.6, 6.0, (2.03, taken_s + 0.002))
    lab.add(6.0, "phase", name="done")
    return lab


def without_lb2(fault: str, target: str) -> Lab:
    """lb1 gives up as its proxy ends, and as lb2 is hit too it is lb3 that takes over."""
    lab = PoolLab(blocks=script(), instance=TRACK, priorities=THREE)
    lab.takes("lb1", 0.5, 3.5)
    lab.steady()
    lab.asks(1.0, 2.03)
    lab.fault(fault, target, 2.03)
    for step in range(203, 360):
        lab.attempt(step / 100, None, result="refused")
    lab.advert("lb1", 3.5, priority=0)
    lab.address("lb1", 3.5, "del")
    lab.takes("lb3", 3.5 + (256 - 80) / 2560, 9.0)
    lab.asks(3.6, 9.0)
    lab.done(9.0)
    return lab


def stays(fault: str, target: str) -> Lab:
    """Whatever is hit, lb1 goes on, but for one request."""
    lab = PoolLab(blocks=script(), instance=TRACK, priorities=THREE)
    lab.takes("lb1", 0.5, 6.0)
    lab.steady()
    lab.asks(1.0, 2.0)
    lab.fault(fault, target, 2.0, detail="handover=no")
    lab.attempt(2.005, None, result="reset")
    lab.asks(2.02, 6.0)
    lab.done(6.0)
    return lab


def gist(verdict: Verdict) -> str:
    """What was found, without the words."""
    bound = None if verdict.bound is None else (verdict.bound.low, verdict.bound.high)
    return f"{verdict.title()}, {verdict.subject}: {verdict.status.value} {verdict.measured} {bound}"


@pytest.mark.parametrize(
    ("happens", "fault", "targets", "status"),
    [
        (silenced, "kill", ("lb1/keepalived", "m1/master"), Status.PASS),
        (silenced, "kill", ("lb1/keepalived", "lb1/haproxy"), Status.PASS),
        (silenced, "link-down", ("lb1:eth0", "lb1:eth1"), Status.PASS),
        (without_lb2, "kill", ("lb1/haproxy", "lb2/haproxy"), Status.PASS),
        (without_lb2, "kill", ("lb1/haproxy", "lb2/keepalived"), Status.PASS),
        (without_lb2, "hang", ("lb1/haproxy", "lb2/keepalived"), Status.PASS),
        (stays, "reload", ("lb1/haproxy", "lb2/haproxy"), Status.LIMITATION),
        (stays, "reload", ("lb2/haproxy", "lb3/haproxy"), Status.FAIL),
    ],
)
def test_in_both_orders(
    happens: Callable[[str, str], Lab], fault: str, targets: tuple[str, str], status: Status
) -> None:
    either, other = (
        judge_all(happens(fault, "+".join(order)).timeline()) for order in (targets, targets[::-1])
    )
    assert sorted(map(gist, either)) == sorted(map(gist, other))
    assert status in {v.status for v in either}
    assert (worst(either) is Status.FAIL) == (status is Status.FAIL)


def test_a_standby_s_proxy_moves_nothing_though_a_member_is_hit_too() -> None:
    for target in ("lb2/haproxy+m1/master", "m1/master+lb2/haproxy"):
        lab = PoolLab(blocks=script(), instance=TRACK, priorities=THREE)
        lab.takes("lb1", 0.5, 3.5)
        lab.fault("kill", target, 2.03)
        lab.advert("lb1", 3.5, priority=0)
        lab.takes("lb3", 3.5 + (256 - 80) / 2560, 6.0)
        lab.done(6.0)
        (found,) = judge_all(lab.timeline(), ["service-tracking"])
        assert found.status is Status.FAIL
