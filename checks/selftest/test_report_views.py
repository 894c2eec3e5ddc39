"""Lanes, trace, summary, matrix and comparison: what they hold, how large they get, what damage costs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from checks.selftest.report_runs import AGAIN, Drilled, drill, judged, saved
from checks.selftest.synthetic import VIP, Lab, ns
from checks.selftest.test_report_pcapng import pcap_of
from harness import plugin
from harness.cli import app
from harness.errors import UsageError
from harness.report import junit, markdown
from harness.report.digest import configs_digest
from harness.report.evidence import write_artifacts
from harness.report.html.suite import kept_drills, write_suite
from harness.report.lanes import lanes_of
from harness.report.lanes.model import Lane
from harness.report.matrix import Matrix, cells, decode, encode
from harness.report.packet_numbers import PacketNumbers
from harness.report.perfetto import trace_events
from harness.timeline import Timeline
from harness.verdict import Verdict


def lane(groups: list[Any], name: str) -> Lane:
    """A lane by its name."""
    return next(lane for group in groups for lane in group.lanes if lane.name == name)


def shown(found: Lane) -> list[tuple[str, float, float]]:
    """A lane's stretches: label, from, to in seconds of the run."""
    zero = ns(0)
    return [
        (s.label, round((s.from_ns - zero) / 1e9, 3), round((s.to_ns - zero) / 1e9, 3))
        for s in found.stretches
    ]


def kept(folder: Path, lab: Lab | None = None) -> tuple[Timeline, list[Verdict]]:
    """A whole artifact folder."""
    lab = lab or drill()
    saved(folder, lab)
    timeline, verdicts = judged(lab)
    (folder / "captures").mkdir()
    (folder / "captures" / "front.pcap").write_bytes(pcap_of(timeline))
    write_artifacts(folder, timeline, verdicts, AGAIN)
    return timeline, verdicts


class TestLanes:
    def test_who_owns_the_vip_and_what_each_speaker_does(self) -> None:
        groups = lanes_of(*judged(drill()))
        assert [label for label, _, _ in shown(lane(groups, f"{VIP} owner"))] == ["lb1", "lb2", "lb1"]
        states = shown(lane(groups, "lb1"))
        assert [label for label, _, _ in states] == ["backup", "active", "crashed", "backup", "active"]
        assert states[2][1] == 2.031
        assert len(lane(groups, "lb2").moments) == len(drill().timeline().of("vrrp", node="lb2"))

    def test_a_clients_losses_are_one_stretch_that_its_promise_stands_by(self) -> None:
        client = lane(lanes_of(*judged(drill())), "cl")
        assert [label for label, _, _ in shown(client)] == ["answered", "34 lost", "answered"]
        [promise] = client.promises
        assert promise.kept
        assert promise.from_ns < client.stretches[1].to_ns <= promise.to_ns

    def test_a_promise_that_was_not_kept_is_marked_so(self) -> None:
        owner = lane(lanes_of(*judged(drill(0.5))), f"{VIP} owner")
        assert False in [promise.kept for promise in owner.promises]

    def test_two_owners_at_once_have_a_lane_each(self) -> None:
        lab = Drilled()
        lab.begin()
        lab.takes("lb1", 0.5, 6.0)
        lab.takes("lb2", 2.03, 6.0)
        groups = lanes_of(lab.timeline())
        assert shown(lane(groups, f"{VIP} second owner"))[0][:2] == ("lb2", 2.03)

    def test_neighbours_and_servers_as_they_were_told(self) -> None:
        lab = drill()
        mac = {node: Lab.mac(node) for node in ("lb1", "lb2")}
        for at, node in ((0.51, "lb1"), (2.37, "lb2"), (5.48, "lb1")):
            lab.add(at, "neighbour", node="cl", interface="eth0", address=VIP, mac=mac[node])
        lab.add(0.4, "service", node="lb2", service="haproxy", state="ready", pid=5)
        up = {"node": "lb2", "service": "haproxy", "pool": "api", "server": "m1"}
        lab.add(3.0, "health", **up, up=False, reason="Layer4 timeout")
        lab.add(4.0, "health", **up, up=True)
        lab.add(3.5, "access", node="m1", peer=f"{Lab.ip('lb2')}:4711", path="/readyz", status=500)
        groups = lanes_of(lab.timeline())
        view = next(g for g in groups if g.name.startswith("Where neighbours")).lanes[0]
        assert [label for label, _, _ in shown(view)] == ["lb1", "lb2", "lb1"]
        health = lane(groups, "lb2: m1")
        assert [(label, at) for label, at, _ in shown(health)] == [("up", 0.4), ("down", 3.0), ("up", 4.0)]
        assert [moment.state for moment in health.moments] == ["bad"]

    def test_a_run_without_a_description_has_no_lanes(self) -> None:
        assert lanes_of(Timeline()) == []


class TestPackets:
    def test_every_advert_and_arp_is_found_and_what_was_not_captured_is_not(self, tmp_path: Path) -> None:
        timeline, _ = kept(tmp_path)
        numbers = PacketNumbers(tmp_path / "captures", timeline)
        events = timeline.of("vrrp", "arp")
        assert [numbers.of(event) for event in events] == [("front", n) for n in range(1, len(events) + 1)]
        assert numbers.of(timeline.of("probe")[0]) is None
        assert numbers.of(None) is None

    @pytest.mark.parametrize("content", [b"", b"no capture", None])
    def test_a_damaged_capture_is_told_and_costs_only_its_own_numbers(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        timeline, _ = kept(tmp_path)
        path = tmp_path / "captures" / "front.pcapng"
        path.write_bytes(path.read_bytes()[:-7] if content is None else content)
        numbers = PacketNumbers(tmp_path / "captures", timeline)
        assert "front.pcapng cannot be read to its end" in numbers.note
        first = numbers.of(timeline.of("vrrp", "arp")[0])
        assert first == (("front", 1) if content is None else None)


class TestTrace:
    def test_it_is_a_trace_of_the_same_lanes(self, tmp_path: Path) -> None:
        timeline, verdicts = kept(tmp_path)
        data = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))
        records = data["traceEvents"]
        assert records == list(trace_events(timeline, lanes_of(timeline, verdicts)))
        assert {record["ph"] for record in records} == {"M", "X", "i", "C"}
        threads = {record["args"]["name"] for record in records if record["name"] == "thread_name"}
        assert {f"{VIP} owner", "lb1", "cl", "host-crash of lb1"} <= threads
        [fault] = [record for record in records if record.get("cat") == "fault"]
        assert fault["dur"] == pytest.approx(2.97e6)
        assert all(record["ts"] >= 0 for record in records if "ts" in record)
        known = {(r["pid"], r["tid"]) for r in records if r["name"] == "thread_name"}
        assert all((r["pid"], r["tid"]) in known for r in records if r["ph"] == "X")


class TestSummaries:
    def test_a_drill_in_markdown(self, tmp_path: Path) -> None:
        kept(tmp_path, drill(0.5))
        text = (tmp_path / markdown.NAME).read_text(encoding="utf-8")
        assert text.startswith("### ❌ FAIL: VIP moved in 0.83 s")
        assert f"| ❌ | vip-migration: takeover ({VIP} (VRID 51)) | 0.834844 s |" in text
        assert f"Again: `{AGAIN}`" in text

    def test_markdown_of_a_hostile_name_is_only_text(self) -> None:
        assert markdown.plain("a|b`c\n<img>") == "a\\|b\\`c \\<img\\>"

    def test_junit_is_told_figures_versions_and_the_configurations_revision(self) -> None:
        lab = drill()
        for event in lab.events:
            if event.kind == "run":
                event.data["versions"] = {"keepalived": "1:2.3.3-1", "kernel": "6.12"}
        timeline, verdicts = judged(lab)
        told = dict(junit.properties(timeline, verdicts))
        assert told["vipdrill.takeover_s"] == "0.3348"
        assert told["vipdrill.bound"] == "0.2648 to 0.3648 s"
        assert told["vipdrill.requests_lost"] == "68"
        assert told["vipdrill.version.keepalived"] == "1:2.3.3-1"
        assert told["vipdrill.configs"] == configs_digest(timeline)

    def test_the_digest_is_that_of_the_configurations_and_of_nothing_else(self) -> None:
        same, other = configs_digest(drill().timeline()), drill(0.5)
        assert configs_digest(other.timeline()) == same
        for event in other.events:
            if event.kind == "config" and event.node == "lb2":
                event.data["text"] += "# changed\n"
        assert configs_digest(other.timeline()) != same

    def test_what_travels_between_processes_is_not_among_junits_properties(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
        carried = [("vipdrill-cells", "[]"), ("vipdrill.takeover_s", "0.3")]
        report: Any = SimpleNamespace(user_properties=carried)
        steps = plugin.pytest_runtest_logreport(report)
        next(steps)
        assert report.user_properties == [("vipdrill.takeover_s", "0.3")]
        with pytest.raises(StopIteration):
            next(steps)
        assert report.user_properties == carried


class TestSuite:
    @staticmethod
    def suite(root: Path, count: int) -> Matrix:
        """A suite run of so many drills, every third of which was kept."""
        matrix = Matrix()
        outcomes = [judged(drill()), judged(drill(0.5))]
        for number in range(count):
            timeline, verdicts = outcomes[number % 2]
            folder = f"test-{number}"
            if number % 3 == 0:
                (root / folder).mkdir(parents=True)
                (root / folder / "index.html").touch()
            for cell in cells(timeline, verdicts, {}, f"checks/test_x.py::test_{number}", folder):
                matrix.add(cell)
        return matrix

    def test_cells_link_to_the_evidence_that_is_there(self, tmp_path: Path) -> None:
        matrix = self.suite(tmp_path, 6)
        write_suite(tmp_path, matrix)
        text = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert 'href="test-0/index.html"' in text
        assert 'href="test-3/index.html"' in text
        assert "test-1/index.html" not in text
        summary = (tmp_path / markdown.NAME).read_text(encoding="utf-8")
        assert summary.startswith("### ❌")
        assert "test\\_1" in summary

    def test_cells_travel_with_their_evidence(self, tmp_path: Path) -> None:
        found = list(self.suite(tmp_path, 2).cells())
        assert decode(encode(found)) == found

    def test_kept_drills_are_listed_the_gravest_first_and_a_damaged_one_says_so(self, tmp_path: Path) -> None:
        kept(tmp_path / "good")
        kept(tmp_path / "late", drill(0.5))
        kept(tmp_path / "torn")
        (tmp_path / "torn" / "result.json").write_text('{"verdict": ')
        found = kept_drills(tmp_path, [tmp_path])
        assert [(d.folder, d.status) for d in found] == [
            ("late", "fail"),
            ("torn", "unknown"),
            ("good", "pass"),
        ]
        assert "cannot be read" in found[1].summary

    def test_three_hundred_drills_are_a_page_of_a_sane_size(self, tmp_path: Path) -> None:
        write_suite(tmp_path, self.suite(tmp_path, 300))
        assert (tmp_path / "index.html").stat().st_size < 1_000_000


class TestSize:
    def test_a_long_and_busy_drill_stays_below_two_megabytes(self, tmp_path: Path) -> None:
        lab = drill()
        for number in range(60_000):
            at = 10 + number / 400
            lab.add(
                at,
                "probe",
                client="cl",
                stream="new",
                seq=10_000 + number,
                target=f"{VIP}:6443",
                end=ns(at + 0.003 + number % 97 / 1e4),
                result="timeout" if number % 9 == 0 else "ok",
                member=None if number % 9 == 0 else f"m{number % 3}",
            )
        lab.announce("lb1", 10, 160)
        saved(tmp_path, lab)
        write_artifacts(tmp_path, lab.timeline(), [], AGAIN)
        assert (tmp_path / "index.html").stat().st_size < 2_000_000
        assert (tmp_path / "trace.json").stat().st_size < 8_000_000


class TestAnalyze:
    @staticmethod
    def run(*words: str) -> Any:
        """The command, in this process."""
        return CliRunner().invoke(app, ["analyze", *words])

    def test_the_page_is_written_anew_and_says_what_changed(self, tmp_path: Path) -> None:
        kept(tmp_path)
        saved(tmp_path, drill(0.5))
        done = self.run(str(tmp_path))
        assert done.exit_code == 0
        text = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert "verdict was pass, is now fail" in text
        assert "VIP moved in 0.83 s" in text
        assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["verdict"] == "pass"

    def test_two_runs_are_compared_on_one_page(self, tmp_path: Path) -> None:
        kept(tmp_path / "one")
        kept(tmp_path / "two", drill(0.5))
        done = self.run(str(tmp_path / "one"), "--against", str(tmp_path / "two"))
        assert done.exit_code == 0
        text = (tmp_path / "one" / "comparison.html").read_text(encoding="utf-8")
        assert "A ✓ PASS" in text
        assert "B ✗ FAIL" in text
        assert "+0.500 s" in text
        assert f"A: {VIP} owner" in text

    @pytest.mark.parametrize("keep", [0.0, 0.02, 0.3, 0.7, 0.99])
    def test_a_half_written_folder_gives_a_page_of_what_is_there_or_one_sentence(
        self, tmp_path: Path, keep: float
    ) -> None:
        """As after kill -9: a timeline cut anywhere, captures not converted and cut, no result."""
        timeline = drill().timeline()
        text = "".join(event.to_json() + "\n" for event in timeline).encode()
        (tmp_path / "timeline.jsonl").write_bytes(text[: int(len(text) * keep)])
        (tmp_path / "captures").mkdir()
        capture = pcap_of(timeline)
        (tmp_path / "captures" / "front.pcap").write_bytes(capture[: int(len(capture) * keep) + 30])
        done = self.run(str(tmp_path))
        if keep == 0:
            assert isinstance(done.exception, UsageError)
            return
        assert done.exit_code == 0, done.exception
        page = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert "did not come to its end" in page
        assert "Missing or damaged" in done.stdout
        assert (tmp_path / "captures" / "front.pcapng").exists()

    def test_bytes_of_the_timeline_lost_anywhere_never_give_a_traceback(self, tmp_path: Path) -> None:
        text = "".join(event.to_json() + "\n" for event in drill().timeline()).encode()
        for number in range(13):
            at = number * 7919 % len(text)
            (tmp_path / "timeline.jsonl").write_bytes(text[:at] + text[at + 1 + number * 3 :])
            done = self.run(str(tmp_path))
            assert done.exit_code == 0 or isinstance(done.exception, UsageError), done.exception

    def test_a_folder_that_cannot_be_written_to_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept(tmp_path)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("harness.report.perfetto.write_trace", full)
        assert "trace.json could not be written: No space left on device" in " ".join(
            self.run(str(tmp_path)).stdout.split()
        )

    def test_a_view_that_cannot_be_made_costs_a_note_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise KeyError("nobody")

        monkeypatch.setattr("harness.report.views.write_page", broken)
        lab = drill()
        saved(tmp_path, lab)
        notes = write_artifacts(tmp_path, *judged(lab), AGAIN)
        [note] = notes
        assert note.startswith("index.html could not be made, which is a defect of vipdrill")
        assert (tmp_path / "result.json").exists()
        assert notes[0] in (tmp_path / "README.txt").read_text(encoding="utf-8")


class TestReportOption:
    def test_a_folder_that_holds_something_is_refused_before_anything_is_built(self, tmp_path: Path) -> None:
        (tmp_path / "holiday.jpg").touch()
        words = ["run", "vip-l7", "--fault", "host-crash", "--report", str(tmp_path)]
        error = CliRunner().invoke(app, words).exception
        assert isinstance(error, UsageError)
        assert "is not empty; name a new folder" in str(error)
