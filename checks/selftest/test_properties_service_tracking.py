"""service-tracking: a proxy's end under a living keepalived, against the arithmetic of its tracking."""

from __future__ import annotations

import pytest

from checks.selftest.pooled import PoolLab
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

SKEW_S = 166 / 2560  # (256 - 90)/256 x 0.1 s
DOWN_S = 0.3 + SKEW_S


def script(interval: float = 1, timeout: float = 0.5, fall: int = 2, rise: int = 2, weight: int = 0) -> str:
    """A tracked script."""
    weigh = f" weight {weight}\n" if weight else ""
    return (
        f'vrrp_script chk {{\n script "/bin/check"\n interval {interval}\n timeout {timeout}\n'
        f" fall {fall}\n rise {rise}\n{weigh}}}"
    )


TRACK = dict.fromkeys(("lb1", "lb2"), "track_script {\nchk\n}")


def judge(lab: PoolLab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["service-tracking"])}


def leaves(
    at_s: float,
    *,
    block: str = "",
    fault: str = "kill",
    target: str = "lb1/haproxy",
    takes_s: float | None = None,
    heal_s: float | None = None,
    extra: str = "",
) -> PoolLab:
    """lb1's proxy ends at 2.03 s; lb1 says goodbye at `at_s`, lb2 takes over a skew later."""
    track = {node: f"{text}\n{extra}" for node, text in TRACK.items()}
    lab = PoolLab(blocks=block or script(), instance=track)
    lab.takes("lb1", 0.5, at_s)
    lab.fault(fault, target, 2.03, heal_s)
    lab.advert("lb1", at_s, priority=0)
    lab.takes("lb2", at_s + SKEW_S if takes_s is None else takes_s, 9.0)
    lab.done(9.0)
    return lab


def lowers(first_s: float, takes_s: float | None, weight: int = 20, at: int = 80) -> PoolLab:
    """lb1's proxy ends at 2.03 s; from `first_s` on it announces less, lb2 takes over at `takes_s`."""
    lab = PoolLab(blocks=script(weight=-weight), instance=TRACK)
    last = lab.takes("lb1", 0.5, first_s)
    lab.fault("kill", "lb1/haproxy", 2.03)
    lab.priorities["lb1"] = at
    lab.announce("lb1", last + 0.1, 9.0 if takes_s is None else takes_s)
    if takes_s is not None:
        lab.takes("lb2", takes_s, 9.0)
    lab.done(9.0)
    return lab


class TestControls:
    @pytest.mark.parametrize("at_s", [2.6, 3.4, 4.5])
    def test_within_fall_runs_and_a_skew(self, at_s: float) -> None:
        found = judge(leaves(at_s))
        assert worst(found.values()) is Status.PASS
        assert found["detection"].measured == pytest.approx(at_s - 2.03)
        bound = found["takeover"].bound
        assert bound is not None
        # (fall - 1) x interval - timeout; fall x interval + timeout
        assert (bound.low, bound.high) == pytest.approx((0.5 + SKEW_S, 2.5 + SKEW_S), abs=1e-5)

    def test_a_hung_proxy_may_take_every_run_its_timeout(self) -> None:
        """A run that is not over at its next turn costs that turn (vrrp_scheduler.c)."""
        lab = leaves(5.9, block=script(interval=1, timeout=1), fault="hang")
        bound = judge(lab)["detection"].bound
        assert bound is not None
        assert bound.high == pytest.approx(1 + 2 + 1)
        assert worst(judge(lab).values()) is Status.PASS

    def test_a_weight_costs_a_whole_down_interval(self) -> None:
        found = judge(lowers(3.5, 3.4 + DOWN_S))
        assert worst(found.values()) is Status.PASS
        bound = found["takeover"].bound
        assert bound is not None
        assert (bound.low, bound.high) == pytest.approx((0.5 + DOWN_S - 0.1, 2.5 + DOWN_S), abs=1e-5)

    def test_the_standby_s_proxy_moves_nothing(self) -> None:
        lab = PoolLab(blocks=script(), instance=TRACK)
        lab.takes("lb1", 0.5, 6.0)
        lab.fault("kill", "lb2/haproxy", 2.03)
        assert worst(judge(lab).values()) is Status.PASS

    def test_a_proxy_gone_for_less_than_any_detection_is_forgiven(self) -> None:
        lab = PoolLab(blocks=script(), instance=TRACK)
        lab.takes("lb1", 0.5, 6.0)
        lab.fault("hang", "lb1/haproxy", 2.03, 2.4)
        assert judge(lab)["detection"].status is Status.PASS

    def test_the_return_takes_rise_runs_and_a_down_interval(self) -> None:
        lab = leaves(3.4, heal_s=5.0)
        lab.events = [
            e for e in lab.events if not (e.kind == "vrrp" and e.node == "lb2" and e.t > 5e12 + 6.5e9)
        ]
        lab.announce("lb1", 6.5, 9.0)
        found = judge(lab)["return"]
        assert (found.status, found.measured) == (Status.PASS, pytest.approx(1.5))


class TestLimitations:
    def lab(self, fault: str = "kill", instance: str = "", blocks: str = "") -> PoolLab:
        lab = PoolLab(blocks=blocks, instance={"lb1": instance, "lb2": instance})
        lab.takes("lb1", 0.5, 6.0)
        lab.steady()
        lab.asks(1.0, 2.03)
        lab.fault(fault, "lb1/haproxy", 2.03)
        return lab

    def test_without_tracking_the_black_hole_is_proven(self) -> None:
        lab = self.lab()
        lab.asks(2.03, 5.0, "m1", ill="m1")
        lab.done(5.0)
        (found,) = judge(lab).values()
        assert (found.status, found.outright) == (Status.LIMITATION, True)
        assert found.measured == pytest.approx(2.97)
        assert "297 of 297 attempts" in found.sentence
        assert worst(judge_all(lab.timeline())) is Status.LIMITATION

    def test_process_events_do_not_tell_of_a_hung_process(self) -> None:
        block = "vrrp_track_process p {\n process haproxy\n}"
        lab = self.lab("hang", "track_process {\np\n}", block)
        lab.asks(2.03, 5.0, "m1", ill="m1")
        (found,) = judge(lab).values()
        assert found.status is Status.LIMITATION
        assert "not hang" in found.sentence

    @pytest.mark.parametrize("asked", [True, False])
    def test_nothing_is_proven_where_nobody_lost_anything(self, asked: bool) -> None:
        lab = self.lab()
        if asked:
            lab.asks(2.03, 5.0)
        (found,) = judge(lab).values()
        assert found.status is Status.UNKNOWN

    def test_nor_where_some_were_served_all_the_while(self) -> None:
        lab = self.lab()
        lab.asks(2.03, 5.0, ill="m1")
        (found,) = judge(lab).values()
        assert found.status is Status.UNKNOWN


class TestSaboteurs:
    @pytest.mark.parametrize(("at_s", "side"), [(2.3, "earlier than"), (5.5, "later than")])
    def test_too_early_and_too_late(self, at_s: float, side: str) -> None:
        found = judge(leaves(at_s))
        for aspect in ("detection", "takeover"):
            assert found[aspect].status is Status.FAIL
            assert side in found[aspect].sentence

    def test_nobody_takes_over(self) -> None:
        lab = leaves(3.4, takes_s=20.0)
        assert judge(lab)["takeover"].status is Status.FAIL

    def test_the_script_notices_nothing(self) -> None:
        lab = PoolLab(blocks=script(), instance=TRACK)
        lab.takes("lb1", 0.5, 9.0)
        lab.fault("kill", "lb1/haproxy", 2.03)
        assert {v.status for v in judge(lab).values()} == {Status.FAIL}

    def test_watched_for_too_short_a_time_is_unknown(self) -> None:
        lab = PoolLab(blocks=script(), instance=TRACK)
        lab.takes("lb1", 0.5, 4.0)
        lab.fault("kill", "lb1/haproxy", 2.03)
        assert {v.status for v in judge(lab).values()} == {Status.UNKNOWN}

    def test_a_weight_smaller_than_the_gap(self) -> None:
        found = judge(lowers(3.5, None, weight=5, at=95))
        assert found["detection"].status is Status.PASS
        assert found["takeover"].status is Status.FAIL
        assert "100 - 5 = 95, against 90" in found["takeover"].sentence

    def test_a_weight_that_makes_both_equal(self) -> None:
        """A backup takes an equal priority as the owner's (RFC 9568 section 6.4.2)."""
        assert judge(lowers(3.5, None, weight=10, at=90))["takeover"].status is Status.FAIL

    def test_the_heir_has_no_proxy_either(self) -> None:
        lab = leaves(3.4)
        lab.fault("stop", "lb2/haproxy", 2.5)
        assert judge(lab)["takeover"].status in (Status.FAIL, Status.NOT_APPLICABLE)

    def test_the_vip_leaves_for_a_short_hang(self) -> None:
        lab = leaves(2.3, fault="hang", heal_s=2.4)
        assert judge(lab)["detection"].status is Status.FAIL

    def test_the_standby_s_proxy_moves_the_vip(self) -> None:
        lab = leaves(3.4, target="lb2/haproxy")
        assert judge(lab)["takeover"].status is Status.FAIL

    def test_back_too_early(self) -> None:
        lab = leaves(3.4, heal_s=5.0)
        lab.announce("lb1", 5.2, 9.0)
        assert judge(lab)["return"].status is Status.FAIL

    def test_back_in_spite_of_nopreempt(self) -> None:
        lab = leaves(3.4, heal_s=5.0, extra="nopreempt")
        lab.announce("lb1", 6.5, 9.0)
        assert judge(lab)["return"].status is Status.FAIL
