"""The architectures under test: one module each, opening with a drawing of itself.

A module has `SUMMARY` (one line), `OPTIONS` (what can be chosen) and `topology(options)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from harness.errors import UsageError, one_of
from harness.topology import Option, Topology

# Name on the command line: module, which is loaded on use.
ARCHITECTURES = {"vip-l7": "topologies.vip_l7", "vip-l4": "topologies.vip_l4"}


class Architecture(Protocol):
    """What a module of this package offers."""

    SUMMARY: str
    OPTIONS: tuple[Option, ...]

    @staticmethod
    def topology(options: Mapping[str, Any]) -> Topology:
        """The architecture with these options; raises UsageError for a combination that makes no sense."""


def find(name: str) -> Architecture:
    """An architecture by name; raises UsageError naming the known ones."""
    if name not in ARCHITECTURES:
        raise one_of("architecture", name, list(ARCHITECTURES))
    return cast(Architecture, import_module(ARCHITECTURES[name]))


def make(name: str, given: Mapping[str, Any]) -> Topology:
    """The topology of an architecture with the given options, the others at their defaults."""
    architecture = find(name)
    known = {alias: option for option in architecture.OPTIONS for alias in option.names}
    chosen: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            flags = ["--" + option.names[0].replace("_", "-") for option in architecture.OPTIONS]
            raise one_of(f"option of {name}", "--" + key.replace("_", "-"), flags)
        option = known[key]
        if option.name in chosen:
            raise UsageError(f"{' and '.join(option.names)} are one option of {name}: give it once")
        chosen[option.name] = option.parse(value)
    return architecture.topology({o.name: chosen.get(o.name, o.default) for o in architecture.OPTIONS})
