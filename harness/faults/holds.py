"""What several faults hold at once: the last one that lets go undoes it, in whatever order they heal."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from harness.testbed import Testbed


class Holds:
    """Who holds what; a subject is anything that can be in one state only, such as a node's power."""

    def __init__(self) -> None:
        self._holders: dict[Hashable, set[str]] = {}

    def take(self, subject: Hashable, holder: str) -> bool:
        """Hold a subject; True for the first to do so."""
        holders = self._holders.setdefault(subject, set())
        holders.add(holder)
        return len(holders) == 1

    def release(self, subject: Hashable, holder: str) -> bool:
        """Let go; True if it was held and nobody holds it any more."""
        holders = self._holders.get(subject, set())
        if holder not in holders:
            return False
        holders.discard(holder)
        return not holders

    def held(self, subject: Hashable) -> bool:
        """Whether anybody holds it."""
        return bool(self._holders.get(subject))


_of: WeakKeyDictionary[Testbed, Holds] = WeakKeyDictionary()


def holds_of(testbed: Testbed) -> Holds:
    """What the faults of a testbed hold."""
    return _of.setdefault(testbed, Holds())
