"""A fault's parameters: what may be said beside its name and target, with limits and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import UsageError, one_of


@dataclass(frozen=True)
class Parameter:
    """One parameter: its default's type is its type; `low` and `high` are the limits, both allowed.

    Units stand in the name (`percent`, `delay_ms`, `period_s`); `choices`, where given, are all there are.
    """

    name: str
    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False

    def parse(self, fault: str, given: object) -> Any:
        """A value given as text or of the parameter's type; raises UsageError that says what is allowed."""
        what = f"{self.name} of the fault {fault}"
        kind = type(self.default)
        try:
            value = kind(given)
        except (TypeError, ValueError):
            raise UsageError(f"{what} takes {self.allowed}, not {given!r}") from None
        if self.choices and value not in self.choices:
            raise one_of(what, str(value), list(self.choices))
        if kind in {int, float} and not (self._above(value) and self._below(value)):
            raise UsageError(f"{what} takes {self.allowed}, not {given}")
        return value

    def _above(self, value: float) -> bool:
        return self.low is None or value >= self.low

    def _below(self, value: float) -> bool:
        return self.high is None or value <= self.high

    @property
    def allowed(self) -> str:
        """What may be given, in words: `a number from 0 to 100`."""
        if self.choices:
            return " or ".join(self.choices)
        words = {int: "a whole number", float: "a number", str: "text"}[type(self.default)]
        if self.low is not None:
            words += f" from {self.low:g}"
        if self.high is not None:
            words += f" to {self.high:g}" if self.low is not None else f" of at most {self.high:g}"
        return words

    def __str__(self) -> str:
        default = f"{self.default:g}" if isinstance(self.default, float) else str(self.default)
        return f"{self.name}={default if default else '...'}"


def read(fault: str, known: tuple[Parameter, ...], given: Mapping[str, object]) -> dict[str, Any]:
    """All values of a fault's parameters, given or by default.

    Raises UsageError for an unknown parameter, naming the known ones, and for a value that is not allowed.
    """
    names = [parameter.name for parameter in known]
    for name in given:
        if not names:
            raise UsageError(f"the fault {fault} takes no parameters, so no {name!r}")
        if name not in names:
            raise one_of(f"parameter of the fault {fault}", name, names)
    for parameter in known:
        if parameter.required and parameter.name not in given:
            raise UsageError(f"the fault {fault} needs {parameter.name}=... ({parameter.help})")
    return {p.name: p.parse(fault, given.get(p.name, p.default)) for p in known}
