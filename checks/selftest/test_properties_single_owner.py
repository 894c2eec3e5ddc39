"""single-owner: never two, never none, for longer than the arithmetic allows."""

from __future__ import annotations

import pytest

from checks.selftest.synthetic import VIP, Lab, failover
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

DOWN_S = 0.36484


def judge(lab: Lab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["single-owner"])}


def three(claims: dict[str, float], priorities: dict[str, int]) -> Lab:
    """Three balancers; lb1 dies at 2.03 s, others claim when told, and the highest answers them at once."""
    lab = Lab(priorities)
    lab.takes("lb1", 0.5, 2.05)
    lab.fault("host-crash", "lb1", 2.03)
    winner = max(claims, key=lambda node: (priorities[node], node))
    for node, at_s in claims.items():
        lab.announce(node, at_s, 5.0 if node == winner else at_s + 0.001)
    lab.advert(winner, max(claims.values()) + 0.001)
    return lab


def restarted(priorities: dict[str, int], late_s: float = 0.0) -> Lab:
    """Both crash, lb1 first; lb2 is well again at 8 s and takes the address by its own timer."""
    lab = Lab(priorities, interval_s=1.0)
    lab.takes("lb1", 0.5, 3.0)
    lab.fault("host-crash", "lb1", 3.2, 30.0)
    lab.fault("host-crash", "lb2", 3.4, 8.0)
    lab.takes("lb2", 8.0 + 3 + (256 - priorities["lb2"]) / 256 + late_s, 20.0)
    lab.add(20.0, "phase", name="done")
    return lab


class TestControls:
    def test_one_owner_throughout(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 6.0)
        found = judge(lab)
        assert worst(found.values()) is Status.PASS
        assert "without a gap" in found["none"].sentence

    @pytest.mark.parametrize("fault", ["host-crash", "kill", "freeze", "link-down"])
    def test_a_gap_of_one_down_interval(self, fault: str) -> None:
        found = judge(failover(fault))
        assert worst(found.values()) is Status.PASS
        assert found["none"].measured == pytest.approx(DOWN_S, abs=1e-4)

    def test_a_preemption_without_a_gap(self) -> None:
        lab = Lab()
        lab.takes("lb2", 0.5, 2.05)
        lab.takes("lb1", 2.06, 5.0)
        lab.address("lb2", 2.062, "del")
        found = judge(lab)
        assert worst(found.values()) is Status.PASS
        assert found["none"].measured == 0.0

    def test_one_lost_advert(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.announce("lb1", 2.2, 4.0)
        assert worst(judge(lab).values()) is Status.PASS

    def test_nobody_is_left_to_take_over(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb2", 1.0)
        lab.fault("kill", "lb1/keepalived", 2.03)
        lab.add(9.0, "note", text="end")
        assert judge(lab)["none"].status is Status.NOT_APPLICABLE

    @pytest.mark.parametrize("priorities", [{"lb1": 150, "lb2": 50}, {"lb1": 100, "lb2": 90}])
    def test_of_two_that_were_down_the_lower_is_well_again_first(self, priorities: dict[str, int]) -> None:
        lab = restarted(priorities)
        assert judge(lab)["none"].status is Status.PASS
        assert worst(judge_all(lab.timeline())) is not Status.FAIL

    def test_a_thawed_owner_and_its_replacement_overlap_no_longer_than_one_answer(self) -> None:
        lab = failover("freeze")
        lab.events = [e for e in lab.events if e.kind != "vrrp"]
        lab.announce("lb1", 0.5, 2.05)
        lab.announce("lb2", 2.0 + DOWN_S, 4.0)
        lab.announce("lb1", 4.001, 6.0)
        lab.advert("lb2", 4.003)
        lab.advert("lb1", 4.004)
        assert worst(judge(lab).values()) is Status.PASS

    def test_the_address_a_kill_leaves_behind_is_evidence_not_an_owner(self) -> None:
        found = judge(failover("kill"))["two"]
        assert found.status is Status.PASS
        assert f"lb1 had {VIP} for 4.000 s without announcing it" in found.evidence

    def test_two_claims_in_one_centisecond_with_different_priorities(self) -> None:
        lab = three({"lb2": 2.3648, "lb3": 2.3687}, {"lb1": 100, "lb2": 90, "lb3": 80})
        assert worst(judge(lab).values()) is Status.PASS


class TestSaboteurs:
    def test_one_that_is_well_again_and_does_not_take_it(self) -> None:
        found = judge(restarted({"lb1": 150, "lb2": 50}, late_s=0.1))["none"]
        assert (found.status, found.measured) == (Status.FAIL, pytest.approx(3.9, abs=0.01))

    def test_a_gap_longer_than_the_down_interval(self) -> None:
        found = judge(failover(late_s=0.5))["none"]
        assert found.status is Status.FAIL
        assert found.measured == pytest.approx(DOWN_S + 0.5, abs=1e-3)

    def test_a_gap_to_the_end_of_the_run(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.add(9.0, "note", text="end")
        found = judge(lab)["none"]
        assert found.status is Status.FAIL
        assert "to the end of the run" in found.sentence

    def test_a_gap_without_any_fault(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.takes("lb1", 4.0, 6.0)
        assert judge(lab)["none"].status is Status.FAIL

    def test_a_gap_after_a_farewell_longer_than_the_skew(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.advert("lb1", 2.03, priority=0)
        lab.takes("lb2", 2.03 + 0.3, 5.0)
        assert judge(lab)["none"].status is Status.FAIL

    def test_a_gap_that_the_testbeds_lateness_may_explain(self) -> None:
        lab = failover(late_s=0.03, lag_s=0.05)
        assert judge(lab)["none"].status is Status.UNKNOWN

    def test_two_owners_for_seconds(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 6.0)
        lab.takes("lb2", 2.37, 4.6)
        found = judge(lab)["two"]
        assert found.status is Status.FAIL
        assert found.measured == pytest.approx(2.23, abs=0.001)
        assert {e.node for e in found.evidence if not isinstance(e, str)} == {"lb1", "lb2"}

    def test_two_owners_for_a_twentieth_of_a_second(self) -> None:
        lab = Lab()
        lab.takes("lb2", 0.5, 2.05)
        lab.announce("lb1", 2.045, 6.0)
        lab.advert("lb2", 2.095)
        assert judge(lab)["two"].status is Status.FAIL

    def test_equal_priorities_take_it_at_once(self) -> None:
        lab = three({"lb2": 2.3609, "lb3": 2.3611}, {"lb1": 101, "lb2": 100, "lb3": 100})
        found = judge(lab)["election"]
        assert (found.status, found.measured, found.unit) == (Status.FAIL, 2, "claimants")
        assert found.bound is not None
        assert "equal priority 100" in found.bound.source

    def test_nobody_ever_announced_it(self) -> None:
        lab = Lab()
        lab.add(9.0, "note", text="end")
        found = judge(lab)["none"]
        assert found.status is Status.FAIL
        assert "nobody ever announced" in found.sentence
