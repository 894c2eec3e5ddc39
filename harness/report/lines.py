"""Lines of styled text, laid out here and coloured by rich at the very end.

A style says what colour adds; the text alone must tell everything.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from harness.verdict import Status

if TYPE_CHECKING:
    from rich.console import Console

Span = tuple[str, str]
Line = list[Span]

STYLE = {
    Status.PASS: "green",
    Status.FAIL: "bold red",
    Status.UNKNOWN: "yellow",
    Status.LIMITATION: "bold yellow",
    Status.NOT_APPLICABLE: "dim",
}
TONE_STYLE = {"plain": "", "good": "green", "bad": "red", "fault": "bold magenta"}


@dataclass(frozen=True)
class Glyphs:
    """Signs for states, so that colour is never the only carrier; ASCII where nothing else can be shown."""

    status: dict[Status, str]
    tone: dict[str, str]
    bars: str
    dot: str

    @classmethod
    def of(cls, encoding: str | None) -> Glyphs:
        """Those that an encoding can show."""
        return _UNICODE if "utf" in (encoding or "").lower() else _ASCII


def _signs(good: str, bad: str, limited: str) -> dict[Status, str]:
    return {
        Status.PASS: good,
        Status.FAIL: bad,
        Status.UNKNOWN: "?",
        Status.LIMITATION: limited,
        Status.NOT_APPLICABLE: "-",
    }


_UNICODE = Glyphs(
    _signs("✓", "✗", "▽"),
    {"plain": "·", "good": "✓", "bad": "✗", "fault": "!"},
    "▁▂▃▄▅▆▇█",
    "·",
)
_ASCII = Glyphs(
    _signs("+", "x", "v"),
    {"plain": " ", "good": "+", "bad": "x", "fault": "!"},
    "_.:-=+*#",
    "-",
)


def wrapped(text: str, width: int, indent: int, style: str = "") -> list[Line]:
    """A paragraph within `width` columns, every line of it indented."""
    room = max(width - indent, 20)
    parts = textwrap.wrap(text, room, break_on_hyphens=False, break_long_words=False)
    return [[(" " * indent, ""), (part, style)] for part in parts]


def plain(lines: Iterable[Line]) -> str:
    """The lines without any colour."""
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def console(file: TextIO | None = None) -> Console:
    """rich's console: colours as the terminal, NO_COLOR and TERM allow."""
    from rich.console import Console

    return Console(file=file, highlight=False, markup=False, emoji=False)


def show(lines: Iterable[Line], on: Console) -> None:
    """Print lines as they are: they were laid out for the width already, and commands must not be broken."""
    from rich.text import Text

    for line in lines:
        text = Text.assemble(*[(spelled(part, on.encoding), style) for part, style in line])
        text.rstrip()
        on.print(text, soft_wrap=True)


def spelled(text: str, encoding: str | None) -> str:
    """The text with what an encoding lacks written otherwise: an old locale is no reason for a traceback."""
    name = encoding or "utf-8"
    if "utf" in name.lower():
        return text
    return text.translate(_SPELLING).encode(name, "replace").decode(name)


_SPELLING = str.maketrans({"≤": "<=", "≥": ">=", "…": "...", "·": "-"})
