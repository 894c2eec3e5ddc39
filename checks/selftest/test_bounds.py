"""The arithmetic of VRRP and of HAProxy's checks, against known tables and against models of both."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bounds import haproxy, vrrp
from harness.bounds.bound import Bound, number
from harness.bounds.vrrp import Speaker
from harness.configs.haproxy_server import Check
from harness.configs.keepalived import read_keepalived

priorities = st.integers(1, 254)
intervals_us = st.integers(1, 4095).map(lambda centiseconds: centiseconds * 10_000)


def speaker(priority: int = 100, version: int = 3, interval_s: float = 1.0, **more: object) -> Speaker:
    """A speaker with only what matters here."""
    made = Speaker("lb", version, priority, round(interval_s * 1e6))
    return replace(made, **more)  # type: ignore[arg-type]


class TestBound:
    def test_nothing_lies_between_a_high_low_and_a_low_high(self) -> None:
        with pytest.raises(ValueError, match="holds nothing"):
            Bound(2, 1, "s", "wrong")

    @pytest.mark.parametrize(
        ("value", "excess"), [(0.9, -0.1), (1.0, 0.0), (1.5, 0.0), (2.0, 0.0), (2.3, 0.3)]
    )
    def test_excess_has_the_sign_of_the_side(self, value: float, excess: float) -> None:
        assert Bound(1, 2, "s", "x").excess(value) == pytest.approx(excess)

    def test_words(self) -> None:
        assert str(Bound(0.2648, 0.3648, "s", "")) == "0.2648 to 0.3648 s"
        assert str(Bound(1, 1, "s", "")) == "1 s"
        assert str(Bound(1, math.inf, "s", "")) == "1 s or more"
        assert number(0.36484375) == "0.3648"


class TestVrrpTable:
    """The table of the project's facts, section 1 (seconds)."""

    ROWS = (
        (40, 3.844, 0.844, 0.3844, 6.844, 7.688),
        (65, 3.746, 0.746, 0.3746, 6.746, 7.492),
        (68, 3.734, 0.734, 0.3734, 6.734, 7.469),
        (70, 3.727, 0.727, 0.3727, 6.727, 7.453),
        (99, 3.613, 0.613, 0.3613, 6.613, 7.227),
        (100, 3.609, 0.609, 0.3609, 6.609, 7.219),
        (101, 3.605, 0.605, 0.3605, 6.605, 7.211),
        (150, 3.414, 0.414, 0.3414, 6.414, 6.828),
        (200, 3.219, 0.219, 0.3219, 6.219, 6.438),
        (250, 3.023, 0.023, 0.3023, 6.023, 6.047),
        (254, 3.008, 0.008, 0.3008, 6.008, 6.016),
    )

    @pytest.mark.parametrize(("priority", "one", "farewell", "tenth", "two_v2", "two_v3"), ROWS)
    def test_down_intervals_and_skews(
        self, priority: int, one: float, farewell: float, tenth: float, two_v2: float, two_v3: float
    ) -> None:
        def down(version: int, interval_s: float) -> float:
            return vrrp.down_us(speaker(priority, version, interval_s)) / 1e6

        assert down(2, 1) == pytest.approx(one, abs=0.0006)
        assert down(3, 1) == pytest.approx(one, abs=0.0006)
        assert down(3, 0.1) == pytest.approx(tenth, abs=0.00006)
        assert down(2, 2) == pytest.approx(two_v2, abs=0.0006)
        assert down(3, 2) == pytest.approx(two_v3, abs=0.0006)
        assert vrrp.skew_us(2, priority, 1_000_000) / 1e6 == pytest.approx(farewell, abs=0.0006)


class TestVrrp:
    @given(priorities, intervals_us)
    def test_the_skew_of_version_3_is_a_share_of_the_interval(self, priority: int, interval_us: int) -> None:
        exact = (256 - priority) * interval_us / 256
        assert 0 <= exact - vrrp.skew_us(3, priority, interval_us) < 1

    @given(priorities, intervals_us)
    def test_the_skew_of_version_2_does_not_depend_on_the_interval(
        self, priority: int, interval_us: int
    ) -> None:
        assert vrrp.skew_us(2, priority, interval_us) == (256 - priority) * 1_000_000 // 256

    @given(st.sampled_from([2, 3]), priorities, priorities, intervals_us)
    def test_the_higher_priority_never_times_out_later(
        self, version: int, one: int, other: int, interval_us: int
    ) -> None:
        low, high = sorted((one, other))
        downs = [vrrp.down_us(speaker(p, version, interval_us / 1e6)) for p in (low, high)]
        assert downs[0] >= downs[1]

    @given(st.sampled_from([2, 3]), priorities, intervals_us, st.integers(1, 100))
    def test_a_silent_death_is_noticed_within_one_interval_of_the_longest(
        self, version: int, priority: int, interval_us: int, adverts: int
    ) -> None:
        made = speaker(priority, version, interval_us / 1e6, down_timer_adverts=adverts)
        bound = vrrp.takeover_after_silence(made)
        assert bound.high == vrrp.down_us(made) / 1e6
        assert bound.high - bound.low == pytest.approx(interval_us / 1e6)

    def test_a_version_3_backup_counts_with_the_owners_interval(self) -> None:
        backup = speaker(90, 3, 0.1)
        assert vrrp.down_us(backup, 1_000_000) == vrrp.down_us(speaker(90, 3, 1.0))
        assert vrrp.down_us(speaker(90, 2, 1.0), 2_000_000) == vrrp.down_us(speaker(90, 2, 1.0))

    def test_the_source_shows_the_numbers(self) -> None:
        source = vrrp.takeover_after_silence(replace(speaker(90, 3, 0.1), node="lb2")).source
        assert (
            "3 x 0.1 s + (256 - 90)/256 x 0.1 s = 0.3648 s (lb2, priority 90; RFC 9568 section 6.1)" in source
        )
        source = vrrp.takeover_after_farewell(speaker(100, 2, 1)).source
        assert "(256 - 100)/256 s = 0.6094 s" in source

    def test_after_a_farewell_only_the_skew_passes(self) -> None:
        bound = vrrp.takeover_after_farewell(speaker(90, 3, 0.1))
        assert bound.low == bound.high == pytest.approx(0.0648, abs=0.0001)

    def test_the_successor_has_the_highest_priority_then_the_highest_address(self) -> None:
        a, b, c = (
            Speaker("a", 3, 90, 100_000, "10.0.0.9"),
            Speaker("b", 3, 90, 100_000, "10.0.0.10"),
            Speaker("c", 3, 80, 100_000, "10.0.0.11"),
        )
        assert vrrp.successor([a, b, c]) is b
        assert vrrp.successor([]) is None
        assert vrrp.separation_us([a, b, c]) == 0
        assert vrrp.separation_us([a, c]) == 3907
        assert vrrp.separation_us([a]) is None

    def test_a_speaker_of_a_configuration(self) -> None:
        text = (
            "global_defs {\nvrrp_version 3\nvrrp_startup_delay 4\n}\n"
            "vrrp_script s {\nscript /bin/true\nweight 5\ninterval 2\nrise 3\n}\n"
            "vrrp_instance V {\ninterface e\nvirtual_router_id 1\nadvert_int 0.5\npreempt_delay 2\n"
            "track_script {\ns\n}\nvirtual_ipaddress {\n10.0.0.1\n}\n}\n"
        )
        read = read_keepalived(text)
        made = Speaker.of("lb1", read.instances[0], read, "10.0.0.11")
        assert (made.priority, made.advert_interval_us, made.address) == (105, 500_000, "10.0.0.11")
        assert (made.preempt_delay_us, made.startup_delay_us) == (2_000_000, 4_000_000)
        assert made.first_check_us == 2_000_000


class TestFailBack:
    def test_only_a_higher_priority_that_preempts_takes_back(self) -> None:
        high, low = speaker(100), speaker(90)
        assert vrrp.gives_way(high, low)
        assert not vrrp.gives_way(low, high)
        assert not vrrp.gives_way(high, high)
        assert not vrrp.gives_way(replace(high, preempts=False), low)

    @given(
        st.integers(2, 254).flatmap(lambda p: st.tuples(st.just(p), st.integers(1, p - 1))),
        st.floats(0.0, 0.999),
        st.one_of(st.just(0.0), st.floats(0.0, 8.0)),
        st.sampled_from([0.0, 3.0]),
    )
    def test_a_model_of_the_backup_is_within_the_bound(
        self, pair: tuple[int, int], phase: float, delay_s: float, startup_s: float
    ) -> None:
        delay_us, startup_us = round(delay_s * 1e6), round(startup_s * 1e6)
        returning = speaker(pair[0], preempt_delay_us=delay_us, startup_delay_us=startup_us)
        owner = speaker(pair[1])
        bound = vrrp.fail_back_after_start(returning, owner)
        taken_us = model_of_a_starting_backup(returning, owner, round(phase * 1e6))
        assert bound.low - 1e-6 <= taken_us / 1e6 <= bound.high + 1e-6

    def test_a_thawed_owner_returns_at_once_nopreempt_or_not(self) -> None:
        high, low = replace(speaker(100), preempts=False), speaker(90)
        assert vrrp.fail_back_after_thaw(high, low).high == 0
        assert math.isinf(vrrp.fail_back_after_thaw(low, high).low)
        assert math.isinf(vrrp.fail_back_after_thaw(replace(high, steps_down_when_late=True), low).low)


def model_of_a_starting_backup(returning: Speaker, owner: Speaker, phase_us: int) -> int:
    """When a starting node takes over from a lower owner whose first advert comes after `phase_us`.

    Step by step as RFC 9568 section 6.4.2 with keepalived's preempt_delay: an advert of lower priority
    is taken (and resets the timer) until the delay that the first of them starts is over.
    """
    begin = returning.startup_delay_us
    expiry = begin + vrrp.down_us(returning)
    delay_over: int | None = None
    advert = phase_us
    while advert < expiry:
        if advert >= begin and returning.preempt_delay_us and (delay_over is None or advert < delay_over):
            delay_over = advert + returning.preempt_delay_us if delay_over is None else delay_over
            expiry = advert + vrrp.down_us(returning, owner.advert_interval_us)
        advert += owner.advert_interval_us
    return expiry


class TestTwoOwners:
    def test_the_higher_answers_at_once_unless_told_not_to(self) -> None:
        assert vrrp.two_owners([speaker(), speaker(90)]).high == 0
        slow = replace(speaker(100, 3, 0.5), answers_lower_priority=False)
        assert vrrp.two_owners([slow, speaker(90)]).high == 0.5


def checks() -> st.SearchStrategy[Check]:
    """Any health check."""
    ms = st.integers(1, 10_000)
    return st.builds(
        Check,
        kind=st.sampled_from(["connect", "http"]),
        inter_ms=ms,
        fastinter_ms=ms,
        downinter_ms=ms,
        rise=st.integers(1, 10),
        fall=st.integers(1, 10),
        connect_limit_ms=ms,
        answer_limit_ms=st.one_of(st.none(), ms),
    )


class TestHaproxy:
    def test_worked_example_of_the_machine_config_operator(self) -> None:
        made = Check("http", 5000, 5000, 5000, 1, 3, 5000, 10_000)
        refused = haproxy.removal(made, "refused")
        assert refused is not None
        # Three waits, each a millisecond and a thousandth late.
        assert (refused.low, refused.high) == (10.0, pytest.approx(15.0 + 3 * 1.001e-3 + 15e-3))
        hung = haproxy.removal(made, "hang")
        assert hung is not None
        assert (hung.low, hung.high) == (40.0, pytest.approx(45.0 + 6 * 1.001e-3 + 45e-3))

    def test_a_check_that_only_connects_sees_neither_a_hang_nor_a_wrong_answer(self) -> None:
        made = Check("connect", 1000, 1000, 1000, 2, 3, 1000, None)
        assert haproxy.removal(made, "hang") is None
        assert haproxy.removal(made, "wrong-answer") is None
        assert haproxy.return_to_service(made, "hang") is None

    @given(checks(), st.sampled_from(["refused", "black-hole"]), st.floats(0, 0.999))
    def test_a_model_of_the_checks_is_within_both_bounds(
        self, made: Check, illness: str, phase: float
    ) -> None:
        each = haproxy.failing_check_s(made, illness)  # type: ignore[arg-type]
        assert each is not None
        assert each[0] == each[1]
        down, up = model_of_health(made, each[1], phase)
        removal = haproxy.removal(made, illness)  # type: ignore[arg-type]
        back = haproxy.return_to_service(made, illness)  # type: ignore[arg-type]
        assert removal is not None
        assert back is not None
        assert removal.low - 1e-6 <= down <= removal.high + 1e-6
        assert back.low - 1e-6 <= up <= back.high + 1e-6

    @given(checks(), st.integers(0, 50))
    def test_spread_checks_only_widen(self, made: Check, percent: int) -> None:
        plain, spread = haproxy.removal(made, "refused"), haproxy.removal(made, "refused", percent)
        assert plain is not None
        assert spread is not None
        assert spread.low <= plain.low <= plain.high <= spread.high


def model_of_health(made: Check, each_s: float, phase: float) -> tuple[float, float]:
    """Seconds from falling ill until DOWN, and from being well again until UP, check by check.

    The member falls ill at 0, `phase` of an interval before the next check; it is well again half a
    downinter after it went DOWN.
    """
    full = made.rise + made.fall - 1
    health, now = full, made.inter_ms / 1000 * phase
    while health:
        now += each_s
        health -= 1
        if health < made.rise:
            health = 0
            break
        now += made.fastinter_ms / 1000
    down = now
    well = down + made.downinter_ms / 2000
    while health < made.rise:
        now += (made.downinter_ms if health == 0 else made.fastinter_ms) / 1000
        if now < well:
            now += each_s
            continue
        health += 1
    return down, now - well
