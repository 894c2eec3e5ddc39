"""nginx.conf as blocks and lines of words, before any directive is given a meaning; includes are resolved."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from harness.configs.source import ConfigError, ReadIncluded, Where

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+)|(?P<line>\n)|(?P<comment>\#[^\n]*)|(?P<sign>[{};])
    |(?P<quoted>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<word>(?:\\.|\$\{\w+\}|[^\s{};"'])+)""",
    re.VERBOSE | re.DOTALL,
)
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 1000}
_MAX_DEPTH = 16


@dataclass
class Block:
    """A directive: its words, and what stands in its braces."""

    words: tuple[str, ...]
    where: Where
    children: list[Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first word."""
        return self.words[0]

    def named(self, name: str) -> list[Block]:
        """The directives of this name in its braces."""
        return [child for child in self.children if child.name == name]


def read_tree(text: str, path: str, read_included: ReadIncluded, depth: int = 0) -> list[Block]:
    """The directives of a file; raises ConfigError, with file and line, where it cannot be read."""
    return _block(_tokens(text, path), Where(path, 1), read_included, depth)


def _block(
    tokens: Iterator[tuple[str, str, Where]], where: Where, include: ReadIncluded, depth: int
) -> list[Block]:
    """Directives up to a closing brace or, on the outermost level of a file, its end."""
    found: list[Block] = []
    words: list[str] = []
    began = where
    for kind, text, at in tokens:
        if kind != "sign":
            began = at if not words else began
            words.append(text)
        elif text == ";":
            if words[:1] == ["include"] and len(words) > 1:
                found += _included(words[1], began, include, depth)
            elif words:
                found.append(Block(tuple(words), began))
            words = []
        elif text == "{":
            if not words:
                raise ConfigError(at, "a block needs a name")
            block = Block(tuple(words), began)
            block.children = _block(tokens, at, include, depth)
            found.append(block)
            words = []
        else:
            break
    if words:
        raise ConfigError(began, f"{' '.join(words)!r} does not end with ';'")
    return found


def _included(pattern: str, where: Where, include: ReadIncluded, depth: int) -> list[Block]:
    if depth >= _MAX_DEPTH:
        raise ConfigError(where, "files include one another too deeply")
    files = include(pattern, posixpath.dirname(where.path))
    return [block for path, text in files for block in read_tree(text, path, include, depth + 1)]


def _tokens(text: str, path: str) -> Iterator[tuple[str, str, Where]]:
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConfigError(Where(path, line), f"cannot read from {text[position : position + 20]!r} on")
        kind, found = match.lastgroup or "", match.group()
        if kind == "quoted":
            yield "word", re.sub(r"\\(.)", r"\1", found[1:-1]), Where(path, line)
        elif kind in ("word", "sign"):
            yield kind, found, Where(path, line)
        line += found.count("\n")
        position = match.end()


def duration_ms(text: str, where: Where) -> int:
    """A time as Nginx writes it (`60s`, `1m30s`, `500ms`; a bare number is in seconds), in milliseconds."""
    parts = re.findall(r"(\d+)(ms|[smhd]?)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(where, f"{text!r} is not a time")
    return sum(int(number) * _UNITS_MS[unit] for number, unit in parts)
