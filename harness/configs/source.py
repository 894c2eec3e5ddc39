"""Where a piece of configuration stands, what is wrong with it, and where included files come from."""

from __future__ import annotations

import fnmatch
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.errors import UsageError

# Given an include pattern and the directory of the including file: the files that match, as (path, text).
ReadIncluded = Callable[[str, str], list[tuple[str, str]]]


@dataclass(frozen=True)
class Where:
    """A line of a file."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Remark:
    """Something that the daemon will do otherwise than the line seems to ask."""

    where: Where
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


class ConfigError(UsageError):
    """A configuration that cannot be read; names file, line and problem."""

    def __init__(self, where: Where, problem: str) -> None:
        self.where, self.problem = where, problem
        super().__init__(f"{where}: {problem}")


def included_from(files: Mapping[str, str]) -> ReadIncluded:
    """Resolve includes from texts that are known already, as those a timeline holds."""

    def read(pattern: str, directory: str) -> list[tuple[str, str]]:
        wanted = posixpath.normpath(posixpath.join(directory, pattern))
        return [(path, files[path]) for path in sorted(files) if fnmatch.fnmatchcase(path, wanted)]

    return read


def nothing_included(pattern: str, directory: str) -> list[tuple[str, str]]:
    """Resolve no include: for a text that stands alone."""
    return []
