"""A saved run is judged again: the same verdict, what has changed, and honesty about what is missing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from checks.selftest.report_runs import AGAIN, drill, judged, saved
from checks.selftest.synthetic import Lab
from harness.errors import UsageError
from harness.report.analyze import Analysis, analyze
from harness.report.evidence import write_artifacts
from harness.report.expected import expectations
from harness.report.terminal import print_analysis


def kept(folder: Path, lab: Lab | None = None) -> Path:
    """A whole artifact folder of a run."""
    lab = lab or drill()
    saved(folder, lab)
    timeline, verdicts = judged(lab)
    write_artifacts(folder, timeline, verdicts, AGAIN)
    return folder


def printed(analysis: Analysis) -> str:
    """What the command prints."""
    out = io.StringIO()
    print_analysis(analysis, file=out)
    return " ".join(out.getvalue().split())


class TestAgain:
    def test_the_same_run_gives_the_same_verdict_and_no_change(self, tmp_path: Path) -> None:
        analysis = analyze(kept(tmp_path))
        assert analysis.changes == []
        assert analysis.problems == []
        assert analysis.result["verdict"] == "pass"
        assert analysis.again == AGAIN
        assert "Changed since it was saved: nothing" in printed(analysis)

    def test_the_timeline_itself_may_be_named(self, tmp_path: Path) -> None:
        assert analyze(kept(tmp_path) / "timeline.jsonl").folder == tmp_path

    def test_it_says_what_has_changed(self, tmp_path: Path) -> None:
        folder = kept(tmp_path)
        saved(folder, drill(0.5))
        analysis = analyze(folder)
        assert "verdict was pass, is now fail" in analysis.changes
        assert "takeover_s was 0.3348, is now 0.8348" in analysis.changes
        assert "requests lost were 68 of 1220, are now 168 of 1220" in analysis.changes
        assert any(
            "vip-migration takeover" in c and "verdict was pass, is now fail" in c for c in analysis.changes
        )
        assert "takeover_s was 0.3348, is now 0.8348" in printed(analysis)

    def test_what_a_scenario_expected_is_shown_again(self, tmp_path: Path) -> None:
        lab = drill(0.5)
        saved(tmp_path, lab)
        timeline, verdicts = judged(lab)
        expect = {"vip-migration": "fail", "single-owner": "pass"}
        write_artifacts(tmp_path, timeline, verdicts, AGAIN, expected=expectations(expect, verdicts))
        analysis = analyze(tmp_path)
        assert analysis.problems == []
        assert [one.name for one in analysis.expected] == list(expect)
        assert "vip-migration fails, as expected" in printed(analysis)
        assert json.loads((tmp_path / "result.json").read_text())["expected"] == analysis.result["expected"]

    def test_an_expectation_that_is_none_is_told(self, tmp_path: Path) -> None:
        before = json.loads((kept(tmp_path) / "result.json").read_text())
        before["expected"] = [{"property": "vip-migration", "expected": "perhaps"}]
        (tmp_path / "result.json").write_text(json.dumps(before))
        analysis = analyze(tmp_path)
        assert analysis.expected == []
        assert "holds an expectation that is none" in analysis.problems[0]

    def test_checks_that_are_new_or_gone_are_named(self, tmp_path: Path) -> None:
        folder = kept(tmp_path)
        before = json.loads((folder / "result.json").read_text())
        before["checks"] = [c for c in before["checks"] if c["property"] != "fail-back"]
        before["checks"].append({"property": "magic", "verdict": "pass"})
        (folder / "result.json").write_text(json.dumps(before))
        changes = analyze(folder).changes
        assert any(change.startswith("check fail-back") and change.endswith("is new") for change in changes)
        assert "check magic (pass) is gone" in changes


class TestDamage:
    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="there is no folder"):
            analyze(tmp_path / "nowhere")

    def test_a_folder_of_something_else_says_what_it_holds(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.jpg").touch()
        with pytest.raises(UsageError, match=r"no timeline\.jsonl.*holiday\.jpg"):
            analyze(tmp_path)

    @pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"\xff\xfe\0rubbish", "no event")])
    def test_a_timeline_without_any_event(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "timeline.jsonl").write_bytes(content)
        with pytest.raises(UsageError, match=said):
            analyze(tmp_path)

    def test_a_last_line_cut_off_is_told_and_the_rest_judged(self, tmp_path: Path) -> None:
        folder = kept(tmp_path)
        path = folder / "timeline.jsonl"
        path.write_bytes(path.read_bytes()[:-10])
        analysis = analyze(folder)
        assert analysis.verdicts
        assert "1 line of timeline.jsonl is no event and left out" in analysis.problems[0]
        assert "Missing or damaged" in printed(analysis)

    def test_a_run_cut_before_its_description(self, tmp_path: Path) -> None:
        lab = drill()
        lab.events = [event for event in lab.events if event.kind not in ("run", "config")]
        analysis = analyze(saved(tmp_path, lab))
        assert analysis.verdicts == []
        assert analysis.result["verdict"] == "unknown"
        assert "the 'run' event) is missing" in analysis.problems[0]
        assert "unfinished run" in printed(analysis)

    def test_an_interrupted_run_says_so(self, tmp_path: Path) -> None:
        lab = drill()
        lab.events = [event for event in lab.events if event.get("name") != "done"]
        problems = analyze(saved(tmp_path, lab)).problems
        assert problems[0].startswith("the run did not come to its end")
        assert problems[1] == "result.json is missing, so nothing can be compared with it"

    @pytest.mark.parametrize("content", ["{", "[]", '{"checks": 3}', "\0"])
    def test_a_damaged_result_is_told(self, tmp_path: Path, content: str) -> None:
        folder = kept(tmp_path)
        (folder / "result.json").write_text(content)
        analysis = analyze(folder)
        assert analysis.saved is None
        assert analysis.problems[0].startswith("result.json")
        assert analysis.result["verdict"] == "pass"

    def test_impossible_values_are_left_out_and_told(self, tmp_path: Path) -> None:
        lab = drill()
        lab.add(3.0, "vrrp", **{**lab.timeline().of("vrrp")[0].data, "src": "10.0.0.999"})
        lab.add(3.0, "lag", source="x", lag_ns="late")
        problems = analyze(kept(tmp_path, drill()) if False else saved(tmp_path, lab)).problems
        assert problems[0].startswith("2 events with impossible values are left out")

    def test_a_configuration_that_cannot_be_read_is_told(self, tmp_path: Path) -> None:
        lab = drill()
        for event in lab.events:
            if event.kind == "config":
                event.data["text"] = "vrrp_instance {{{"
        analysis = analyze(saved(tmp_path, lab))
        assert any("cannot be judged" in problem for problem in analysis.problems)

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_bytes_overwritten_anywhere_give_a_report_or_a_usage_error(
        self, tmp_path: Path, data: st.DataObject
    ) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 1.2)
        lab.fault("host-crash", "lb1", 1.23)
        lab.takes("lb2", 1.56, 2.0)
        lab.probes(0.6, 0.7)
        content = bytearray("".join(event.to_json() + "\n" for event in lab.timeline()).encode())
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + 1] = data.draw(
                st.sampled_from([b"", b"9", b'"', b"-", b"}", b"\n", b"x", b"0"])
            )
        (tmp_path / "timeline.jsonl").write_bytes(bytes(content))
        try:
            analysis = analyze(tmp_path)
        except UsageError:
            return
        assert printed(analysis)
