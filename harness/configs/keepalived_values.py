"""Single values of keepalived.conf: numbers, timers, switches. One out of range is remarked and ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from harness.configs.keepalived_tree import Statement
from harness.configs.source import Remark, Where

_TRUE, _FALSE = ("true", "on", "yes"), ("false", "off", "no")


class Values:
    """Reads values of statements and gathers remarks about those that keepalived would not take."""

    def __init__(self) -> None:
        self.remarks: list[Remark] = []

    def remark(self, where: Where, text: str) -> None:
        """Note that keepalived will do otherwise than this line asks."""
        self.remarks.append(Remark(where, text))

    def word(self, statement: Statement, default: str = "") -> str:
        """The first argument."""
        if not statement.arguments:
            self.remark(statement.where, f"{statement.keyword} has no value and is ignored")
            return default
        return statement.arguments[0]

    def number(self, statement: Statement, default: int, low: int, high: int, position: int = 0) -> int:
        """A whole number from `low` to `high`; anything else is ignored."""
        try:
            value = int(statement.arguments[position])
        except (IndexError, ValueError):
            value = None
        if value is None or not low <= value <= high:
            self.remark(statement.where, f"{statement.text!r}: not a number from {low} to {high}, ignored")
            return default
        return value

    def timer_us(self, statement: Statement, default: int, low: int, high: int, decimals: int = 6) -> int:
        """Seconds with decimals, as microseconds (as are `low` and `high`); too many decimals are rounded."""
        try:
            seconds = Decimal(statement.arguments[0])
        except (IndexError, InvalidOperation):
            seconds = Decimal("nan")
        value = -1
        if seconds.is_finite():
            rounded = seconds.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
            value = int(rounded * 1_000_000)
        if not low <= value <= high:
            allowed = f"{low / 1e6:g} to {high / 1e6:g} s"
            self.remark(statement.where, f"{statement.text!r}: not a time from {allowed}, ignored")
            return default
        return value

    def switch(self, statement: Statement, default: bool = False) -> bool:
        """A boolean; the bare keyword means true."""
        if not statement.arguments or statement.arguments[0] == "{":
            return True
        if statement.arguments[0] in _TRUE:
            return True
        if statement.arguments[0] in _FALSE:
            return False
        self.remark(statement.where, f"{statement.text!r}: not a boolean, ignored")
        return default

    def weight(self, words: tuple[str, ...], where: Where, limit: int) -> tuple[int, bool | None]:
        """`NUMBER [reverse|noreverse]`; the direction is None where it is not given."""
        try:
            value = int(words[0])
        except (IndexError, ValueError):
            value = None
        if value is None or not -limit <= value <= limit:
            self.remark(where, f"a weight must be from {-limit} to {limit}, ignored: {' '.join(words)!r}")
            return 0, None
        return value, {"reverse": True, "noreverse": False}.get(words[1]) if len(words) > 1 else None


# What reads one keyword: given the statement and the fields so far, the fields that it sets.
Reader = Callable[[Statement, Mapping[str, Any], Values], dict[str, Any]]


def text(field: str) -> Reader:
    """A keyword whose first argument is taken as it stands."""
    return lambda statement, _, values: {field: values.word(statement)}


def flag(field: str, value: bool = True) -> Reader:
    """A keyword that says all by being there."""
    return lambda statement, _, values: {field: value}


def switch(field: str) -> Reader:
    """A keyword with an optional boolean."""
    return lambda statement, _, values: {field: values.switch(statement)}


def number(field: str, low: int, high: int) -> Reader:
    """A keyword with a whole number; out of range, it sets nothing."""

    def read(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
        value = values.number(statement, low - 1, low, high)
        return {field: value} if value >= low else {}

    return read


def whole_seconds(field: str) -> Reader:
    """A keyword with whole seconds, kept in microseconds."""

    def read(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
        value = values.number(statement, -1, 0, 4294)
        return {field: value * 1_000_000} if value >= 0 else {}

    return read


def timer(field: str, low_us: int, high_us: int) -> Reader:
    """A keyword with seconds and decimals, kept in microseconds; out of range, it sets nothing."""

    def read(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
        value = values.timer_us(statement, -1, low_us, high_us)
        return {field: value} if value >= 0 else {}

    return read


def read_block(
    statements: tuple[Statement, ...], readers: Mapping[str, Reader], values: Values
) -> tuple[dict[str, Any], list[Statement]]:
    """Read the statements that have a reader, the last of its kind counting; give back the others."""
    given: dict[str, Any] = {}
    other: list[Statement] = []
    for statement in statements:
        reader = readers.get(statement.keyword)
        if reader is None:
            other.append(statement)
        else:
            given.update(reader(statement, given, values))
    return given, other
