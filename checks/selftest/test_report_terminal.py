"""The final report: readable in 80 columns, without colour, with the verdict where a tired reader looks."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from checks.selftest.report_runs import AGAIN, drill, judged
from checks.selftest.synthetic import Lab, failover
from harness.report.final import report_lines
from harness.report.lines import Glyphs, plain
from harness.report.terminal import print_report
from harness.timeline import Timeline

FOLDER = Path("/srv/vipdrill/20260102-030405-vip-l7-host-crash")
UNICODE, ASCII = Glyphs.of("utf-8"), Glyphs.of("ascii")


def report(lab: Lab, width: int = 80, glyphs: Glyphs = UNICODE) -> str:
    """The report's text."""
    timeline, verdicts = judged(lab)
    return plain(report_lines(timeline, verdicts, FOLDER, AGAIN, width=width, glyphs=glyphs))


def squeezed(text: str) -> str:
    """The text with all white space alike."""
    return " ".join(text.split())


class TestContent:
    def test_the_story_runs_from_the_fault_and_then_from_healing(self) -> None:
        fault, _, healing = report(drill()).partition("\nHealing")
        assert re.search(r"^ +\+0\.000 ! FAULT host-crash of lb1$", fault, re.MULTILINE)
        assert re.search(r"^ +\+0\.335 · lb2  announces VRID 51", fault, re.MULTILINE)
        assert re.search(r"^ +\+0\.340 ✓ cl   answered again by m1: 34 lost in 0\.340 s", fault, re.MULTILINE)
        assert re.search(r"^ +\+0\.471 · lb1  announces VRID 51", healing, re.MULTILINE)

    def test_measured_stands_beside_the_bound_and_its_arithmetic(self) -> None:
        text = report(drill())
        assert re.search(r"✓ pass +vip-migration: takeover +0\.3348 s +0\.2648 to 0\.3648 s", text)
        assert "3 x 0.1 s + (256 - 90)/256 x 0.1 s = 0.3648 s" in squeezed(text)

    def test_the_arithmetic_is_told_once(self) -> None:
        assert squeezed(report(drill())).count("3 x 0.1 s + (256 - 90)") == 1

    def test_a_failure_says_what_was_seen(self) -> None:
        text = squeezed(report(drill(garp=False)))
        assert "✗ fail vip-migration: gratuitous ARP 0 to 0.1 s" in text
        assert "lb2 never told the neighbours" in text

    def test_clients_owners_verdict_folder_and_command(self) -> None:
        text = report(drill())
        assert re.search(r"cl +34 of 610 \(5\.6 %\) +0\.340 s +0\.000 s", text)
        assert "by cause: 34 timeout" in text
        assert re.search(r"lb2 +\+0\.335 to +\+3\.441  gave way", text)
        last = text.splitlines()[-4:]
        assert last[0].startswith("✓ PASS  VIP moved in 0.33 s, promised ≤ 0.36 s")
        assert last[2:] == [f"Evidence  {FOLDER}", f"Again     {AGAIN}"]

    def test_what_happens_in_the_tear_down_is_no_part_of_the_story(self) -> None:
        assert "keepalived has ended" not in report(drill())

    def test_a_client_that_is_never_answered_again(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03)
        lab.probes(0.6, 4.0, (2.03, 4.0))
        assert "still not answered at the end: 197 lost" in report(lab)

    def test_two_owners_in_turn_do_not_flood_the_story(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 6.0)
        lab.fault("link-down", "lb1", 2.03)
        lab.takes("lb2", 2.4, 6.0)
        assert report(lab).count("announces VRID") == 1

    def test_more_than_a_screen_of_happenings_is_cut_with_a_count(self) -> None:
        lab = drill()
        for number in range(30):
            lab.add(2.5 + number / 100, "note", text=f"a remark {number}")
        text = report(lab)
        assert "more in timeline.jsonl" in text
        assert "answered again" in text


class TestForm:
    @pytest.mark.parametrize("width", [50, 80, 100])
    @pytest.mark.parametrize("late_s", [0.0, 0.5])
    def test_it_keeps_within_the_width(self, width: int, late_s: float) -> None:
        text = report(drill(late_s), width)
        free = ("Evidence", "Again")
        assert max(len(line) for line in text.splitlines() if not line.startswith(free)) <= width

    def test_it_is_no_wall_of_text(self) -> None:
        assert len(report(drill()).splitlines()) < 80
        assert len(report(failover()).splitlines()) < 48

    def test_without_unicode_the_signs_are_ascii(self) -> None:
        text = report(drill(0.5), glyphs=ASCII)
        assert "x FAIL" in text
        assert not set(text) & set("✓✗·▁█")

    def test_an_old_locale_is_no_error(self) -> None:
        raw = io.BytesIO()
        timeline, verdicts = judged(drill(0.5))
        out = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
        print_report(timeline, verdicts, FOLDER, AGAIN, file=out)
        assert b"x FAIL  VIP moved in 0.83 s, promised <= 0.36 s" in raw.getvalue()

    def test_no_colour_when_told_so_and_none_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("FORCE_COLOR", "1")
        out = io.StringIO()
        timeline, verdicts = judged(drill(0.5))
        print_report(timeline, verdicts, FOLDER, AGAIN, file=out)
        assert "\x1b[3" not in out.getvalue()
        assert "FAIL" in out.getvalue()

    def test_the_command_is_never_broken_over_lines(self) -> None:
        out = io.StringIO()
        timeline, verdicts = judged(drill())
        again = "vipdrill run vip-l7 --fault host-crash:lb1 " + "--advert-int 0.1 " * 8
        print_report(timeline, verdicts, FOLDER, again, file=out)
        assert again.strip() in out.getvalue()

    def test_a_run_that_was_cut_at_its_very_start(self) -> None:
        text = plain(report_lines(Timeline(), [], FOLDER, "", width=80, glyphs=UNICODE))
        assert "unfinished run" in text
        assert "? UNKNOWN  Nothing was judged" in text
