"""What a lane is made of: stretches of a state, moments, and windows in which something was promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.timeline import Event

State = Literal["good", "bad", "warn", "off", "idle", "node"]
"""How it looks: as it should be, not so, doubtful, dead, at rest; `node`: in the colour of a node."""


@dataclass(frozen=True)
class Stretch:
    """A state from one moment to another (ns); `node` gives the colour where the state is `node`."""

    from_ns: int
    to_ns: int
    state: State
    label: str
    detail: str = ""
    node: str = ""
    event: Event | None = None


@dataclass(frozen=True)
class Moment:
    """Something at one moment (ns). `event` is what it was decoded from, for its packet's number."""

    t: int
    state: State
    text: str
    node: str = ""
    event: Event | None = None


@dataclass(frozen=True)
class Promise:
    """A window (ns) in which something had to happen, by a bound; `kept` as the judge found."""

    from_ns: int
    to_ns: int
    kept: bool
    text: str


@dataclass(frozen=True)
class Lane:
    """One lane. `about` are the subjects of verdicts whose promises belong on it."""

    name: str
    stretches: tuple[Stretch, ...] = ()
    moments: tuple[Moment, ...] = ()
    promises: tuple[Promise, ...] = ()
    about: frozenset[str] = field(default_factory=frozenset)

    def __bool__(self) -> bool:
        return bool(self.stretches or self.moments)


@dataclass(frozen=True)
class Group:
    """Lanes of one kind, under one heading."""

    name: str
    lanes: list[Lane]


def stretches_of(
    changes: list[tuple[int, State, str, str]], end_ns: int, node: str = ""
) -> tuple[Stretch, ...]:
    """Changes (when, state, label, detail) in order of time as stretches, the last up to the end.

    A change to the same state and label prolongs a stretch.
    """
    found: list[Stretch] = []
    for number, (t, state, label, detail) in enumerate(changes):
        until = changes[number + 1][0] if number + 1 < len(changes) else max(end_ns, t)
        last = found[-1] if found else None
        if last is not None and (last.state, last.label) == (state, label) and last.to_ns == t:
            found[-1] = Stretch(last.from_ns, until, state, label, last.detail, node)
        elif until > t:
            found.append(Stretch(t, until, state, label, detail, node))
    return tuple(found)
