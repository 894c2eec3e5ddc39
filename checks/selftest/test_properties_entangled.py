"""Faults that overlap: figures of which nobody can tell whose they are decide nothing, all others do."""

from __future__ import annotations

from checks.selftest.synthetic import Lab, failover
from harness.properties import judge_all
from harness.verdict import Status


def statuses(lab: Lab, fault: str = "host-crash-1") -> dict[str, Status]:
    """What was found under a fault, by title."""
    found = judge_all(lab.timeline())
    return {verdict.title(): verdict.status for verdict in found if verdict.fault == fault}


def late() -> Lab:
    """A takeover that is late by 0.2 s, so that clients were without service for longer than promised."""
    return failover(late_s=0.2)


class TestControls:
    def test_alone_a_late_takeover_is_a_failure(self) -> None:
        found = statuses(late())
        assert found["vip-migration: takeover"] is found["client-outage: outage"] is Status.FAIL

    def test_what_came_before_and_was_over_changes_nothing(self) -> None:
        lab = late()
        lab.fault("kill", "m1/master", 0.5)
        lab.add(0.9, "phase", name="recovered")
        found = statuses(lab)
        assert found["vip-migration: takeover"] is found["client-outage: outage"] is Status.FAIL

    def test_a_fault_of_the_same_node_makes_one_fault_with_it(self) -> None:
        lab = late()
        lab.fault("loss", "lb1:eth0", 1.9)
        assert statuses(lab)["vip-migration: takeover"] is Status.FAIL


class TestOverlapping:
    def test_a_member_s_end_meanwhile_does_not_end_the_takeover_s_time(self) -> None:
        lab = failover()
        lab.fault("kill", "m1/master", 2.1)
        found = statuses(lab)
        assert found["vip-migration: takeover"] is found["vip-migration: timer"] is Status.PASS
        assert found["client-outage: outage"] is Status.UNKNOWN

    def test_a_takeover_is_no_finding_against_the_fault_that_came_after_its_own(self) -> None:
        lab = failover()
        lab.fault("kill", "m1/master", 2.1)
        assert statuses(lab, "kill-1")["vip-migration: takeover"] is Status.PASS

    def test_a_late_takeover_is_not_a_member_s_doing_but_an_outage_may_be(self) -> None:
        lab = late()
        lab.fault("kill", "m1/master", 2.1)
        found = statuses(lab)
        assert found["vip-migration: takeover"] is Status.FAIL
        assert found["client-outage: outage"] is Status.UNKNOWN

    def test_it_is_told_what_else_may_be_to_blame(self) -> None:
        lab = late()
        lab.fault("loss", "lb2:eth0", 1.9, detail="percent=30")
        (verdict,) = [
            v
            for v in judge_all(lab.timeline())
            if (v.fault, v.title()) == ("host-crash-1", "vip-migration: takeover")
        ]
        assert verdict.status is Status.UNKNOWN
        assert "but loss of lb2:eth0 came or went meanwhile, so it may be to blame" in verdict.sentence

    def test_the_wrong_heir_is_caught_all_the_same(self) -> None:
        """Who took over is no figure."""
        lab = Lab({"lb1": 150, "lb2": 100, "lb3": 50})
        lab.announce("lb1", 0, 2.01)
        lab.fault("host-crash", "lb1", 2.03)
        lab.fault("kill", "m1/master", 2.1)
        lab.takes("lb3", 2.5, 4.0)
        assert statuses(lab)["vip-migration: successor"] is Status.FAIL
