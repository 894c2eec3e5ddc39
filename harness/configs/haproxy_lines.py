"""haproxy.cfg as sections of words, before any keyword is given a meaning.

Quoting, escapes and comments as in section 2.2 of HAProxy's configuration manual.  Preprocessor
lines (`.if` and the like) are refused by name: what they choose depends on the running HAProxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from harness.configs.source import ConfigError, Where

_SECTIONS = (
    *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "mailers", "userlist"),
    *("program", "ring", "cache", "http-errors", "fcgi-app", "log-forward", "log-profile", "crt-store"),
    *("traces", "acme", "namespace_list"),
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?:\[\*\])?(?:-([^}]*))?\}|(\w+))")

_UNITS_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


@dataclass(frozen=True)
class Directive:
    """One line of a section."""

    words: tuple[str, ...]
    where: Where

    @property
    def keyword(self) -> str:
        """The first word."""
        return self.words[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after the first."""
        return self.words[1:]


@dataclass(frozen=True)
class Section:
    """A section: its kind (`defaults`, `backend`, …), the words after it, and its lines."""

    kind: str
    arguments: tuple[str, ...]
    where: Where
    directives: tuple[Directive, ...]

    @property
    def name(self) -> str:
        """The section's name, or nothing for `global` and unnamed `defaults`."""
        return self.arguments[0] if self.arguments and self.arguments[0] != "from" else ""

    def all(self, *words: str) -> list[Directive]:
        """The lines that begin with these words."""
        return [d for d in self.directives if d.words[: len(words)] == words]

    def last(self, *words: str) -> Directive | None:
        """The last line that begins with these words, which is the one that counts."""
        found = self.all(*words)
        return found[-1] if found else None


def parse(text: str, path: str, environment: Mapping[str, str] | None = None) -> tuple[Section, ...]:
    """Read a haproxy.cfg into sections; raises ConfigError with file and line.

    `environment` is what `"$NAME"` in double quotes is replaced from; an unknown name gives nothing.
    """
    sections: list[tuple[Directive, list[Directive]]] = []
    for number, line in enumerate(text.split("\n"), 1):
        where = Where(path, number)
        words = split_words(line.rstrip("\r"), where, environment or {})
        if not words:
            continue
        if words[0].startswith("."):
            raise ConfigError(where, f"{words[0]} lines are not read yet: write out the branch that counts")
        directive = Directive(words, where)
        if words[0] in _SECTIONS:
            sections.append((directive, []))
        elif not sections:
            raise ConfigError(where, f"{words[0]!r} stands before any section")
        else:
            sections[-1][1].append(directive)
    return tuple(Section(head.keyword, head.arguments, head.where, tuple(lines)) for head, lines in sections)


def split_words(line: str, where: Where, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Split a line into words; raises ConfigError for a quote that does not end."""
    words: list[str] = []
    word: list[str] | None = None
    at = 0
    while at < len(line):
        char = line[at]
        if char == "#":
            break
        if char in " \t":
            if word is not None:
                words.append("".join(word))
                word = None
            at += 1
            continue
        word = [] if word is None else word
        if char in "'\"":
            end = _closing(line, at, where)
            inner = line[at + 1 : end]
            word.append(inner if char == "'" else _weak(inner, environment))
            at = end + 1
        elif char == "\\" and at + 1 < len(line):
            taken, length = _escape(line, at)
            word.append(taken)
            at += length
        else:
            word.append(char)
            at += 1
    if word is not None:
        words.append("".join(word))
    return tuple(words)


def duration_ms(text: str, where: Where) -> int:
    """A time as HAProxy reads it: a whole number, of milliseconds unless a unit follows."""
    match = re.fullmatch(r"(\d+)(us|ms|s|m|h|d)?", text)
    if match is None:
        raise ConfigError(where, f"{text!r} is not a time: a whole number, perhaps with us, ms, s, m, h or d")
    return int(int(match.group(1)) * _UNITS_MS[match.group(2) or "ms"])


def _closing(line: str, opening: int, where: Where) -> int:
    quote, at = line[opening], opening + 1
    while at < len(line):
        if line[at] == "\\" and quote == '"':
            at += 1
        elif line[at] == quote:
            return at
        at += 1
    raise ConfigError(where, f"the quote {quote} in column {opening + 1} is not closed")


def _escape(text: str, at: int) -> tuple[str, int]:
    """The character that a backslash sequence stands for, and the sequence's length."""
    following = text[at + 1]
    if following == "x" and re.fullmatch("[0-9a-fA-F]{2}", text[at + 2 : at + 4]):
        return chr(int(text[at + 2 : at + 4], 16)), 4
    return _ESCAPES.get(following, following), 2


def _weak(inner: str, environment: Mapping[str, str]) -> str:
    out: list[str] = []
    at = 0
    while at < len(inner):
        variable = _VARIABLE.match(inner, at)
        if inner[at] == "\\" and at + 1 < len(inner):
            taken, length = _escape(inner, at)
            out.append(taken)
            at += length
        elif variable:
            name = variable.group(1) or variable.group(3)
            out.append(environment.get(name, variable.group(2) or ""))
            at = variable.end()
        else:
            out.append(inner[at])
            at += 1
    return "".join(out)
