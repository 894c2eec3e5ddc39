"""A verdict weighs a value against a bound, and tells its story."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bounds.bound import RESOLUTION_S, Bound
from harness.errors import CheckFailed, TestbedError
from harness.timeline import Event
from harness.verdict import Inconclusive, Status, Verdict, check_all, describe, weigh, worst

BOUND = Bound(1, 2, "s", "1 s, then 2 s (RFC 1)")


def verdict(status: Status, **more: object) -> Verdict:
    """A verdict with this status."""
    return Verdict("vip-migration", status, "lb2 took it", **more)  # type: ignore[arg-type]


class TestWeigh:
    @pytest.mark.parametrize(
        ("measured", "lag_s", "status"),
        [
            (1.0, 0.0, Status.PASS),
            (2.0, 0.0, Status.PASS),
            (2.01, 0.0, Status.PASS),
            (0.99, 0.0, Status.PASS),
            (2.02, 0.0, Status.FAIL),
            (0.98, 0.0, Status.FAIL),
            (2.02, 0.01, Status.UNKNOWN),
            (0.98, 0.01, Status.UNKNOWN),
            (2.02, 0.009, Status.FAIL),
            (2.5, 0.4, Status.FAIL),
        ],
    )
    def test_the_resolution_is_forgiven_and_lateness_makes_it_unknown(
        self, measured: float, lag_s: float, status: Status
    ) -> None:
        assert weigh(measured, BOUND, lag_s)[0] is status

    def test_without_resolution_nothing_is_forgiven(self) -> None:
        assert weigh(2.005, BOUND, resolution=0.0)[0] is Status.FAIL

    @given(st.floats(-10, 10), st.floats(0, 5))
    def test_it_passes_exactly_within_the_resolution_and_fails_exactly_beyond_the_lateness(
        self, measured: float, lag_s: float
    ) -> None:
        status, words = weigh(measured, BOUND, lag_s)
        outside = max(BOUND.low - measured, measured - BOUND.high, 0)
        if abs(outside - RESOLUTION_S) > 1e-5 and abs(outside - RESOLUTION_S - lag_s) > 1e-5:
            assert (status is Status.PASS) == (outside < RESOLUTION_S)
            assert (status is Status.FAIL) == (outside > RESOLUTION_S + lag_s)
        assert words

    @given(st.floats(0, 5), st.floats(0, 5), st.floats(-10, 10))
    def test_more_lateness_never_turns_a_verdict_into_a_failure(
        self, one: float, other: float, measured: float
    ) -> None:
        less, more = sorted((one, other))
        if weigh(measured, BOUND, more)[0] is Status.FAIL:
            assert weigh(measured, BOUND, less)[0] is Status.FAIL

    def test_an_open_bound_has_no_too_late(self) -> None:
        assert weigh(1e9, Bound(1, math.inf, "s", "x"))[0] is Status.PASS


class TestVerdict:
    def test_worst(self) -> None:
        found = [verdict(s) for s in (Status.PASS, Status.NOT_APPLICABLE)]
        assert worst([]) is Status.NOT_APPLICABLE
        assert worst(found) is Status.PASS
        assert worst([*found, verdict(Status.UNKNOWN)]) is Status.UNKNOWN
        assert worst([*found, verdict(Status.UNKNOWN), verdict(Status.FAIL)]) is Status.FAIL

    def test_a_limitation_comes_before_a_pass_only_where_it_left_clients_without_service(self) -> None:
        mild, outright = verdict(Status.LIMITATION), verdict(Status.LIMITATION, outright=True)
        assert worst([verdict(Status.PASS), mild]) is Status.PASS
        assert worst([mild]) is Status.LIMITATION
        assert worst([verdict(Status.PASS), mild, outright]) is Status.LIMITATION
        assert worst([verdict(Status.UNKNOWN), outright]) is Status.UNKNOWN
        outright.check()

    def test_check_tells_findings_from_troubles_of_the_testbed(self) -> None:
        verdict(Status.PASS).check()
        verdict(Status.NOT_APPLICABLE).check()
        with pytest.raises(CheckFailed, match="FAIL vip-migration: lb2 took it"):
            verdict(Status.FAIL).check()
        with pytest.raises(Inconclusive, match="UNKNOWN"):
            verdict(Status.UNKNOWN).check()
        assert issubclass(Inconclusive, TestbedError)

    def test_check_all_tells_everything_that_is_as_bad_as_the_worst(self) -> None:
        check_all([verdict(Status.PASS)])
        mixed = [
            verdict(Status.FAIL, aspect="takeover"),
            verdict(Status.UNKNOWN),
            verdict(Status.FAIL, aspect="ARP"),
        ]
        with pytest.raises(CheckFailed) as raised:
            check_all(mixed)
        assert "vip-migration: takeover" in str(raised.value)
        assert "vip-migration: ARP" in str(raised.value)
        assert "UNKNOWN" not in str(raised.value)
        with pytest.raises(Inconclusive):
            check_all(mixed[1:2])

    def test_the_text_has_the_sentence_the_numbers_the_reason_and_the_evidence(self) -> None:
        inject = Event(
            2_000_000_000,
            "fault",
            {"id": "x", "fault": "kill", "target": "lb1/keepalived", "state": "inject"},
        )
        made = verdict(
            Status.FAIL,
            measured=2.5,
            bound=BOUND,
            aspect="takeover",
            evidence=(inject, "lb1 kept 10.0.0.100"),
            origin_ns=1_000_000_000,
        )
        assert made.text().splitlines() == [
            "FAIL vip-migration: takeover: lb2 took it",
            "  measured 2.5 s",
            "  bound    1 to 2 s",
            "  because  1 s, then 2 s (RFC 1)",
            "  evidence (seconds from the fault)",
            "       +1.0000 fault kill on lb1/keepalived: inject",
            "               lb1 kept 10.0.0.100",
        ]

    def test_json_has_no_infinity(self) -> None:
        made = verdict(Status.PASS, measured=1.25, bound=Bound(1, math.inf, "s", "x"))
        said = json.loads(json.dumps(made.to_json(), allow_nan=False))
        assert said["verdict"] == "pass"
        assert said["bound"] == {"low": 1, "high": None}

    @pytest.mark.parametrize(
        ("kind", "fields", "words"),
        [
            ("vrrp", {"node": "lb1", "vrid": 51, "priority": 0}, "priority 0: I am leaving"),
            (
                "vrrp",
                {"node": "lb1", "vrid": 51, "priority": 9, "bad": "checksum"},
                "discarded by receivers: checksum",
            ),
            ("link", {"node": "lb1", "interface": "eth0", "up": False}, "lb1: eth0 down"),
            ("lag", {"source": "probe", "lag_ns": 20_000_000}, "probe: 0.0200 s late"),
            ("clock", {"offset_ns": 1}, "clock"),
        ],
    )
    def test_events_are_told_in_words(self, kind: str, fields: dict[str, object], words: str) -> None:
        assert words in describe(Event(1, kind, fields), 0)
