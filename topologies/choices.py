"""What the choices of A1 and A2 have in common: what is served, lines as options, what has no effect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import UsageError
from harness.topology import Option


@dataclass(frozen=True)
class Choices:
    """An architecture's options."""

    known: ClassVar[tuple[Option, ...]] = ()

    options: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.options[name]

    @property
    def serves_masters(self) -> bool:
        """Whether there is a VIP for masters."""
        return self["serve"] in ("masters", "both")

    @property
    def serves_routers(self) -> bool:
        """Whether there is a VIP for routers."""
        return self["serve"] in ("routers", "both")

    @property
    def serves_resolvers(self) -> bool:
        """Whether there is a VIP for DNS servers."""
        return bool(self["serve"] == "resolvers")

    def lines(self, name: str) -> tuple[str, ...]:
        """An option that holds lines, separated by ';'."""
        return tuple(line.strip() for line in self[name].split(";") if line.strip())

    def refuse_given(self, names: tuple[str, ...], why: str) -> None:
        """Raise UsageError for those of these options that have not their defaults, as nothing reads them."""
        defaults = {option.name: option.default for option in self.known}
        given = ["--" + name.replace("_", "-") for name in names if self[name] != defaults[name]]
        if given:
            raise UsageError(f"{', '.join(given)} would have no effect: {why}")

    def check_numbers(self, ranges: Iterable[tuple[str, float, float]], seconds: Iterable[str]) -> None:
        """Raise UsageError for the first that is not between its least and most, or is no time of a timer."""
        for name, least, most in ranges:
            if not least <= self[name] <= most:
                raise UsageError(f"{name} must be between {least} and {most}, not {self[name]:g}")
        for name in seconds:
            if not 0.001 <= self[name] <= 3600:
                raise UsageError(f"{name} must be between 0.001 and 3600 seconds, not {self[name]:g}")
