"""A fault that no property knows what to make of must not pass."""

from __future__ import annotations

import pytest

from checks.selftest.pooled import PoolLab
from harness.observe.lateness import STALE
from harness.properties import judge_all
from harness.report.headline import headline, outcome
from harness.verdict import Status


def run(fault: str, target: str) -> PoolLab:
    """A calm run with this fault in it."""
    lab = PoolLab()
    lab.takes("lb1", 0.5, 5.0)
    lab.steady()
    lab.asks(1.0, 5.0)
    lab.fault(fault, target, 2.03)
    lab.done(5.0)
    return lab


def test_a_fault_of_a_balancer_that_nobody_judges_is_unknown() -> None:
    timeline = run("meteor", "lb1").timeline()
    verdicts = judge_all(timeline)
    assert outcome(verdicts) is Status.UNKNOWN
    assert [v.sentence for v in verdicts if v.property == "coverage"] == [
        "no property says what meteor of lb1 must do, so nothing was judged of it"
    ]


def test_a_fault_of_a_member_that_nobody_judges_is_unknown() -> None:
    assert outcome(judge_all(run("disk-full", "m1").timeline())) is Status.UNKNOWN


@pytest.mark.parametrize(("fault", "target"), [("host-crash", "lb2"), ("reload", "lb1/haproxy")])
def test_a_fault_that_was_judged_passes(fault: str, target: str) -> None:
    verdicts = judge_all(run(fault, target).timeline())
    assert outcome(verdicts) is Status.PASS
    assert "coverage" not in {v.property for v in verdicts}


def test_a_dead_proxy_that_nothing_tracks_is_told_in_the_headline() -> None:
    lab = PoolLab()
    lab.takes("lb1", 0.5, 5.0)
    lab.steady()
    lab.asks(1.0, 2.03)
    lab.fault("kill", "lb1/haproxy", 2.03)
    lab.asks(2.03, 5.0, "m1", ill="m1")
    lab.done(5.0)
    verdicts = judge_all(lab.timeline())
    assert outcome(verdicts) is Status.LIMITATION
    assert headline(lab.timeline(), verdicts) == (
        "The VIP stayed on lb1; 297 of 400 requests lost; service-tracking does not hold (known limitation)."
    )


def test_of_what_nothing_is_promised_the_figures_are_told() -> None:
    timeline = run("disk-full", "lb1").timeline()
    found = [v for v in judge_all(timeline) if v.property == "coverage"]
    assert [v.status for v in found] == [Status.NOT_APPLICABLE]
    assert "nothing is promised" in found[0].sentence
    assert "nothing is promised under this fault" in headline(timeline, judge_all(timeline))


def test_attempts_that_the_probe_never_made_prove_nothing() -> None:
    lab = run("host-crash", "lb2")
    lab.attempt(2.505, None, result="error")
    assert outcome(judge_all(lab.timeline())) is Status.FAIL
    lab.events[-1].data["detail"] = STALE
    assert outcome(judge_all(lab.timeline())) is Status.UNKNOWN
