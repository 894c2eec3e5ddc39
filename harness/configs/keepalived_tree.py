"""keepalived.conf as a tree of statements, before any keyword is given a meaning.

Does what keepalived's parser does with the text (keepalived.conf(5), "CONFIGURATION PARSER" and
"ADVANCED CONFIGURATION"): comments, quotes, `include`, `@id` lines, `$NAME=` definitions of one or
many lines and their substitution, and the splitting of a line at braces.  `~SEQ` and `~LST` lines are
refused by name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.configs.source import ConfigError, ReadIncluded, Where, nothing_included

_DEFINITION = re.compile(r"\$([A-Za-z_]\w*)=[ \t]*(.*)", re.DOTALL)
_REFERENCE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*)(?=[ \t,)]|$))")
_INCLUDE = re.compile(r"include[rmwba]?[ \t]+(.*)")
_INCLUDE_DEPTH = 16
_SUBSTITUTIONS_A_LINE = 1000


@dataclass(frozen=True)
class Statement:
    """One line: its words, the text they came from, and the block that follows it, if one does."""

    words: tuple[str, ...]
    text: str
    where: Where
    block: tuple[Statement, ...] | None = None

    @property
    def keyword(self) -> str:
        """The first word."""
        return self.words[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The words after the first."""
        return self.words[1:]

    def children(self, keyword: str) -> list[Statement]:
        """The statements of the block that begin with this keyword."""
        return [child for child in self.block or () if child.keyword == keyword]


@dataclass(frozen=True)
class _Line:
    text: str
    where: Where


@dataclass
class _Definitions:
    values: dict[str, list[str]]
    config_id: str
    multiline: str | None = None


def parse(
    text: str, path: str, config_id: str = "", read_included: ReadIncluded = nothing_included
) -> tuple[Statement, ...]:
    """Read a keepalived.conf into statements.

    `config_id` is what `@id` lines are compared with: the host's name up to the first dot, unless
    keepalived runs with `-i`.  Raises ConfigError where braces or definitions do not add up.
    """
    definitions = _Definitions({"_HASH": ["#"], "_BANG": ["!"], "_INSTANCE": [config_id]}, config_id)
    pieces: list[_Line] = []
    for line in _logical_lines(text, path, definitions, read_included, 0):
        pieces.extend(_split_at_braces(line))
    return _tree(pieces)


def strip_comment(text: str) -> str:
    """Cut a comment off a line: from `#` or `!` outside double quotes, unless escaped by a backslash."""
    out, quoted, at = [], False, 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            following = text[at + 1]
            out.append(following if not quoted and following in "#!" else char + following)
            at += 2
            continue
        if char == '"':
            quoted = not quoted
        elif char in "#!" and not quoted:
            break
        out.append(char)
        at += 1
    return "".join(out).strip(" \t\r\n")


def split_words(text: str) -> tuple[str, ...]:
    """Split a line into words at ASCII's white space; a double-quoted part is one word without its quotes."""
    return tuple(
        match.group(1) if match.group(1) is not None else match.group(0)
        for match in re.finditer(r'"([^"]*)(?:"|$)|[^\s"]+', text, re.ASCII)
    )


def _logical_lines(
    text: str, path: str, definitions: _Definitions, read_included: ReadIncluded, depth: int
) -> Iterator[_Line]:
    if depth > _INCLUDE_DEPTH:
        raise ConfigError(Where(path, 1), f"files include one another more than {_INCLUDE_DEPTH} deep")
    directory = posixpath.dirname(path)
    definitions.values["_PWD"] = [directory]
    for number, raw in enumerate(text.split("\n"), 1):
        where = Where(path, number)
        for line in _expand(_Line(strip_comment(raw), where), definitions):
            include = _INCLUDE.match(line.text)
            if include is None:
                yield line
                continue
            for found_path, found_text in read_included(include.group(1).strip('" \t'), directory):
                yield from _logical_lines(found_text, found_path, definitions, read_included, depth + 1)
            definitions.values["_PWD"] = [directory]
    if definitions.multiline is not None:
        raise ConfigError(
            Where(path, 1), f"the definition ${definitions.multiline}= does not end: its last line ends in \\"
        )


def _expand(line: _Line, definitions: _Definitions) -> Iterator[_Line]:
    """Apply `@id`, definitions and substitutions to a line; gives no line, one, or a definition's many."""
    todo, budget = [line.text], _SUBSTITUTIONS_A_LINE
    while todo:
        text = todo.pop(0).strip(" \t")
        if definitions.multiline is not None:
            definitions.multiline = _continue_definition(text, definitions, definitions.multiline)
        elif text.startswith("@"):
            todo.insert(0, _conditional(text, definitions.config_id))
        elif not text or _define(text, definitions):
            continue
        elif text.startswith(("~SEQ", "~LST")):
            raise ConfigError(line.where, f"{text[:4]} lines are not read yet: write the lines out")
        elif (replaced := _substitute(text, definitions)) is None:
            yield _Line(text, line.where)
        else:
            budget -= 1
            if budget == 0:
                raise ConfigError(
                    line.where, f"the definitions in {line.text!r} refer to one another for ever"
                )
            todo[0:0] = [strip_comment(replaced[0]), *replaced[1:]]


def _conditional(text: str, config_id: str) -> str:
    """What follows `@id` or `@^id`, or nothing where it is meant for others."""
    negative = text.startswith("@^")
    name, _, rest = text[2 if negative else 1 :].replace("\t", " ").partition(" ")
    return rest if (name == config_id) != negative else ""


def _define(text: str, definitions: _Definitions) -> bool:
    match = _DEFINITION.fullmatch(text)
    if match is None:
        return False
    name, value = match.group(1), match.group(2)
    definitions.values[name] = [value]
    if value.endswith("\\"):
        first = value[:-1].rstrip(" \t")
        definitions.values[name] = [first] if first else []
        definitions.multiline = name
    return True


def _continue_definition(text: str, definitions: _Definitions, name: str) -> str | None:
    """Add a line to a definition; gives the name again while more lines follow."""
    follows = text.endswith("\\")
    line = text[:-1].rstrip(" \t") if follows else text
    if line:
        definitions.values[name].append(line)
    return name if follows else None


def _substitute(text: str, definitions: _Definitions) -> list[str] | None:
    """Replace the first reference to a known name; None where there is none.

    A definition of many lines is only replaced where it ends its line.
    """
    for match in _REFERENCE.finditer(text):
        value = definitions.values.get(match.group(1) or match.group(2))
        if value is None or (len(value) > 1 and match.end() != len(text)):
            continue
        first = value[0] if value else ""
        return [text[: match.start()] + first + text[match.end() :], *value[1:]]
    return None


def _split_at_braces(line: _Line) -> Iterator[_Line]:
    text = line.text
    while text:
        if text[0] in "{}":
            cut = 1
        else:
            match = re.search(r"[{}]", re.sub(r'"[^"]*"', lambda quoted: "x" * len(quoted.group()), text))
            cut = match.start() if match else len(text)
        yield _Line(text[:cut].strip(" \t"), line.where)
        text = text[cut:].strip(" \t")


def _tree(pieces: list[_Line]) -> tuple[Statement, ...]:
    levels: list[list[Statement]] = [[]]
    openers: list[Statement] = []
    previous_opens = False
    for piece in pieces:
        if piece.text == "{":
            if not previous_opens:
                raise ConfigError(piece.where, "'{' without a keyword before it")
            openers.append(levels[-1].pop())
            levels.append([])
        elif piece.text == "}":
            if not openers:
                raise ConfigError(piece.where, "'}' without a block to close")
            opener, block = openers.pop(), levels.pop()
            levels[-1].append(Statement(opener.words, opener.text, opener.where, tuple(block)))
        elif words := split_words(piece.text):
            levels[-1].append(Statement(words, piece.text, piece.where))
        else:
            continue
        previous_opens = piece.text not in "{}"
    if openers:
        raise ConfigError(openers[-1].where, f"the block {openers[-1].text!r} is not closed by a '}}'")
    return tuple(levels[0])
