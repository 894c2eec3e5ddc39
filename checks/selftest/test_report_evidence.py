"""Evidence: the lines in a test's failure, and an artifact folder that explains itself and holds no key."""

from __future__ import annotations

import json
from pathlib import Path

from checks.selftest.report_runs import AGAIN, drill, judged, saved
from checks.selftest.test_report_pcapng import pcap_of
from harness.report.evidence import evidence_lines, write_artifacts
from harness.report.private_keys import Secrets, without_keys
from harness.timeline import Timeline
from harness.verdict import Status, Verdict

KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIFsecretsecret\n-----END EC PRIVATE KEY-----"


def failing(verdicts: list[Verdict], aspect: str) -> Verdict:
    """The failed verdict on this aspect."""
    return next(v for v in verdicts if v.status is Status.FAIL and v.aspect == aspect)


class TestLines:
    def test_what_decided_is_marked_and_timed_from_the_fault_in_ms(self) -> None:
        timeline, verdicts = judged(drill(0.5))
        lines = evidence_lines(timeline, failing(verdicts, "takeover"))
        assert ">     +834.8 ms  lb2: VRRP advert, VRID 51, priority 90" in lines
        assert ">      -30.0 ms  lb1: VRRP advert, VRID 51, priority 100" in lines
        assert any(line.startswith(" ") and "answered again" in line for line in lines)

    def test_they_stand_in_order_of_time_and_keep_to_the_limit(self) -> None:
        timeline, verdicts = judged(drill(0.5))
        for limit in (0, 1, 3, 12, 40):
            lines = evidence_lines(timeline, failing(verdicts, "outage"), limit)
            assert len(lines) <= limit
            times = [float(line[1:].split()[0]) for line in lines if " ms  " in line]
            assert times == sorted(times)

    def test_a_verdict_without_events_is_told_by_the_story(self) -> None:
        lines = evidence_lines(drill().timeline(), Verdict("x", Status.FAIL, "no", evidence=("it is so",)))
        assert lines[-1] == "it is so"
        assert any("FAULT host-crash of lb1" in line for line in lines)

    def test_an_empty_timeline_is_no_error(self) -> None:
        assert evidence_lines(Timeline(), Verdict("x", Status.FAIL, "no")) == []


class TestArtifacts:
    def test_the_folder_explains_itself(self, tmp_path: Path) -> None:
        lab = drill(0.5)
        folder = saved(tmp_path / "run", lab)
        (folder / "captures").mkdir()
        (folder / "captures" / "front.pcap").write_bytes(pcap_of(lab.timeline())[:-3])
        timeline, verdicts = judged(lab)
        notes = write_artifacts(folder, timeline, verdicts, AGAIN)
        assert notes == ["front.pcap: the last packet was cut off and is left out"]
        text = (folder / "README.txt").read_text(encoding="utf-8")
        assert text.startswith("FAIL: VIP moved in 0.83 s")
        assert f"Again    {AGAIN}" in text
        assert "front.pcapng" in text
        assert notes[0] in text
        assert len(text.splitlines()) <= 27
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert (result["verdict"], result["notes"], result["again"]) == ("fail", notes, AGAIN)
        assert sorted(p.name for p in folder.iterdir()) == [
            "README.txt",
            "captures",
            "index.html",
            "result.json",
            "summary.md",
            "timeline.jsonl",
            "trace.json",
        ]

    def test_it_names_only_what_is_there(self, tmp_path: Path) -> None:
        timeline, verdicts = judged(drill())
        write_artifacts(tmp_path, timeline, verdicts, AGAIN)
        assert "captures" not in (tmp_path / "README.txt").read_text(encoding="utf-8")

    def test_twice_is_like_once(self, tmp_path: Path) -> None:
        folder = saved(tmp_path, drill())
        timeline, verdicts = judged(drill())
        write_artifacts(folder, timeline, verdicts, AGAIN, also=tmp_path / "again.json")
        assert (folder / "result.json").read_bytes() == (tmp_path / "again.json").read_bytes()
        before = (folder / "result.json").read_text(encoding="utf-8")
        write_artifacts(folder, timeline, verdicts, AGAIN)
        assert (folder / "result.json").read_text(encoding="utf-8") == before

    def test_an_interrupted_run_without_description_is_kept_too(self, tmp_path: Path) -> None:
        write_artifacts(tmp_path, Timeline(), [], AGAIN)
        assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["verdict"] == "unknown"


class TestPrivateKeys:
    def test_they_are_taken_out_of_configurations_and_timeline(self, tmp_path: Path) -> None:
        lab = drill()
        lab.add(0, "config", node="lb1", service="haproxy", path="/etc/haproxy/lb.pem", text=f"cert\n{KEY}\n")
        folder = saved(tmp_path, lab)
        pem = folder / "configs" / "lb1" / "etc" / "haproxy" / "lb.pem"
        pem.parent.mkdir(parents=True)
        pem.write_text(f"cert\n{KEY}\n")
        timeline, verdicts = judged(lab)
        notes = write_artifacts(folder, timeline, verdicts, AGAIN)
        where = "configs/lb1/etc/haproxy/lb.pem, timeline.jsonl"
        assert f"private keys and passwords were taken out of {where}" in notes
        everything = "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file())
        assert "secretsecret" not in everything
        assert pem.read_text().startswith("cert\n-----BEGIN EC PRIVATE KEY-----\n(removed by vipdrill)")

    def test_what_is_not_a_key_stays_as_it_was(self) -> None:
        text = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\nauth_pass 1234\n"
        assert without_keys(text) == text

    def test_no_file_holds_a_password_and_equal_ones_stay_equal(self, tmp_path: Path) -> None:
        lab = drill()
        node = iter(("sesame1", "sesame1", "different"))
        for event in [event for event in lab.events if event.kind == "config"]:
            secret = f"authentication {{\n auth_type PASS\n auth_pass {next(node)}\n}}\n"
            event.data["text"] = event.data["text"].replace("advert_int", f"{secret} advert_int")
        for event in lab.events:
            if event.kind == "run":
                event.data["options"] = {"instance": "authentication { auth_type PASS auth_pass sesame1 }"}
        folder = saved(tmp_path, lab)
        config = folder / "configs" / "lb1" / "haproxy.cfg"
        config.parent.mkdir(parents=True)
        config.write_text("userlist u\n user a insecure-password 0pen\n stats auth admin:0pen\n")
        timeline, verdicts = judged(lab)
        write_artifacts(folder, timeline, verdicts, AGAIN)
        everything = "".join(p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file())
        assert not any(secret in everything for secret in ("sesame1", "0pen"))
        texts = [str(event.text) for event in Timeline.load(folder / "timeline.jsonl").of("config")]
        assert all("auth_pass hidden1" in text for text in texts)
        assert config.read_text() == (
            "userlist u\n user a insecure-password hidden2\n stats auth admin:hidden2\n"
        )
        assert Secrets().hidden("auth_pass hidden1\n}") == "auth_pass hidden1\n}"

    def test_a_key_without_its_end_is_taken_out_as_well(self) -> None:
        assert "secret" not in without_keys(KEY[:50])
