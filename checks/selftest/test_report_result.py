"""The result for programs: every documented key, true figures, and plain JSON whatever the run was like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from checks.selftest.report_runs import AGAIN, drill, judged
from checks.selftest.synthetic import Lab, failover
from harness.report.headline import headline, outcome
from harness.report.result import result, write_result
from harness.timeline import Timeline
from harness.verdict import Status, Verdict

DOCUMENT = Path(__file__).parents[2] / "docs" / "result.md"


def result_of(lab: Lab) -> dict[str, Any]:
    """The result of a synthetic run, as a reader of the file gets it."""
    timeline, verdicts = judged(lab)
    data: dict[str, Any] = json.loads(json.dumps(result(timeline, verdicts, Path("/a/run"), again=AGAIN)))
    return data


class TestFigures:
    def test_a_healthy_drill(self) -> None:
        data = result_of(drill())
        assert (data["verdict"], data["architecture"], data["fault"], data["seed"]) == (
            "pass",
            "vip-l7",
            "host-crash",
            1,
        )
        assert data["takeover_s"] == pytest.approx(0.334844, abs=1e-6)
        assert data["outage_s"] == pytest.approx(0.34)
        assert data["requests"] == {"sent": 1220, "lost": 68, "causes": {"timeout": 68}}
        assert data["long_lived"]["lost"] == 11
        assert data["artifacts"] == "/a/run"
        assert data["complete"] is True
        assert data["started"] == "2023-11-14T23:36:40.000+00:00"

    def test_owners_are_told_in_seconds_from_the_fault(self) -> None:
        owners = result_of(drill())["owners"]
        assert [(o["node"], o["ended_by"]) for o in owners] == [
            ("lb1", "silence"),
            ("lb2", "outranked"),
            ("lb1", "end"),
        ]
        assert [o["from_s"] for o in owners] == pytest.approx([-1.53, 0.334844, 3.440938], abs=2e-6)
        assert owners[1]["to_s"] == owners[2]["from_s"]

    def test_every_check_has_the_promised_keys_and_its_arithmetic(self) -> None:
        checks = result_of(drill())["checks"]
        assert {"vip-migration", "client-outage", "fail-back", "single-owner", "flow-survival"} == {
            c["property"] for c in checks
        }
        for check in checks:
            assert {"property", "verdict", "measured", "bound", "unit"} <= check.keys()
            assert check["bound"] is None or check["bound"].keys() == {"low", "high"}
        takeover = next(c for c in checks if c["aspect"] == "takeover")
        assert takeover["because"].startswith("3 x 0.1 s + (256 - 90)/256 x 0.1 s")
        assert any("lb2: VRRP advert" in line for line in takeover["evidence"])

    def test_outages_are_told_for_fault_and_healing_apart(self) -> None:
        row = result_of(drill())["clients"][0]
        assert (row["client"], row["stream"]) == ("cl", "new")
        assert row["fault_outage_s"] == pytest.approx(0.34)
        assert row["healing_outage_s"] == 0
        assert result_of(drill(heal=False))["clients"][0]["healing_outage_s"] is None

    def test_a_takeover_that_never_came_has_no_time(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.probes(0.6, 6.0, (2.03, 6.0))
        lab.add(6.0, "phase", name="done")
        data = result_of(lab)
        assert data["verdict"] == "fail"
        assert data["takeover_s"] is None
        assert data["outage_s"] == pytest.approx(3.96)
        assert data["summary"].startswith("VIP never moved, promised ≤ 0.36 s")


class TestBrokenRuns:
    def test_a_run_without_a_fault_is_not_a_pass_by_itself(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 3.0)
        lab.probes(0.6, 3.0)
        data = result_of(lab)
        assert data["fault"] is None
        assert data["takeover_s"] is None
        assert data["summary"].startswith("No fault was injected")

    def test_an_empty_timeline_gives_nulls_and_unknown(self) -> None:
        data = json.loads(json.dumps(result(Timeline(), [], Path("x"))))
        assert data["verdict"] == "unknown"
        assert data["architecture"] is None
        assert data["outage_s"] is None
        assert data["owners"] == []

    def test_infinite_bounds_become_null(self) -> None:
        assert "Infinity" not in json.dumps(result_of(failover("freeze")))

    def test_only_inapplicable_checks_decide_nothing(self) -> None:
        assert outcome([Verdict("fail-back", Status.NOT_APPLICABLE, "no")]) is Status.UNKNOWN


class TestHeadline:
    def test_it_tells_the_takeover_the_promise_and_the_loss(self) -> None:
        assert headline(*judged(drill())) == (
            "VIP moved in 0.33 s, promised ≤ 0.36 s; 68 of 1,220 requests lost."
        )

    def test_what_keeps_the_promise_within_the_timers_resolution_is_told_so(self) -> None:
        assert "moved in 0.37 s, promised ≤ 0.36 s give or take 0.01 s" in headline(*judged(drill(0.034)))

    def test_it_shows_as_many_decimals_as_it_takes_to_see_which_side_of_the_bound(self) -> None:
        timeline, _ = judged(drill(0.0301))
        assert "moved in 0.3649 s, promised ≤ 0.3648 s" in headline(
            timeline, [Verdict("x", Status.FAIL, "no")]
        )

    def test_too_early_shows_both_ends_of_the_promise(self) -> None:
        assert "moved in 0.23 s, promised 0.26 to 0.36 s" in headline(*judged(drill(-0.1)))

    def test_it_names_what_failed(self) -> None:
        assert "vip-migration failed" in headline(*judged(drill(garp=False)))

    def test_a_fault_that_moves_nothing(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 6.0)
        lab.fault("kill", "m1/master", 2.03)
        lab.probes(0.6, 6.0)
        assert headline(*judged(lab)).startswith("The VIP stayed on lb1; none of 540 requests lost")


class TestFile:
    def test_it_is_written_whole_and_leaves_nothing_beside_it(self, tmp_path: Path) -> None:
        path = tmp_path / "result.json"
        path.write_text("old")
        write_result(path, {"verdict": "pass", "note": "Übernahme"})
        assert json.loads(path.read_text(encoding="utf-8"))["note"] == "Übernahme"
        assert [p.name for p in tmp_path.iterdir()] == ["result.json"]

    def test_a_link_stays_a_link(self, tmp_path: Path) -> None:
        (tmp_path / "real.json").touch()
        (tmp_path / "link.json").symlink_to("real.json")
        write_result(tmp_path / "link.json", {"verdict": "pass"})
        assert (tmp_path / "link.json").is_symlink()
        assert json.loads((tmp_path / "real.json").read_text()) == {"verdict": "pass"}

    def test_the_document_tells_every_key(self) -> None:
        data = result_of(drill())
        document = DOCUMENT.read_text(encoding="utf-8")
        keys = {*data, *data["checks"][0], *data["clients"][0], *data["owners"][0], *data["faults"][0]}
        assert not [key for key in sorted(keys) if f"`{key}`" not in document]
