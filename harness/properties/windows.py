"""Stretches of time with no owner of a virtual address, or with two: each weighed against its own bound."""

from __future__ import annotations

from dataclasses import dataclass

from harness.bounds.bound import Bound
from harness.properties.facts import Facts, VirtualRouter
from harness.properties.hearing import by_chance, unpromised
from harness.timeline import Event
from harness.verdict import Status


@dataclass(frozen=True)
class Window:
    """A stretch with none or two owners, weighed against its own bound."""

    from_ns: int
    to_ns: int
    bound: Bound
    status: Status
    words: str
    evidence: tuple[Event | str, ...]
    did: str = "announced"

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.to_ns - self.from_ns) / 1e9


def advert_at(router: VirtualRouter, t_ns: int) -> Event | None:
    """The advert of exactly this moment."""
    return next((a for a in router.adverts if a.t == t_ns), None)


def excused(
    facts: Facts, router: VirtualRouter, from_ns: int, to_ns: int, found: tuple[Status, str]
) -> tuple[Status, str]:
    """What is beyond a bound is no failure under a fault that lets nobody promise anything of adverts."""
    if found[0] in (Status.PASS, Status.LIMITATION):
        return found
    for fault in facts.faults:
        acts = fault.inject_ns < to_ns and (fault.healed_ns is None or fault.healed_ns > from_ns)
        if acts and facts.effect(fault, router) == "open" and by_chance(fault):
            return Status.LIMITATION, f"{found[1]}; under {fault} nothing is promised: {unpromised(fault)}"
    return found
