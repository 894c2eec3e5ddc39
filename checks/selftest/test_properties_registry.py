"""All judges together: pure, in any order of events, and complete."""

from __future__ import annotations

import random

import pytest

from checks.selftest.synthetic import Lab, failover
from harness.errors import UsageError
from harness.properties import PROPERTIES, judge_all
from harness.properties.facts import Facts
from harness.timeline import Event, Timeline, parse_event
from harness.verdict import Status, worst


def test_every_property_judges_a_healthy_failover_and_passes_it() -> None:
    found = judge_all(failover().timeline())
    assert worst(found) is Status.PASS
    assert {v.property for v in found} == {"vip-migration", "client-outage", "single-owner"}


def test_every_property_is_registered_by_its_own_name() -> None:
    rows = {
        "service-tracking",
        "member-removal",
        "self-client",
        "flow-survival",
        "maintenance",
        "distribution",
    }
    assert rows < set(PROPERTIES)


def test_the_order_of_events_and_a_trip_through_the_file_change_nothing() -> None:
    lab = failover(late_s=0.2, garp=False)
    straight = judge_all(lab.timeline())
    shuffled = list(lab.events)
    random.Random(1).shuffle(shuffled)
    again = judge_all(Timeline([parse_event(e.to_json()) for e in shuffled]))
    assert [v.to_json() for v in again] == [v.to_json() for v in straight]


def test_an_unknown_property_is_an_error_that_names_the_known() -> None:
    with pytest.raises(UsageError, match="vip-migration"):
        judge_all(failover().timeline(), ["vip-migraton"])


def test_a_timeline_without_a_run_cannot_be_judged() -> None:
    with pytest.raises(UsageError, match="no 'run' event"):
        judge_all(Timeline([Event(1, "note", {"text": "x"})]))


class TestFacts:
    def test_one_virtual_router_with_its_speakers(self) -> None:
        facts = Facts.of(failover().timeline())
        (router,) = facts.routers
        assert (router.segment, router.vrid, router.family) == ("front", 51, 4)
        assert (router.speakers["lb1"].priority, router.speakers["lb1"].address) == (100, "10.0.0.11")

    def test_the_same_vrid_on_another_segment_is_another_router(self) -> None:
        lab = failover()
        lab.add(
            3.0,
            "vrrp",
            segment="back",
            node="?",
            src="10.9.0.1",
            dst="224.0.0.18",
            vrid=51,
            version=3,
            priority=200,
            interval_cs=100,
            addresses=["10.9.0.100"],
        )
        facts = Facts.of(lab.timeline())
        back, front = facts.routers
        assert (back.segment, list(back.speakers)) == ("back", ["10.9.0.1"])
        assert list(front.speakers) == ["lb1", "lb2"]

    def test_lateness_counts_in_its_time_and_a_second_longer(self) -> None:
        lab = Lab()
        lab.lag(3.0, 0.5)
        facts = Facts.of(lab.timeline())
        second = 10**9
        base = facts.lags[0].t
        assert facts.lag_s(base - 5 * second, base - second) == 0
        assert facts.lag_s(base - 5 * second, base - second // 2) == 0.5
        assert facts.lag_s(base + second, base + 2 * second) == 0.5
        assert facts.lag_s(base + second + 1, base + 2 * second) == 0

    @pytest.mark.parametrize(("source", "late_s"), [("lb1/keepalived", 0.02), ("lb1/machine", 0.06)])
    def test_a_machine_s_waits_add_up_within_a_window(self, source: str, late_s: float) -> None:
        lab = Lab()
        for at_s in (2.5, 3.0, 3.1, 3.2):
            lab.lag(at_s, 0.02, source)
        facts = Facts.of(lab.timeline())
        first, last = facts.lags[1].t - 20_000_000, facts.lags[-1].t
        assert facts.lag_s(first, last) == late_s

    @pytest.mark.parametrize(
        ("fault", "target", "effect"),
        [
            ("host-crash", "lb1", "silences"),
            ("kill", "lb1/keepalived", "silences"),
            ("kill", "lb1/haproxy", "harmless"),
            ("kill", "m1", "harmless"),
            ("link-down", "lb1:eth0", "silences"),
            ("link-down", "lb1:eth1", "harmless"),
            ("partition", "lb1", "open"),
        ],
    )
    def test_what_a_fault_does_to_a_virtual_router(self, fault: str, target: str, effect: str) -> None:
        lab = Lab()
        lab.fault(fault, target, 2.0)
        facts = Facts.of(lab.timeline())
        assert facts.effect(facts.faults[0], facts.routers[0]) == effect

    def test_files_told_with_the_configuration_may_be_included(self) -> None:
        lab = Lab()
        text = (
            "vrrp_instance V2 {\ninterface eth0\nvirtual_router_id 52\n"
            "virtual_ipaddress {\n10.0.0.101/24\n}\n}\n"
        )
        for event in lab.events:
            if event.kind == "config":
                event.data["text"] += "include conf.d/*.conf\n"
        lab.add(
            0, "config", node="lb1", service="keepalived", path="/etc/keepalived/conf.d/a.conf", text=text
        )
        assert [r.vrid for r in Facts.of(lab.timeline()).routers] == [51, 52]
