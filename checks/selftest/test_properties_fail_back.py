"""fail-back: the old owner returns when it should, and only then."""

from __future__ import annotations

import pytest

from checks.selftest.synthetic import Lab
from harness.properties import judge_all
from harness.verdict import Status, Verdict

TAKEN_S, HEAL_S, STARTED_S, READY_S = 2.36485, 4.0, 4.01, 4.05
# lb1's own time-out: 3 x 0.1 s + (256 - 100)/256 x 0.1 s.
OWN_DOWN_S = 0.36094


def drill(
    fault: str = "host-crash",
    back_s: float | None = None,
    *,
    lab: Lab | None = None,
    end_s: float = 8.0,
    ready: bool = True,
) -> Lab:
    """lb1 falls, lb2 takes over, lb1 is healed at 4.0 s and takes the address back at `back_s`, if ever."""
    lab = lab or Lab()
    lab.takes("lb1", 0.5, 2.05)
    lab.fault(fault, "lb1/keepalived" if fault in ("kill", "stop") else "lb1", 2.03, HEAL_S)
    lab.takes("lb2", TAKEN_S, end_s if back_s is None else back_s)
    if fault == "link-down":
        lab.add(HEAL_S + 0.003, "link", node="lb1", interface="eth0", up=True)
    if fault in ("host-crash", "kill", "stop"):
        lab.add(STARTED_S, "service", node="lb1", service="haproxy", state="ready")
        lab.add(STARTED_S + 0.001, "service", node="lb1", service="keepalived", state="started")
        if ready:
            lab.add(READY_S, "service", node="lb1", service="keepalived", state="ready")
    if back_s is not None:
        lab.takes("lb1", back_s, end_s)
    lab.add(end_s, "phase", name="done")
    return lab


def judge(lab: Lab) -> Verdict:
    """The only finding of who has the address then."""
    (found,) = (v for v in judge_all(lab.timeline(), ["fail-back"]) if not v.aspect)
    return found


def with_lb1(line: str) -> Lab:
    """A lab with this line in lb1's instance."""
    return Lab(instance={"lb1": line})


class TestControls:
    @pytest.mark.parametrize("fault", ["host-crash", "kill", "stop"])
    @pytest.mark.parametrize("start_s", [STARTED_S, READY_S])
    def test_preempt_takes_it_back_one_time_out_after_the_start(self, fault: str, start_s: float) -> None:
        found = judge(drill(fault, start_s + OWN_DOWN_S))
        assert found.status is Status.PASS
        assert found.bound is not None
        assert found.bound.low == pytest.approx(0.01 + OWN_DOWN_S, abs=1e-4)
        assert found.bound.high == pytest.approx(0.05 + OWN_DOWN_S, abs=1e-4)

    def test_a_link_that_comes_back_starts_the_time_out(self) -> None:
        assert judge(drill("link-down", HEAL_S + 0.003 + OWN_DOWN_S)).status is Status.PASS

    def test_nopreempt_stays(self) -> None:
        found = judge(drill(lab=with_lb1("nopreempt")))
        assert (found.status, found.measured) == (Status.PASS, 0)
        assert found.bound is not None
        assert "nopreempt" in found.bound.source

    def test_a_lower_or_equal_priority_stays(self) -> None:
        assert judge(drill(lab=Lab({"lb1": 90, "lb2": 90}))).status is Status.PASS

    def test_preempt_delay_comes_on_top(self) -> None:
        found = judge(drill(back_s=READY_S + 1.0 + 0.05 + OWN_DOWN_S, lab=with_lb1("preempt_delay 1")))
        assert found.status is Status.PASS
        assert found.bound is not None
        assert "preempt_delay 1 s" in found.bound.source

    def test_a_thawed_owner_is_back_at_once_even_with_nopreempt(self) -> None:
        assert judge(drill("freeze", HEAL_S + 0.002, lab=with_lb1("nopreempt"))).status is Status.PASS

    def test_a_thawed_owner_with_timer_expired_backup_stays_away(self) -> None:
        lab = with_lb1("nopreempt\n timer_expired_backup")
        assert judge(drill("freeze", lab=lab)).status is Status.PASS

    def test_a_thawed_owner_may_send_the_advert_that_was_overdue(self) -> None:
        lab = drill("freeze", lab=Lab({"lb1": 90, "lb2": 100}))
        lab.advert("lb1", HEAL_S + 0.001)
        assert judge(lab).status is Status.PASS

    def test_without_a_takeover_or_healing_there_is_nothing_to_judge(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.takes("lb2", TAKEN_S, 5.0)
        assert judge_all(lab.timeline(), ["fail-back"]) == []


class TestSaboteurs:
    def test_back_although_nopreempt(self) -> None:
        found = judge(drill(back_s=READY_S + OWN_DOWN_S, lab=with_lb1("nopreempt")))
        assert found.status is Status.FAIL
        assert "must not" in found.sentence

    def test_nopreempt_with_state_master_is_cleared_so_staying_away_is_wrong(self) -> None:
        found = judge(drill(lab=with_lb1("nopreempt\n state MASTER")))
        assert found.status is Status.FAIL
        assert "should have" in found.sentence

    @pytest.mark.parametrize("back_s", [HEAL_S + 0.05, HEAL_S + 1.5])
    def test_too_early_and_too_late(self, back_s: float) -> None:
        assert judge(drill(back_s=back_s)).status is Status.FAIL

    def test_before_the_preempt_delay_is_over(self) -> None:
        assert (
            judge(drill(back_s=READY_S + OWN_DOWN_S, lab=with_lb1("preempt_delay 2"))).status is Status.FAIL
        )

    def test_never_back_although_it_should(self) -> None:
        found = judge(drill())
        assert found.status is Status.FAIL
        assert "should have" in found.sentence

    def test_a_thawed_owner_that_is_seconds_late(self) -> None:
        assert judge(drill("freeze", HEAL_S + 1.0)).status is Status.FAIL

    def test_a_thawed_owner_of_lower_priority_that_goes_on(self) -> None:
        found = judge(drill("freeze", HEAL_S + 0.001, lab=Lab({"lb1": 90, "lb2": 100})))
        assert found.status is Status.FAIL

    def test_watched_for_less_than_two_time_outs_staying_is_unknown(self) -> None:
        assert judge(drill(lab=with_lb1("nopreempt"), end_s=4.5)).status is Status.UNKNOWN
        assert judge(drill(end_s=4.3)).status is Status.UNKNOWN

    def test_without_word_of_the_start_being_back_in_time_is_unknown(self) -> None:
        assert judge(drill(back_s=6.0, ready=False)).status is Status.UNKNOWN
        assert judge(drill(back_s=4.1, ready=False)).status is Status.FAIL
