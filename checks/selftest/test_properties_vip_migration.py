"""vip-migration: healthy takeovers pass, and every way of going wrong is told."""

from __future__ import annotations

import pytest

from checks.selftest.synthetic import Lab, failover
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

SKEW_S = 0.06484
DOWN_S = 0.3 + SKEW_S


def judge(lab: Lab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["vip-migration"])}


def stop(*, farewell: bool = True, late_s: float = 0.0) -> Lab:
    """lb1's keepalived is stopped; it says goodbye 20 ms later unless told not to."""
    lab = Lab()
    lab.takes("lb1", 0.5, 2.05)
    lab.fault("stop", "lb1/keepalived", 2.03)
    if farewell:
        lab.advert("lb1", 2.05, priority=0)
        lab.address("lb1", 2.051, "del")
    lab.takes("lb2", (2.05 + SKEW_S if farewell else 2.0 + DOWN_S) + late_s, 5.0)
    return lab


class TestControls:
    @pytest.mark.parametrize("fault", ["host-crash", "kill", "freeze", "link-down"])
    def test_a_silent_death_with_a_takeover_in_time(self, fault: str) -> None:
        found = judge(failover(fault))
        assert {v.status for v in found.values()} == {Status.PASS}
        assert set(found) == {"takeover", "timer", "successor", "gratuitous ARP", "address"}
        bound = found["takeover"].bound
        assert bound is not None
        assert (round(bound.low, 4), round(bound.high, 4)) == (0.2648, 0.3648)

    def test_a_graceful_stop_takes_only_the_skew(self) -> None:
        found = judge(stop())
        assert worst(found.values()) is Status.PASS
        assert "said goodbye with priority 0" in found["takeover"].sentence
        bound = found["takeover"].bound
        assert bound is not None
        assert bound.low == bound.high == pytest.approx(0.02 + SKEW_S, abs=1e-4)

    def test_a_stop_without_goodbye_is_judged_as_a_silent_death(self) -> None:
        found = judge(stop(farewell=False))
        assert worst(found.values()) is Status.PASS
        assert "fell silent without a goodbye" in found["takeover"].sentence

    @pytest.mark.parametrize(
        ("fault", "target"), [("host-crash", "lb2"), ("kill", "m1"), ("kill", "lb1/haproxy")]
    )
    def test_a_fault_beside_the_owner_moves_nothing(self, fault: str, target: str) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 5.0)
        lab.fault(fault, target, 2.03)
        (found,) = judge(lab).values()
        assert found.status is Status.PASS
        assert (found.measured, found.unit) == (0, "takeovers")

    def test_a_freeze_shorter_than_the_time_out_moves_nothing(self) -> None:
        lab = Lab(interval_s=1.0)
        lab.announce("lb1", 0.5, 4.6)
        lab.fault("freeze", "lb1", 4.7, 6.7)
        lab.announce("lb1", 6.7, 12.0)
        (found,) = judge(lab).values()
        assert found.status is Status.PASS

    def test_the_owners_last_advert_may_leave_just_after_the_fault(self) -> None:
        lab = Lab()
        last = lab.announce("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", last - 0.03)
        lab.takes("lb2", last + DOWN_S, 5.0)
        found = judge(lab)
        assert worst(found.values()) is Status.PASS
        bound = found["takeover"].bound
        assert bound is not None
        assert bound.high == pytest.approx(DOWN_S + 0.03, abs=1e-4)

    def test_a_priority_that_tracking_moved_is_taken_from_the_wire(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.priorities["lb2"] = 40
        lab.takes("lb2", 2.0 + 0.3 + 0.084375, 5.0)
        assert worst(judge(lab).values()) is Status.PASS

    def test_a_fault_of_a_tracked_service_is_left_to_service_tracking(self) -> None:
        script = 'vrrp_script chk {\nscript "/bin/true"\n}'
        lab = Lab(instance={"lb1": "track_script {\nchk\n}"}, blocks=script)
        lab.takes("lb1", 0.5, 5.0)
        lab.fault("kill", "lb1/haproxy", 2.03)
        (found,) = judge(lab).values()
        assert found.status is Status.NOT_APPLICABLE

    def test_version_2_is_judged_by_whole_seconds(self) -> None:
        lab = Lab(interval_s=1.0, version=2)
        lab.takes("lb1", 0.5, 4.6)
        lab.fault("host-crash", "lb1", 4.9)
        lab.takes("lb2", 4.5 + 3 + 0.6484, 12.0)
        assert worst(judge(lab).values()) is Status.PASS


class TestSaboteurs:
    @pytest.mark.parametrize("late_s", [0.2, -0.2])
    def test_too_late_and_too_early_are_failures(self, late_s: float) -> None:
        found = judge(failover(late_s=late_s))
        assert found["takeover"].status is Status.FAIL
        assert found["timer"].status is Status.FAIL
        assert ("later than" if late_s > 0 else "earlier than") in found["takeover"].sentence

    def test_a_deviation_that_the_fault_hides_is_seen_from_the_last_advert(self) -> None:
        found = judge(failover(late_s=0.025))
        assert found["takeover"].status is Status.PASS
        assert found["timer"].status is Status.FAIL

    def test_what_the_testbeds_own_lateness_may_explain_is_unknown(self) -> None:
        found = judge(failover(late_s=0.025, lag_s=0.02))
        assert found["timer"].status is Status.UNKNOWN

    def test_nobody_takes_over(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.add(5.0, "note", text="end")
        (found,) = judge(lab).values()
        assert found.status is Status.FAIL
        assert "lb2 should have" in found.sentence

    def test_watched_for_too_short_it_is_unknown(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.add(2.3, "note", text="end")
        (found,) = judge(lab).values()
        assert found.status is Status.UNKNOWN

    def test_no_gratuitous_arp(self) -> None:
        found = judge(failover(garp=False))["gratuitous ARP"]
        assert found.status is Status.FAIL
        assert "never told the neighbours" in found.sentence

    def test_the_address_never_comes(self) -> None:
        lab = failover(address=False)
        lab.address("lb2", 0.1)
        lab.address("lb2", 0.2, "del")
        assert judge(lab)["address"].status is Status.FAIL

    def test_gratuitous_arp_a_second_too_late(self) -> None:
        lab = failover(garp=False)
        lab.garp("lb2", 3.5)
        assert judge(lab)["gratuitous ARP"].status is Status.FAIL

    def test_the_wrong_node_takes_over(self) -> None:
        lab = Lab({"lb1": 100, "lb2": 90, "lb3": 80})
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.takes("lb3", 2.0 + 0.3 + 0.06875, 5.0)
        found = judge(lab)["successor"]
        assert found.status is Status.FAIL
        assert "not lb2" in found.sentence

    def test_a_takeover_although_the_owner_was_not_hit(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 5.0)
        lab.fault("kill", "m1", 2.03)
        lab.takes("lb2", 2.5, 5.0)
        (found,) = judge(lab).values()
        assert found.status is Status.FAIL

    def test_a_stop_whose_goodbye_nobody_heeds(self) -> None:
        found = judge(stop(late_s=0.3))
        assert found["takeover"].status is Status.FAIL

    def test_nobody_owned_the_address(self) -> None:
        lab = Lab()
        lab.fault("host-crash", "lb1", 2.03)
        lab.add(5.0, "note", text="end")
        (found,) = judge(lab).values()
        assert found.status is Status.UNKNOWN
