"""The live view of a lab: a screen of its own on a terminal, lines of text anywhere else; until Ctrl-C."""

from __future__ import annotations

import select
import sys
import time
from typing import TextIO

from harness.lab.board import Board
from harness.lab.client import Client, checked
from harness.report.happenings import Narrator
from harness.report.lines import Glyphs, Line, spelled
from harness.report.live import LiveView, can_display
from harness.report.screen import Screen
from harness.timeline import Event

_CATCH_UP_S = 10.0
_TICK_S = 1.0
_REFRESH_NS = 100_000_000
_NS = 1_000_000_000


def watch(client: Client, *, file: TextIO | None = None) -> None:
    """Show what happens until the lab ends; KeyboardInterrupt leaves it, with the terminal as it was."""
    out = sys.stdout if file is None else file
    client.send({"do": "subscribe", "since_s": _CATCH_UP_S})
    if can_display(out):
        _display(client, out)
    else:
        _lines(client, out)


def _lines(client: Client, out: TextIO) -> None:
    with LiveView(file=out, live=False) as view:
        while (message := client.read()) is not None:
            if "event" in checked(message):
                view.take(_event(message["event"]))


def _event(record: dict[str, object]) -> Event:
    fields = dict(record)
    return Event(int(str(fields.pop("t"))), str(fields.pop("kind")), fields)


def _display(client: Client, out: TextIO) -> None:
    from rich.live import Live
    from rich.text import Text

    from harness.report.lines import console

    view = View(client.info.name, Glyphs.of(out.encoding))
    with Live(console=console(out), screen=True, auto_refresh=False, redirect_stdout=False) as live:
        drawn_ns = 0
        while _take(client, view, drawn_ns):
            size = live.console.size
            text = Text(no_wrap=True, overflow="crop", end="")
            for line in view.lines(time.monotonic_ns(), size.width, size.height):
                for part, style in line:
                    text.append(spelled(part, out.encoding), style or None)
                text.append("\n")
            live.update(text, refresh=True)
            drawn_ns = time.monotonic_ns()


def _take(client: Client, view: View, drawn_ns: int) -> bool:
    """Take in what comes, until it is time to draw again; False once the lab has ended."""
    due_ns = drawn_ns + _REFRESH_NS
    poll = select.poll()
    poll.register(client.fileno(), select.POLLIN)
    took = False
    while True:
        # With something new there is a picture to draw when its time comes; with nothing, ages go on.
        wait_s = (due_ns - time.monotonic_ns()) / _NS if took else _TICK_S
        if not client.pending and not poll.poll(max(0.0, wait_s) * 1e3):
            return True
        message = client.read()
        if message is None:
            return False
        if "event" in checked(message):
            view.take(_event(message["event"]))
            took = True
        if took and time.monotonic_ns() >= due_ns:
            return True


class View:
    """What the display shows, from events; draws nothing itself."""

    def __init__(self, lab: str, glyphs: Glyphs) -> None:
        self._lab = lab
        self._narrator = Narrator()
        self._screen = Screen(self._narrator, glyphs)
        self._board = Board()

    def take(self, event: Event) -> None:
        """Take an event into account."""
        happening = self._narrator.take(event)
        self._screen.take(event)
        self._board.take(event)
        if happening is not None:
            self._screen.tell(happening)

    def lines(self, now_ns: int, width: int, height: int) -> list[Line]:
        """The display at a moment."""
        board = self._board.lines(now_ns)
        head: Line = [(f"lab {self._lab}", "bold"), ("   Ctrl-C leaves; the lab stays up", "dim")]
        shown = self._screen.lines(now_ns, width, max(height - len(board) - 3, 4))
        return [head, [], *board, [], *shown][: max(height - 1, 1)]
