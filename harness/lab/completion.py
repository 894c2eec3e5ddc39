"""What the shell offers after TAB: labs, nodes, services, interfaces, faults. Wrong guesses offer nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from harness.errors import VipdrillError
from harness.lab import registry
from harness.lab.registry import LabInfo

Completer = Callable[[Any, str], list[str]]


def _lab(context: Any) -> LabInfo | None:
    try:
        return registry.choose(context.params.get("lab"))
    except VipdrillError:
        return None


def _offering(words: Callable[[LabInfo], Iterable[str]]) -> Completer:
    def complete(ctx: Any, incomplete: str) -> list[str]:
        info = _lab(ctx)
        return [word for word in words(info) if word.startswith(incomplete)] if info else []

    return complete


def labs(ctx: Any, incomplete: str) -> list[str]:
    """The labs that are up."""
    return [info.name for info in registry.running() if info.name.startswith(incomplete)]


def architectures(ctx: Any, incomplete: str) -> list[str]:
    """The architectures that can be built."""
    import topologies

    return [name for name in topologies.ARCHITECTURES if name.startswith(incomplete)]


def drills(ctx: Any, incomplete: str) -> list[str]:
    """What `vipdrill run` takes: architectures, scenario files, and the folders that may hold them."""
    from harness.scenario import SUFFIXES

    head, slash, begun = incomplete.rpartition("/")
    try:
        entries = sorted(Path(head + slash or ".").iterdir())
    except OSError:
        entries = []
    files = [
        f"{head}{slash}{entry.name}{'/' * entry.is_dir()}"
        for entry in entries
        if entry.name.startswith(begun) and (begun.startswith(".") or not entry.name.startswith("."))
        if entry.is_dir() or entry.name.endswith(SUFFIXES)
    ]
    return [*architectures(ctx, incomplete), *files]


nodes = _offering(lambda info: info.nodes)


@_offering
def places(info: LabInfo) -> Iterable[str]:
    """Nodes, and the services on them."""
    for name, node in info.nodes.items():
        yield name
        yield from (f"{name}/{service}" for service in node["services"])


@_offering
def interfaces(info: LabInfo) -> Iterable[str]:
    """Interfaces of nodes, as `pcap` takes them."""
    return (f"{name}:{i['name']}" for name, node in info.nodes.items() for i in node["interfaces"])


def faults(ctx: Any, incomplete: str) -> list[str]:
    """Faults; behind a colon, what in the lab they can be aimed at.

    bash takes a colon for a new word, of which `incomplete` has all before it.
    """
    from harness import faults as library
    from harness.faults.target import ALL, ONE

    name, colon, _ = incomplete.partition(":")
    if not colon:
        return [fault for fault in library.FAULTS if fault.startswith(name)]
    info = _lab(ctx)
    aims = [*ONE, *ALL, *places(ctx, "")] if info else [*ONE, *ALL]
    return [f"{name}:{aim}" for aim in aims if f"{name}:{aim}".startswith(incomplete)]


def acting(ctx: Any, incomplete: str) -> list[str]:
    """The faults that act in the lab now, and `all`."""
    from harness.lab.client import Client

    info = _lab(ctx)
    if info is None:
        return []
    try:
        with Client(info) as client:
            found = [str(fault["id"]) for fault in client.ask("status")["faults"]]
    except VipdrillError:
        return []
    return [word for word in ["all", *found] if word.startswith(incomplete)]
