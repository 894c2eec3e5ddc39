"""What happens, while it happens: a compact display on a terminal, plain lines anywhere else.

A listener of the recorder without a thread of its own: it draws when events come, seldom enough that
watching does not disturb what is measured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from harness.report.happenings import KEY, NOTABLE, Happening, Narrator
from harness.report.lines import Glyphs, Line, plain, spelled
from harness.report.screen import Screen
from harness.timeline import Event

if TYPE_CHECKING:
    from rich.live import Live

_REFRESH_NS = 100_000_000
# A refresh may cost one part in so many of the time until the next: 3 % of a core at most.
_PARTS = 33
_LINES_PER_S = 5.0
_BURST_LINES = 10.0


class LiveView:
    """Shows a drill as it goes. Use it in a `with` block, with `take` among the recorder's listeners.

    `live` forces the display on or off; by default it is used where `file` (standard output) is a
    terminal that can move its cursor.  `clock` gives the present on the timeline's clock (ns).
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        file: TextIO | None = None,
        live: bool | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._file = sys.stdout if file is None else file
        self._quiet = quiet
        self._display = not quiet and (can_display(self._file) if live is None else live)
        self._clock = clock
        self._narrator = Narrator()
        self._screen = Screen(self._narrator, Glyphs.of(self._file.encoding))
        self._lines = PlainLines(self._file, clock)
        self._live: Live | None = None
        self._next_refresh_ns = 0
        self._ended = False

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to show; before, events are only taken in."""
        if not self._display:
            return
        from rich.live import Live

        from harness.report.lines import console

        self._live = Live(
            console=console(self._file),
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def stop(self, *, keep: bool = False) -> None:
        """End; the display is wiped, as the final report tells it all again, or kept where none follows."""
        if self._ended:
            return
        self._ended = True
        for happening in self._narrator.finish(self._clock()):
            self._tell(happening)
        if self._live is not None:
            self._draw(self._clock())
            self._live.transient = not keep
            self._live.stop()
            self._live = None
        elif not self._quiet:
            self._lines.flush()

    def __enter__(self) -> LiveView:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep=kind is not None)

    # -- events --------------------------------------------------------------------------------

    def take(self, event: Event) -> None:
        """Take an event in, and show it if it is worth it and time to draw."""
        if self._quiet or self._ended:
            return
        happening = self._narrator.take(event)
        if self._display:
            self._screen.take(event)
        elif event.kind == "fault" and event.state == "inject":
            self._lines.fault_at(event.t)
        if happening is not None:
            self._tell(happening)
        if self._live is not None and (now := self._clock()) >= self._next_refresh_ns:
            self._draw(now)

    def _tell(self, happening: Happening) -> None:
        if self._display:
            self._screen.tell(happening)
        elif not self._quiet:
            self._lines.tell(happening)

    def _draw(self, now_ns: int) -> None:
        if self._live is None:
            return
        from rich.text import Text

        began = time.thread_time_ns()
        size = self._live.console.size
        lines = self._screen.lines(now_ns, size.width, size.height)
        text = Text(no_wrap=True, overflow="crop", end="")
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            for part, style in line:
                text.append(spelled(part, self._file.encoding), style or None)
        self._live.update(text, refresh=True)
        cost_ns = time.thread_time_ns() - began
        self._next_refresh_ns = now_ns + max(_REFRESH_NS, cost_ns * _PARTS)


def can_display(file: TextIO) -> bool:
    """Whether it is a terminal that can move its cursor."""
    return file.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


class PlainLines:
    """The important happenings as lines of text, a handful a second at most."""

    def __init__(self, file: TextIO, clock: Callable[[], int]) -> None:
        self._file, self._clock = file, clock
        self._glyphs = Glyphs.of(file.encoding)
        self._origin_ns: int | None = None
        self._faulted = False
        self._allowance = _BURST_LINES
        self._topped_up_ns = clock()
        self._left_out = 0

    def fault_at(self, t_ns: int) -> None:
        """Count times from the first fault, from now on."""
        if not self._faulted:
            self._faulted, self._origin_ns = True, t_ns

    def tell(self, happening: Happening) -> None:
        """Print a happening, unless it is minor, or too many were printed of late."""
        if self._origin_ns is None:
            self._origin_ns = happening.t
        if happening.weight < NOTABLE:
            return
        now_ns = self._clock()
        gained = (now_ns - self._topped_up_ns) / 1e9 * _LINES_PER_S
        self._allowance, self._topped_up_ns = min(_BURST_LINES, self._allowance + gained), now_ns
        # The last of the allowance is for what decides the story.
        if self._allowance < (1 if happening.weight >= KEY else 4):
            self._left_out += 1
            return
        self._allowance -= 1
        self.flush()
        self._print(happening_line(happening, self._origin_ns, self._glyphs, faulted=self._faulted))

    def flush(self) -> None:
        """Say how many were left out since the last line."""
        if self._left_out:
            self._print([(f"{'':13}… {self._left_out} more, see timeline.jsonl", "")])
            self._left_out = 0

    def _print(self, line: Line) -> None:
        self._file.write(spelled(plain([line]) + "\n", self._file.encoding))
        self._file.flush()


def happening_line(happening: Happening, origin_ns: int, glyphs: Glyphs, *, faulted: bool) -> Line:
    """A happening in one line, timed from the fault (with a sign) or, before it, from the start."""
    seconds = (happening.t - origin_ns) / 1e9
    when = f"{seconds:+9.3f} s" if faulted else f"{seconds:9.3f} s"
    node = f"{happening.node}: " if happening.node else ""
    return [(f"{when} {glyphs.tone[happening.tone]} ", ""), (f"{node}{happening.text}", "")]
