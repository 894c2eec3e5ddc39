"""The arithmetic of keepalived's scripts and weights, against a model that runs them one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bounds import tracking
from harness.bounds.tracking import Tracking, script_failure
from harness.bounds.vrrp import Speaker
from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import VrrpScript
from harness.configs.source import Where

HERE = Where("keepalived.conf", 1)
HEIR = Speaker("lb2", 3, 90, 100_000)
OWNER = replace(HEIR, node="lb1", priority=100)


def script(interval_us: int = 1_000_000, timeout_us: int = 1_000_000, fall: int = 1) -> VrrpScript:
    """A script with these timers."""
    return VrrpScript("chk", "/bin/check", HERE, interval_us, timeout_us, fall=fall)


def failed_after_us(timers: VrrpScript, gone_us: int, runs_us: list[int]) -> int:
    """A model of vrrp_scheduler.c: runs from 0 on, those that end at or after `gone_us` fail."""
    start, busy_until, failures, number = 0, -1, 0, 0
    while True:
        if start > busy_until:
            took = min(runs_us[number % len(runs_us)], timers.timeout_us)
            number += 1
            busy_until = start + took
            failures = failures + 1 if busy_until >= gone_us else 0
            if failures == timers.fall:
                return busy_until - gone_us
        start += timers.interval_us


@given(
    interval=st.integers(1, 30),
    timeout=st.integers(1, 60),
    fall=st.integers(1, 4),
    gone=st.integers(1, 500),
    runs=st.lists(st.integers(0, 60), min_size=1, max_size=4),
)
def test_no_run_of_any_length_escapes_the_bound(
    interval: int, timeout: int, fall: int, gone: int, runs: list[int]
) -> None:
    timers = script(interval * 100_000, timeout * 100_000, fall)
    bound = script_failure(timers, hung=True)
    seconds = failed_after_us(timers, gone * 100_000, [run * 100_000 for run in runs]) / 1e6
    assert bound.low - 1e-9 <= seconds <= bound.high + 1e-9


@given(interval=st.integers(1, 30), fall=st.integers(1, 4), gone=st.integers(1, 500))
def test_runs_that_fail_at_once_are_an_interval_apart(interval: int, fall: int, gone: int) -> None:
    timers = script(interval * 100_000, 100_000, fall)
    bound = script_failure(timers, hung=False)
    seconds = failed_after_us(timers, gone * 100_000, [0]) / 1e6
    assert bound.low - 1e-9 <= seconds <= bound.high + 1e-9


@pytest.mark.parametrize(
    ("interval", "timeout", "fall", "hung", "low", "high"),
    [
        (1, 1, 2, False, 0.0, 3.0),
        (1, 0.2, 2, False, 0.8, 2.2),
        # With the default timeout, equal to the interval, every hung run costs two turns.
        (1, 1, 2, True, 0.0, 4.0),
        (2, 1, 3, True, 3.0, 7.0),
    ],
)
def test_known_timers(
    interval: float, timeout: float, fall: int, hung: bool, low: float, high: float
) -> None:
    bound = script_failure(script(round(interval * 1e6), round(timeout * 1e6), fall), hung=hung)
    assert (bound.low, bound.high) == pytest.approx((low, high))


class TestWeights:
    @pytest.mark.parametrize(
        ("weight", "moves"), [(0, True), (9, False), (10, False), (11, True), (60, True)]
    )
    def test_only_a_weight_above_the_gap_moves_the_vip(self, weight: int, moves: bool) -> None:
        assert tracking.moves(Tracking("chk", "script", weight, script()), OWNER, HEIR) is moves

    def test_an_heir_that_does_not_preempt_takes_no_lower_owner_s_place(self) -> None:
        heir = replace(HEIR, preempts=False)
        assert not tracking.moves(Tracking("chk", "script", 60, script()), OWNER, heir)
        assert tracking.moves(Tracking("chk", "script", 0, script()), OWNER, heir)

    def test_fault_costs_a_skew_and_a_weight_a_down_interval(self) -> None:
        fault = tracking.takeover(Tracking("chk", "script", 0, script()), OWNER, HEIR)
        weighted = tracking.takeover(Tracking("chk", "script", 60, script()), OWNER, HEIR)
        assert (fault.low, fault.high) == pytest.approx((0.0648, 0.0648), abs=1e-4)
        assert (weighted.low, weighted.high) == pytest.approx((0.2648, 0.3648), abs=1e-4)


class TestWhatIsTracked:
    def trackings(self, tracks: str, priority: int = 100) -> list[str]:
        text = (
            'vrrp_script chk {\nscript "/bin/check"\n}\n'
            'vrrp_script slow {\nscript "/bin/check"\nweight -20\n}\n'
            "vrrp_track_process px {\nprocess haproxy\n}\n"
            f"vrrp_instance V {{\ninterface eth0\nvirtual_router_id 5\npriority {priority}\n{tracks}\n}}\n"
        )
        config = read_keepalived(text)
        return [f"{t} {t.weight}" for t in tracking.trackings(config.instances[0], config)]

    def test_scripts_and_processes_with_their_weights(self) -> None:
        tracks = "track_script {\nchk\nslow\n}\ntrack_process {\npx\n}\ntrack_interface {\neth1\n}"
        assert self.trackings(tracks) == ["track_script chk 0", "track_script slow 20", "track_process px 0"]

    def test_no_weight_changes_the_address_owner(self) -> None:
        assert self.trackings("track_script {\nslow\n}", priority=255) == []
