"""client-outage: what the client lost, against what the takeover may cost it."""

from __future__ import annotations

import pytest

from checks.selftest.synthetic import Lab, failover, ns
from harness.observe.lateness import NETWORK_LOCK
from harness.properties import judge_all
from harness.properties.facts import Facts
from harness.properties.streams import outages, streams
from harness.verdict import Status, Verdict


def judge(lab: Lab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["client-outage"])}


def quiet(**faults: str) -> Lab:
    """lb1 owns the address throughout and every attempt is served; `faults` by name with their target."""
    lab = Lab()
    lab.takes("lb1", 0.5, 6.0)
    for name, target in faults.items():
        lab.fault(name.replace("_", "-"), target, 2.03)
    lab.probes(0.6, 6.0)
    return lab


class TestControls:
    def test_an_outage_as_long_as_the_takeover_and_one_period(self) -> None:
        found = judge(failover())
        assert {v.status for v in found.values()} == {Status.PASS}
        assert found["outage"].measured == pytest.approx(0.34, abs=0.001)
        assert "lost 34 attempts (34 timeout)" in found["outage"].sentence

    def test_a_killed_keepalived_may_cost_nothing_as_its_address_stays(self) -> None:
        lab = failover("kill")
        lab.events = [e for e in lab.events if e.kind != "probe"]
        lab.probes(0.6, 6.0)
        found = judge(lab)["outage"]
        assert (found.status, found.measured) == (Status.PASS, 0.0)

    def test_a_run_without_a_fault_loses_nothing(self) -> None:
        assert {v.status for v in judge(quiet()).values()} == {Status.PASS}

    def test_losing_the_standby_costs_nothing(self) -> None:
        found = judge(quiet(host_crash="lb2"))
        assert (found["outage"].status, found["outage"].measured) == (Status.PASS, 0.0)

    @pytest.mark.parametrize("target", ["m1", "lb1/haproxy"])
    def test_other_faults_are_not_bounded_by_a_takeover(self, target: str) -> None:
        found = judge(quiet(kill=target))["outage"]
        assert found.status is Status.NOT_APPLICABLE
        assert ("nothing tracks haproxy" in found.sentence) == (target == "lb1/haproxy")

    def test_what_the_end_of_an_interrupted_run_costs_is_nobody_s_loss(self) -> None:
        for done, status in ((False, Status.PASS), (True, Status.FAIL)):
            lab = quiet()
            lab.add(1.0, "phase", name="steady")
            lab.probe(5.9, "refused")
            if done:
                lab.add(6.1, "phase", name="done")
            assert judge(lab)["without a fault"].status is status


class TestSaboteurs:
    def test_an_outage_longer_than_the_takeover_explains(self) -> None:
        found = judge(failover(outage_late_s=0.3))["outage"]
        assert found.status is Status.FAIL
        assert found.measured == pytest.approx(0.64, abs=0.001)

    def test_an_outage_shorter_than_is_possible(self) -> None:
        found = judge(failover(outage_late_s=-0.2))["outage"]
        assert found.status is Status.FAIL
        assert "earlier than" in found.sentence

    def test_an_outage_that_does_not_end(self) -> None:
        found = judge(failover(outage_late_s=9))["outage"]
        assert found.status is Status.FAIL

    def test_a_run_that_was_cut_off_too_early_says_nothing_of_the_outage(self) -> None:
        lab = failover()
        cut = [event for event in lab.events if event.t < ns(2.1)]
        lab.events = [event for event in cut if not (event.kind == "probe" and event.result != "ok")]
        verdict = judge(lab)["outage"]
        assert verdict.status is Status.UNKNOWN
        assert "cut off before its outage could be seen" in verdict.sentence

    def test_the_testbeds_lateness_makes_it_unknown(self) -> None:
        lab = failover(outage_late_s=0.05)
        lab.lag(2.6, 0.1)
        assert judge(lab)["outage"].status is Status.UNKNOWN

    def test_losses_of_an_overloaded_testbed_are_unknown(self) -> None:
        lab = failover(outage_late_s=1.5)
        lab.lag(2.4, 0.3, "lb2/haproxy")
        lab.lag(2.4, 0.2, "m1/master")
        found = judge(lab)["outage"]
        assert found.status is Status.UNKNOWN
        assert "late by 0.5 s in all" in found.sentence

    @pytest.mark.parametrize("source", ["observer", "probe:else", "lb2/keepalived", NETWORK_LOCK])
    def test_lateness_of_who_serves_no_client_excuses_no_long_outage(self, source: str) -> None:
        lab = failover(outage_late_s=1.5)
        lab.lag(2.4, 0.5, source)
        assert judge(lab)["outage"].status is Status.FAIL

    def test_a_little_lateness_excuses_no_long_outage(self) -> None:
        lab = failover(outage_late_s=1.5)
        lab.lag(2.4, 0.3, "lb2/haproxy")
        assert judge(lab)["outage"].status is Status.FAIL

    def test_one_request_lost_while_nothing_was_wrong(self) -> None:
        lab = quiet()
        lab.probe(3.005, "reset", 0.01)
        found = judge(lab)["without a fault"]
        assert (found.status, found.measured) == (Status.FAIL, 1)
        assert "(1 reset)" in found.sentence

    def test_one_request_lost_before_the_fault(self) -> None:
        lab = failover()
        lab.probe(1.505, "refused", 0.001)
        assert judge(lab)["without a fault"].status is Status.FAIL

    def test_a_request_timed_out_while_the_testbed_itself_stood_still(self) -> None:
        lab = quiet()
        lab.probe(3.005, "timeout", 0.5)
        lab.lag(3.4, 0.5, "lb1/haproxy")
        assert judge(lab)["without a fault"].status is Status.UNKNOWN

    def test_a_reset_is_not_excused_by_lateness_alone(self) -> None:
        lab = quiet()
        lab.probe(3.005, "reset", 0.01)
        lab.lag(3.0, 0.5, "lb1/haproxy")
        assert judge(lab)["without a fault"].status is Status.FAIL

    def test_a_request_lost_by_the_loss_of_the_standby(self) -> None:
        lab = quiet(host_crash="lb2")
        lab.probe(3.005, "reset", 0.01)
        assert judge(lab)["outage"].status is Status.FAIL


class TestOutages:
    def runs(
        self, *attempts: tuple[float, str, float], moved_s: float | None = None
    ) -> list[tuple[float, float | None]]:
        """Outages as seconds of the run, from attempts given by due time, result and duration."""
        lab = Lab()
        for due, result, taken in attempts:
            lab.probe(due, result, taken)
        (stream,) = streams(Facts.of(lab.timeline()))
        found = outages(stream, ns(1), ns(9), None if moved_s is None else ns(moved_s))
        return [
            ((o.from_ns - ns(0)) / 1e9, None if o.to_ns is None else (o.to_ns - ns(0)) / 1e9) for o in found
        ]

    def test_each_run_of_losses_is_one_outage(self) -> None:
        attempts = [
            (1.0, "ok", 0.0),
            (1.1, "reset", 0.0),
            (1.2, "timeout", 0.5),
            (1.3, "ok", 0.0),
            (1.4, "tls", 0.0),
            (1.5, "ok", 0.0),
        ]
        assert self.runs(*attempts) == [(1.1, 1.3), (1.4, 1.5)]

    def test_what_was_lost_before_the_window_is_not_counted(self) -> None:
        assert self.runs((0.5, "reset", 0.0), (1.5, "ok", 0.0)) == []

    def test_an_attempt_that_waited_for_the_takeover_was_a_victim(self) -> None:
        attempts = [(1.0, "ok", 0.001), (1.1, "ok", 1.2), (1.2, "ok", 1.1), (2.0, "ok", 0.001)]
        assert self.runs(*attempts, moved_s=1.9) == [(1.1, 2.0)]
        assert self.runs(*attempts) == []

    def test_an_outage_may_not_end(self) -> None:
        assert self.runs((1.0, "ok", 0.0), (1.1, "refused", 0.0)) == [(1.1, None)]
