"""What of one side belongs to what of the other: equal names first, then what is left if it is one each.

A configuration that was changed may rename what it is about (another VRID, another address, another owner
of the VIP), and its options differ by nature: where there is only one candidate it is meant.  Of drills that
were aimed at several nodes, those that hit the same one belong together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

from harness.compare.model import Question, Side, Variant

Key = TypeVar("Key", bound=Hashable)
Pairs = list[tuple[Key, Key]]


def pair(base: Iterable[Key], candidate: Iterable[Key]) -> tuple[Pairs[Key], list[Key], list[Key]]:
    """The pairs, and what is left alone on either side."""
    ours, theirs = list(dict.fromkeys(base)), list(dict.fromkeys(candidate))
    pairs = [(key, key) for key in ours if key in theirs]
    alone = [key for key in ours if key not in theirs]
    others = [key for key in theirs if key not in ours]
    if len(alone) == len(others) == 1:
        return [*pairs, (alone[0], others[0])], [], []
    return pairs, alone, others


def variants(base: Side, candidate: Side, drill: str) -> tuple[Pairs[Variant], list[Variant], list[Variant]]:
    """The variants of a drill that belong together."""
    pairs, alone, others = pair(
        [variant for name, variant in base.drills if name == drill],
        [variant for name, variant in candidate.drills if name == drill],
    )
    for targets in dict.fromkeys(variant.targets for variant in alone):
        ours = [variant for variant in alone if variant.targets == targets]
        theirs = [variant for variant in others if variant.targets == targets]
        if len(ours) == len(theirs) == 1:
            pairs.append((ours[0], theirs[0]))
            alone.remove(ours[0])
            others.remove(theirs[0])
    more, alone, others = pair(alone, others)
    return [*pairs, *more], alone, others


def named(drill: str, variant: Variant, side: Side) -> str:
    """The drill, with what it hit if the same fault hit something else in another drill of this side."""
    hit = {other.targets for name, other in side.drills if name == drill}
    return f"{drill}, on {', '.join(variant.targets)}" if len(hit) > 1 else drill


def questions(
    base: Iterable[Question], candidate: Iterable[Question]
) -> tuple[Pairs[Question], list[Question], list[Question]]:
    """The checks of a drill that belong together: of each title, the subjects."""
    ours, theirs = list(base), list(candidate)
    pairs: Pairs[Question] = []
    alone: list[Question] = []
    others: list[Question] = []
    for title in dict.fromkeys(question.title for question in [*ours, *theirs]):
        found = pair([q for q in ours if q.title == title], [q for q in theirs if q.title == title])
        pairs += found[0]
        alone += found[1]
        others += found[2]
    return pairs, alone, others
