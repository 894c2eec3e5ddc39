"""member-removal: who is asked for how long after falling ill, against the arithmetic of checks."""

from __future__ import annotations

import pytest

from checks.selftest.pooled import CHECK, PoolLab, haproxy, nginx
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst


def judge(lab: PoolLab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["member-removal"])}


def removed(
    after_s: float,
    fault: str = "kill",
    *,
    text: str = "",
    proxy: str = "haproxy",
    detail: str = "",
    healed_s: float | None = None,
    back_s: float = 2.0,
    end_s: float = 9.0,
    loses: bool = True,
) -> PoolLab:
    """m1 falls ill at 2 s, is left out `after_s` later, and asked again `back_s` after its healing."""
    lab = PoolLab(proxy, text)
    lab.takes("lb1", 0.5, end_s)
    lab.steady()
    lab.asks(1.0, 2.0)
    lab.fault(fault, "m1/master", 2.0, healed_s)
    lab.detail(detail)
    lab.asks(2.0, min(2.0 + after_s, end_s), ill="m1" if loses else "")
    again = end_s if healed_s is None else healed_s + back_s
    lab.asks(2.0 + after_s, again, "m2 m3")
    lab.asks(again, end_s)
    lab.done(end_s)
    return lab


def together(
    target: str, *left_out: tuple[float, str], text: str = "", ill: str = "m1 m2", to_s: float = 9.0
) -> PoolLab:
    """One fault at 2 s of several members; from each moment on only those named are asked."""
    lab = PoolLab(text=text)
    lab.takes("lb1", 0.5, 9.0)
    lab.steady()
    lab.asks(1.0, 2.0)
    lab.fault("kill", target, 2.0)
    turns = [(2.0, "m1 m2 m3"), *left_out]
    for (from_s, members), (until_s, _) in zip(turns, [*turns[1:], (to_s, "")], strict=True):
        lab.asks(from_s, until_s, members, ill)
    lab.done(9.0)
    return lab


def two(*left_out: tuple[float, str], text: str = "") -> list[Verdict]:
    """What is found of a fault of m1 and m2."""
    return judge_all(together("m1/master+m2/master", *left_out, text=text).timeline(), ["member-removal"])


class TestControls:
    @pytest.mark.parametrize("after_s", [1.0, 1.9])
    def test_a_refused_check_fails_at_once(self, after_s: float) -> None:
        """fall 2: one interval after the first failure, which comes within one."""
        found = judge(removed(after_s))
        assert worst(found.values()) is Status.PASS
        assert found["errors"].measured == pytest.approx(after_s * 100 / 3, abs=1)

    @pytest.mark.parametrize("fault", ["freeze", "host-crash", "backend-blackhole", "backend-hang"])
    def test_silence_takes_each_check_its_time_out(self, fault: str) -> None:
        bound = judge(removed(3.5, fault))["removal"].bound
        assert bound is not None
        assert (bound.low, bound.high) == pytest.approx((3.0 - 0.03, 4.018), abs=0.001)
        assert worst(judge(removed(3.5, fault)).values()) is Status.PASS

    def test_a_failing_health_page_costs_no_request(self) -> None:
        lab = removed(1.5, "backend-status", detail="paths=/readyz status=500", loses=False)
        found = judge(lab)
        assert worst(found.values()) is Status.PASS
        assert found["errors"].measured == 0

    def test_the_return_takes_rise_checks(self) -> None:
        found = judge(removed(1.5, healed_s=5.0, back_s=1.4))["return"]
        assert (found.status, found.measured) == (Status.PASS, pytest.approx(1.4, abs=0.05))

    def test_nginx_passes_refused_connections_on(self) -> None:
        lab = removed(0.0, text=nginx(), proxy="nginx")
        assert worst(judge(lab).values()) is Status.PASS

    def test_nginx_asks_a_member_again_once_in_fail_timeout(self) -> None:
        lab = removed(0.5, "backend-blackhole", text=nginx(), proxy="nginx")
        for at_s in (4.505, 6.805):
            lab.attempt(at_s, None)
        assert worst(judge(lab).values()) is Status.PASS

    @pytest.mark.parametrize(
        ("fault", "back_s", "status"),
        # fail_timeout 2 s, a second of Nginx's clock, a turn; of a black hole half a second to connect too.
        [
            ("backend-blackhole", 3.4, Status.PASS),
            ("backend-blackhole", 3.7, Status.FAIL),
            ("backend-refuse", 2.9, Status.PASS),
            ("backend-refuse", 3.4, Status.FAIL),
        ],
    )
    def test_nginx_may_give_up_an_attempt_after_the_healing(
        self, fault: str, back_s: float, status: Status
    ) -> None:
        refused = fault == "backend-refuse"
        ill_s = 0.0 if refused else 0.5
        lab = removed(ill_s, fault, text=nginx(), proxy="nginx", healed_s=5.0, back_s=back_s)
        assert judge(lab)["return"].status is status

    def test_flapping_within_fall_keeps_its_turn(self) -> None:
        lab = PoolLab(text=haproxy(CHECK.replace("fall 2", "fall 3")))
        lab.takes("lb1", 0.5, 12.0)
        lab.steady()
        lab.asks(1.0, 2.0)
        lab.fault("backend-flap", "m1/master", 2.0)
        lab.detail("period_s=4.0 ill_percent=25.0 illness=refuse")
        for start in (2.0, 6.0):
            lab.asks(start, start + 1.0, ill="m1")
            lab.asks(start + 1.0, start + 4.0)
        lab.asks(10.0, 10.1)
        lab.done(10.5)
        assert judge(lab)["hysteresis"].status is Status.PASS


class TestSeveralAtOnce:
    @pytest.mark.parametrize("left_out", [((3.9, "m3"),), ((3.1, "m2 m3"), (3.9, "m3"))])
    def test_clients_may_lose_the_share_of_both(self, left_out: tuple[tuple[float, str], ...]) -> None:
        found = two(*left_out)
        assert worst(found) is Status.PASS
        assert {v.aspect for v in found} == {"removal", "errors"}

    def test_the_other_one_s_losses_are_not_this_one_s(self) -> None:
        """m2 is checked every 3 s only, so what it loses comes after m1's removal was due."""
        slow = " server m2 10.0.0.22:6443 weight 1 check check-ssl verify none inter "
        text = haproxy().replace(f"{slow}1s", f"{slow}3s")
        assert worst(two((3.5, "m2 m3"), (7.0, "m3"), text=text)) is Status.PASS

    def test_one_that_no_check_sees_hides_when_the_other_was_left_out(self) -> None:
        text = haproxy().replace(f"10.0.0.22:6443 weight 1 {CHECK}", "10.0.0.22:6443 weight 1")
        assert {v.status for v in two((3.5, "m2 m3"), text=text)} == {Status.UNKNOWN, Status.LIMITATION}

    def test_of_all_members_nobody_is_left_to_ask(self) -> None:
        lab = together("m1/master+m2/master+m3/master", ill="m1 m2 m3")
        found = judge_all(lab.timeline(), ["member-removal"])
        assert [v.status for v in found] == [Status.LIMITATION] * 3

    def test_one_that_is_never_left_out_is_caught(self) -> None:
        found = {v.status for v in two((3.9, "m2 m3"))}
        assert found == {Status.FAIL}

    def test_more_lost_than_the_share_of_both(self) -> None:
        lab = together("m1/master+m2/master", (3.9, "m3"))
        for step in range(60):
            lab.attempt(2.005 + step / 100, None)
        assert judge(lab)["errors"].status is Status.FAIL


class TestOneAfterAnother:
    """m1 is out and clients are served again when m2 falls ill, at 7 s."""

    def lab(self, first: str = "kill", text: str = "", *, third: bool = False) -> list[Verdict]:
        lab = PoolLab(text=text)
        lab.takes("lb1", 0.5, 21.0)
        lab.steady()
        lab.asks(1.0, 2.0)
        lab.fault(first, "m1/master", 2.0)
        lab.asks(2.0, 3.9, ill="m1" if first == "kill" else "")
        lab.asks(3.9, 7.0, "m2 m3")
        lab.add(6.0, "phase", name="recovered")
        lab.fault("kill", "m2/master", 7.0)
        lab.asks(7.0, 8.9, "m2 m3", ill="m2")
        lab.asks(8.9, 15.0, "m3")
        lab.add(14.0, "phase", name="recovered")
        if third:
            lab.fault("kill", "m3/master", 15.0)
            lab.asks(15.0, 20.0, "m3", ill="m3")
        lab.done(21.0)
        return judge_all(lab.timeline(), ["member-removal"])

    @pytest.mark.parametrize("first", ["kill", "drain"])
    def test_the_second_s_share_is_of_those_that_are_left(self, first: str) -> None:
        (found,) = [v for v in self.lab(first) if v.aspect == "errors" and v.subject.startswith("m2")]
        assert (found.status, found.measured) == (Status.PASS, 95)

    def test_one_that_stays_in_rotation_keeps_its_share(self) -> None:
        """m1 is not left out for an illness that no check sees: the half that m2 loses is too much."""
        text = haproxy("check inter 1s fall 2 rise 2", "")
        (found,) = [v for v in self.lab("backend-hang", text) if v.aspect == "errors"]
        assert found.status is Status.FAIL

    def test_after_the_last_nobody_is_left_to_ask(self) -> None:
        (found,) = [v for v in self.lab(third=True) if v.subject.startswith("m3")]
        assert found.status is Status.LIMITATION


class TestLimitations:
    @pytest.mark.parametrize(
        ("text", "proxy", "fault", "detail", "loses"),
        [
            (haproxy("check inter 1s", ""), "haproxy", "backend-hang", "stage=request", True),
            (haproxy("check inter 1s", ""), "haproxy", "backend-status", "paths=/readyz", False),
            (haproxy(""), "haproxy", "kill", "", True),
            (haproxy(), "haproxy", "backend-badcert", "kind=expired", True),
            (haproxy(), "haproxy", "backend-slow", "delay_s=0.8", True),
            (nginx(), "nginx", "backend-hang", "", True),
            (nginx("max_fails=0"), "nginx", "backend-blackhole", "", True),
        ],
    )
    def test_what_no_check_sees_is_proven(
        self, text: str, proxy: str, fault: str, detail: str, loses: bool
    ) -> None:
        lab = removed(99.0, fault, text=text, proxy=proxy, detail=detail, loses=loses)
        (found,) = judge(lab).values()
        assert (found.status, found.outright) == (Status.LIMITATION, loses)

    def test_a_member_removed_though_nothing_could_see_it(self) -> None:
        lab = removed(1.5, "backend-hang", text=haproxy("check inter 1s", ""))
        assert judge(lab)["removal"].status is Status.FAIL


class TestSaboteurs:
    @pytest.mark.parametrize(("after_s", "side"), [(0.5, "earlier than"), (2.5, "later than")])
    def test_too_early_and_too_late(self, after_s: float, side: str) -> None:
        found = judge(removed(after_s))["removal"]
        assert found.status is Status.FAIL
        assert side in found.sentence

    def test_never(self) -> None:
        found = judge(removed(99.0))
        assert (found["removal"].status, found["errors"].status) == (Status.FAIL, Status.FAIL)
        assert "still sent" in found["removal"].sentence

    def test_watched_for_too_short_a_time_is_unknown(self) -> None:
        assert judge(removed(1.5, end_s=3.9))["removal"].status is Status.UNKNOWN

    def test_more_lost_than_the_member_s_share(self) -> None:
        lab = removed(1.5)
        for step in range(60):
            lab.attempt(2.005 + step / 100, None)
        assert judge(lab)["errors"].status is Status.FAIL

    def test_requests_lost_while_only_the_health_page_fails(self) -> None:
        lab = removed(1.5, "backend-status", detail="paths=/readyz")
        assert judge(lab)["errors"].status is Status.FAIL

    @pytest.mark.parametrize("back_s", [0.3, 3.5])
    def test_back_too_early_and_too_late(self, back_s: float) -> None:
        assert judge(removed(1.5, healed_s=5.0, back_s=back_s))["return"].status is Status.FAIL

    def test_nginx_goes_on_with_a_black_hole(self) -> None:
        lab = removed(99.0, "backend-blackhole", text=nginx(), proxy="nginx")
        assert judge(lab)["removal"].status is Status.FAIL

    def test_losses_of_a_testbed_that_stood_still_are_unknown(self) -> None:
        lab = removed(1.5)
        lab.attempt(6.005, None)
        lab.lag(6.5, 0.5, "lb1/haproxy")
        assert judge(lab)["removal"].status is Status.UNKNOWN

    def test_an_illness_that_nobody_knows_is_unknown(self) -> None:
        assert judge(removed(1.5, "backend-gremlin"))["removal"].status is Status.UNKNOWN

    def test_a_takeover_meanwhile_is_unknown(self) -> None:
        lab = removed(1.5)
        lab.advert("lb2", 3.0)
        assert judge(lab)["removal"].status is Status.UNKNOWN

    def test_flapping_that_removes(self) -> None:
        lab = PoolLab(text=haproxy(CHECK.replace("fall 2", "fall 3")))
        lab.takes("lb1", 0.5, 12.0)
        lab.steady()
        lab.asks(1.0, 2.0)
        lab.fault("backend-flap", "m1/master", 2.0)
        lab.detail("period_s=4.0 ill_percent=25.0 illness=refuse")
        lab.asks(2.0, 3.0, ill="m1")
        lab.asks(3.0, 10.0, "m2 m3")
        lab.done(10.5)
        assert judge(lab)["hysteresis"].status is Status.FAIL
