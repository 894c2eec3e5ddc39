"""flow-survival: which connections may end with what fault, how often, and when they are made anew."""

from __future__ import annotations

import pytest

from checks.selftest.pooled import CHECK, PoolLab, haproxy
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

DOWN_S = 0.3 + 166 / 2560


def judge(lab: PoolLab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["flow-survival"])}


def owned(fault: str, target: str, text: str = "") -> PoolLab:
    """lb1 owns the VIP throughout; the client's connection goes to m1; something happens at 2.03 s."""
    lab = PoolLab(text=text)
    lab.takes("lb1", 0.5, 6.0)
    lab.steady()
    lab.asks(1.0, 6.0)
    lab.exchanges(1.0, 2.0)
    lab.fault(fault, target, 2.03)
    lab.done(6.0)
    return lab


def crash(again_s: float | None) -> PoolLab:
    """lb1 crashes, lb2 takes over, and the connection is made anew at `again_s`."""
    lab = PoolLab()
    lab.takes("lb1", 0.5, 2.05)
    lab.fault("host-crash", "lb1", 2.03)
    lab.takes("lb2", 2.0 + DOWN_S, 6.0)
    lab.exchanges(1.0, 2.0)
    step = 2.1
    while step < (again_s or 6.0):
        lab.exchange(step, "timeout")
        step += 0.1
    if again_s is not None:
        lab.exchange(again_s, member="m2", again=True)
    lab.done(6.0)
    return lab


class TestControls:
    @pytest.mark.parametrize(
        ("fault", "target", "detail"),
        [
            ("host-crash", "lb2", ""),
            ("reload", "lb1/haproxy", ""),
            ("reload", "lb1/keepalived", ""),
            ("kill", "m2/master", ""),
            ("drain", "m1", ""),
            ("backend-status", "m1/master", "paths=/readyz"),
        ],
    )
    def test_what_does_not_touch_a_connection_does_not_end_it(
        self, fault: str, target: str, detail: str
    ) -> None:
        lab = owned(fault, target)
        lab.detail(detail)
        lab.exchanges(2.1, 6.0)
        assert judge(lab)["continuity"].status is Status.PASS

    def test_a_takeover_ends_it_which_is_a_limitation(self) -> None:
        found = judge(crash(2.9))
        assert (found["continuity"].status, found["continuity"].outright) == (Status.LIMITATION, False)
        assert found["reconnect"].status is Status.PASS

    def test_a_limitation_that_every_proxy_has_does_not_spoil_a_pass(self) -> None:
        found = judge(crash(2.9)).values()
        assert worst(found) is Status.PASS

    @pytest.mark.parametrize(
        ("fault", "target", "detail"),
        [
            ("arp-spoof", "lb2", ""),
            ("link-oneway", "lb1", "lost=in"),
            ("vrrp-drop", "lb2", "direction=in"),
        ],
    )
    def test_what_misleads_or_cuts_off_clients_promises_nothing(
        self, fault: str, target: str, detail: str
    ) -> None:
        lab = owned(fault, target)
        lab.detail(detail)
        lab.exchange(2.1, "timeout")
        lab.exchange(2.9, again=True)
        assert judge(lab)["continuity"].status is Status.NOT_APPLICABLE

    @pytest.mark.parametrize(("taken", "status"), [(True, Status.NOT_APPLICABLE), (False, Status.FAIL)])
    def test_a_standby_that_loses_adverts_may_take_over_by_chance(
        self, *, taken: bool, status: Status
    ) -> None:
        lab = owned("loss", "lb2")
        lab.exchange(2.1, "reset")
        lab.exchange(2.2, again=True)
        if taken:
            lab.takes("lb2", 2.05, 2.1)
        assert judge(lab)["continuity"].status is status

    @pytest.mark.parametrize(("fault", "status"), [("restart", Status.LIMITATION), ("stop", Status.FAIL)])
    def test_what_heals_itself_moves_it_there_and_back(self, fault: str, status: Status) -> None:
        lab = PoolLab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault(fault, "lb1/keepalived", 2.03)
        lab.advert("lb1", 2.031, priority=0)
        lab.takes("lb2", 2.1, 2.6)
        lab.takes("lb1", 2.6, 6.0)
        lab.exchanges(1.0, 2.0)
        for at_s in (2.1, 2.7):
            lab.exchange(at_s, "reset")
            lab.exchange(at_s + 0.1, again=True)
        lab.exchanges(2.9, 6.0)
        lab.done(6.0)
        assert judge(lab)["continuity"].status is status

    def test_its_member_s_end_ends_it(self) -> None:
        lab = owned("kill", "m1/master")
        lab.exchange(2.1, "reset")
        lab.exchange(2.2, member="m2", again=True)
        found = judge(lab)
        assert found["continuity"].status is Status.LIMITATION
        assert found["reconnect"].status is Status.PASS

    @pytest.mark.parametrize(
        ("target", "breaks", "status"),
        [
            ("m1/master+m2/master", 2, Status.LIMITATION),
            ("m1/master+m2/master", 3, Status.FAIL),
            ("lb1/keepalived+m1/master", 2, Status.LIMITATION),
            ("lb1/keepalived+m1/master", 3, Status.FAIL),
        ],
    )
    def test_each_that_ends_may_end_it(self, target: str, breaks: int, status: Status) -> None:
        lab = PoolLab()
        lab.takes("lb1", 0.5, 2.05 if "lb1" in target else 6.0)
        lab.fault("kill", target, 2.03)
        if "lb1" in target:
            lab.takes("lb2", 2.0 + DOWN_S, 6.0)
        lab.exchanges(1.0, 2.0)
        for step in range(breaks):
            lab.exchange(2.1 + 0.2 * step, "reset")
            lab.exchange(2.2 + 0.2 * step, member="m3", again=True)
        lab.done(6.0)
        assert judge(lab)["continuity"].status is status

    @pytest.mark.parametrize("first", ["m1/master+m2/master", "m2/master"])
    def test_nothing_is_promised_where_nobody_is_left_to_take_it(self, first: str) -> None:
        """All at once, or m1 after m2; m3 was killed before."""
        lab = PoolLab()
        lab.takes("lb1", 0.5, 20.0)
        lab.fault("host-crash", "m3", 0.6)
        lab.exchanges(1.0, 2.0)
        lab.add(1.5, "phase", name="recovered")
        lab.fault("kill", first, 2.03)
        if "m1" not in first:
            lab.add(6.0, "phase", name="recovered")
            lab.exchanges(2.1, 8.0)
            lab.fault("kill", "m1/master", 8.03)
        for step in range(22 if "m1" in first else 82, 150):
            lab.exchange(step / 10, "refused")
        lab.exchange(15.0, member="m1", again=True)
        lab.done(20.0)
        found = judge(lab)
        assert found["continuity"].status is Status.LIMITATION
        assert "reconnect" not in found

    def test_a_silent_end_between_two_exchanges_counts(self) -> None:
        lab = owned("kill", "m1/master")
        lab.exchange(2.1, member="m2", again=True)
        assert judge(lab)["continuity"].measured == 1

    def test_sessions_are_shut_down_where_the_configuration_says_so(self) -> None:
        text = haproxy(f"{CHECK} on-marked-down shutdown-sessions")
        lab = owned("backend-status", "m1/master", text)
        lab.detail("paths=/readyz")
        lab.exchange(3.5, member="m2", again=True)
        assert judge(lab)["continuity"].status is Status.LIMITATION

    def test_what_nobody_promises_is_not_judged(self) -> None:
        lab = owned("delay", "lb1")
        lab.exchanges(2.1, 6.0)
        assert judge(lab)["continuity"].status is Status.NOT_APPLICABLE


class TestSaboteurs:
    @pytest.mark.parametrize(("fault", "target"), [("reload", "lb1/haproxy"), ("host-crash", "lb2")])
    def test_a_break_for_nothing(self, fault: str, target: str) -> None:
        lab = owned(fault, target)
        lab.exchange(2.5, "reset")
        lab.exchange(2.6, again=True)
        assert judge(lab)["continuity"].status is Status.FAIL

    def test_another_member_s_end(self) -> None:
        lab = owned("kill", "m2/master")
        lab.exchange(2.5, "closed")
        lab.exchange(2.6, again=True)
        assert judge(lab)["continuity"].status is Status.FAIL

    def test_two_breaks_by_one_takeover(self) -> None:
        lab = crash(2.9)
        lab.exchange(3.5, "reset")
        lab.exchange(3.6, again=True)
        assert judge(lab)["continuity"].status is Status.FAIL

    def test_a_connection_that_is_long_not_made_anew(self) -> None:
        assert judge(crash(5.0))["reconnect"].status is Status.FAIL

    def test_one_that_never_is_unknown(self) -> None:
        assert judge(crash(None))["reconnect"].status is Status.UNKNOWN
