"""The live view: what it shows, how seldom it draws, and plain lines where there is no terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from itertools import pairwise

import pytest

from checks.selftest.report_runs import as_it_came, drill
from checks.selftest.synthetic import Lab, ns
from harness.report.announcers import Announcers
from harness.report.happenings import KEY, MINOR, NOTABLE, Happening, Narrator
from harness.report.lines import Glyphs, plain
from harness.report.live import LiveView, PlainLines
from harness.report.screen import Screen
from harness.timeline import Event


class Terminal(io.StringIO):
    """Standard output as a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        """It is one."""
        return True


class Player:
    """Plays events to a view, with a clock that stands where the run does."""

    def __init__(self, file: io.StringIO, **options: object) -> None:
        self.now_ns = ns(0)
        self.file = file
        self.view = LiveView(file=file, clock=lambda: self.now_ns, **options)  # type: ignore[arg-type]

    def play(self, events: Iterable[Event]) -> str:
        """Show it all; gives what was written."""
        with self.view:
            for event in events:
                self.now_ns = event.end if event.kind == "probe" else event.t
                self.view.take(event)
        return self.file.getvalue()


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


def screen_at(seconds: float, width: int = 80, height: int = 24, lab: Lab | None = None) -> str:
    """The display as it stands so long after the start."""
    narrator = Narrator()
    screen = Screen(narrator, Glyphs.of("utf-8"))
    for event in as_it_came((lab or drill()).timeline()):
        if (event.end if event.kind == "probe" else event.t) > ns(seconds):
            break
        happening = narrator.take(event)
        screen.take(event)
        if happening is not None:
            screen.tell(happening)
    return plain(screen.lines(ns(seconds), width, height))


class TestScreen:
    def test_it_shows_owner_advert_and_clients(self) -> None:
        text = screen_at(3.0)
        assert re.search(r"VIP 10\.0\.0\.100  lb2, priority 90, advert 0\.0\d s ago, every 0\.10 s", text)
        assert re.search(r"^cl +20\d answered +34 lost", text, re.MULTILINE)
        assert "host-crash of lb1 acts since 1.0 s" in text
        assert "+0.340 ✓ cl answered again by m1: 34 lost in 0.340 s" in text

    def test_between_two_owners_there_is_nobody(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.0)
        assert "nobody  last lb1, advert 1.10 s ago" in screen_at(3.0, lab=lab)

    def test_two_owners_at_once_are_shouted(self) -> None:
        lab = Lab({"lb1": 100, "lb2": 100})
        lab.takes("lb1", 0.5, 3.0)
        lab.takes("lb2", 2.0, 3.0)
        assert "lb1 AND lb2" in screen_at(2.9, lab=lab)

    def test_the_last_seconds_are_drawn_as_bars(self) -> None:
        row = next(line for line in screen_at(2.9).splitlines() if line.startswith("clx"))
        assert "██████▁▄██" in row

    @pytest.mark.parametrize("width", [30, 50, 80])
    @pytest.mark.parametrize("height", [8, 12, 24])
    def test_it_fits_the_terminal(self, width: int, height: int) -> None:
        lines = screen_at(6.0, width, height).splitlines()
        assert max(map(len, lines)) <= width
        assert len(lines) <= max(height - 1, 6)

    def test_before_anything_was_seen(self) -> None:
        screen = Screen(Narrator(), Glyphs.of("utf-8"))
        assert "nobody has announced it yet" in plain(screen.lines(ns(0), 80, 24))


class TestDisplay:
    def test_it_draws_at_most_ten_times_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        player = Player(Terminal())
        drawn: list[int] = []
        monkeypatch.setattr("harness.report.live.time.thread_time_ns", lambda: 0)
        lines = player.view._screen.lines
        monkeypatch.setattr(
            player.view._screen,
            "lines",
            lambda now_ns, width, height: drawn.append(now_ns) or lines(now_ns, width, height),
        )
        player.play(as_it_came(drill().timeline()))
        # The last drawing is the one at the end.
        gaps = [later - sooner for sooner, later in pairwise(drawn[:-1])]
        assert len(drawn) > 50
        assert min(gaps) >= 100_000_000

    def test_a_slow_terminal_is_drawn_on_less_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spent = iter(range(0, 1 << 60, 20_000_000))
        monkeypatch.setattr("harness.report.live.time.thread_time_ns", lambda: next(spent))
        player = Player(Terminal())
        player.play(as_it_came(drill().timeline()))
        refreshes = next(spent) // 20_000_000 // 2
        assert refreshes <= 7.5 / (0.02 * 33) + 2

    def test_it_has_no_thread_and_wipes_itself_off(self) -> None:
        text = Player(Terminal()).play(as_it_came(drill().timeline()))
        assert "\x1b[?25l" in text
        assert text.rstrip("\r\n").endswith("\x1b[2K")
        assert "\x1b[?25h" in text

    def test_after_an_error_the_last_picture_stays(self) -> None:
        player = Player(Terminal())
        player.view.start()
        for event in as_it_came(drill().timeline()):
            player.view.take(event)
        player.view.__exit__(RuntimeError, RuntimeError(), None)
        assert not player.file.getvalue().rstrip("\r\n").endswith("\x1b[2K")

    def test_no_color_leaves_no_colour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        assert "\x1b[3" not in Player(Terminal()).play(as_it_came(drill().timeline()))

    def test_a_dumb_terminal_gets_plain_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "dumb")
        assert "\x1b" not in Player(Terminal()).play(as_it_came(drill().timeline()))


class TestPlain:
    def test_the_story_comes_line_by_line(self) -> None:
        text = Player(io.StringIO()).play(as_it_came(drill().timeline()))
        assert "\x1b" not in text
        for told in (
            "    1.400 s + steady: clients are served, the VIP on lb1",
            "   +0.000 s ! FAULT host-crash of lb1",
            "   +0.335 s   lb2: announces VRID 51, priority 90, 0.365 s after lb1's last (100)",
            "   +0.336 s   lb2: tells the neighbours: 10.0.0.100 is at 02:00:00:00:00:0c",
            "   +0.340 s + cl: answered again by m1: 34 lost in 0.340 s",
            "   +5.370 s + healed: clients are served, owners are stable",
        ):
            assert told in text

    def test_losses_known_late_make_one_outage_not_many(self) -> None:
        text = Player(io.StringIO()).play(as_it_came(drill().timeline()))
        assert text.count("cl: first request lost") == 1
        assert text.count("cl: answered again") == 1

    def test_a_third_of_all_requests_lost_is_one_outage(self) -> None:
        lab = Lab()
        for step in range(300):
            lab.probe(step / 100, "refused" if step % 3 == 0 else "ok")
        text = Player(io.StringIO()).play(as_it_came(lab.timeline()))
        assert text.count("lost") <= 2

    def test_quiet_says_nothing(self) -> None:
        assert Player(io.StringIO(), quiet=True).play(as_it_came(drill().timeline())) == ""
        assert Player(Terminal(), quiet=True).play(as_it_came(drill().timeline())) == ""

    def test_a_flood_is_cut_to_a_handful_a_second_but_not_what_matters(self) -> None:
        now = [ns(0)]
        file = io.StringIO()
        lines = PlainLines(file, lambda: now[0])
        for number in range(300):
            now[0] = ns(number / 100)
            lines.tell(Happening(now[0], "lb1", f"remark {number}", "plain", NOTABLE))
        lines.tell(Happening(now[0], "", "FAULT", "fault", KEY))
        lines.flush()
        said = file.getvalue().splitlines()
        assert len([line for line in said if "remark" in line]) <= 10 + 3 * 5
        assert any("more, see timeline.jsonl" in line for line in said)
        assert "FAULT" in said[-1]

    def test_minor_things_are_left_out(self) -> None:
        file = io.StringIO()
        PlainLines(file, lambda: ns(0)).tell(Happening(ns(0), "lb1", "breathes", "plain", MINOR))
        assert file.getvalue() == ""

    def test_an_encoding_that_cannot_spell_a_name_is_no_error(self) -> None:
        raw = io.BytesIO()
        file = io.TextIOWrapper(raw, encoding="ascii")
        lines = PlainLines(file, lambda: ns(0))
        lines.tell(Happening(ns(0), "bär", "wacht", "plain", KEY))
        assert b"b?r: wacht" in raw.getvalue()


class TestAnnouncers:
    def test_a_node_begins_once_however_often_it_announces(self) -> None:
        lab = Lab()
        lab.announce("lb1", 0, 2)
        announcers = Announcers()
        changes = [announcers.take(event) for event in lab.timeline().of("vrrp")]
        assert [change.what for change in changes if change] == ["begins"]

    def test_a_farewell_ends_it_at_once(self) -> None:
        lab = Lab()
        lab.announce("lb1", 0, 1)
        lab.advert("lb1", 1.0, 0)
        announcers = Announcers()
        changes = [announcers.take(event) for event in lab.timeline().of("vrrp")]
        assert [change.what for change in changes if change] == ["begins", "leaves"]
        assert announcers.present(announcers.routers()[0], ns(1.01)) == []

    def test_the_outranked_one_is_gone_when_it_stays_quiet(self) -> None:
        lab = Lab()
        lab.announce("lb2", 0, 1.01)
        lab.announce("lb1", 1.05, 1.3)
        announcers = Announcers()
        for event in lab.timeline().of("vrrp"):
            announcers.take(event)
        assert announcers.present(announcers.routers()[0], ns(1.3)) == ["lb1"]
