"""What a fault should do to a virtual router, and what it did: the common ground of several judges."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.vrrp import (
    Speaker,
    down_us,
    successor,
    takeover_after_farewell,
    takeover_after_last_advert,
    takeover_after_silence,
)
from harness.properties.facts import CENTISECOND_US, Effect, Facts, FaultSpan, VirtualRouter, speaker_name
from harness.properties.hearing import hidden
from harness.timeline import Event


@dataclass(frozen=True)
class Takeover:
    """One fault against one virtual router.

    `owner` announced the addresses when the fault came; `last` is its last advert, `farewell` its
    advert of priority 0 after the fault; `heir` is who must take over, `first` the first advert of
    anybody else.  `until_ns` ends the window in which a takeover belongs to this fault.
    """

    facts: Facts
    fault: FaultSpan
    router: VirtualRouter
    effect: Effect
    owner: str | None
    heir: Speaker | None
    last: Event | None
    farewell: Event | None
    first: Event | None
    until_ns: int

    @property
    def due(self) -> bool:
        """Whether the fault must bring another node's adverts about: not if nobody could see them."""
        acting = [f for f in self.facts.faults if f.acts_at(self.fault.inject_ns)]
        unseen = self.heir is not None and any(self.heir.node in hidden(f) for f in acting)
        parts = self.effect == "parts" and not unseen
        hit = parts or self.owner in self.facts.silenced_by(self.fault, self.router)
        return hit and self.owner is not None

    @property
    def owner_interval_us(self) -> int | None:
        """The interval that the owner announced."""
        return None if self.last is None else int(self.last.interval_cs) * CENTISECOND_US

    @property
    def taken_s(self) -> float | None:
        """From the fault to the first advert of another node, in seconds."""
        return None if self.first is None else (self.first.t - self.fault.inject_ns) / 1e9

    @property
    def timer(self) -> Bound | None:
        """From the last thing the owner said until the heir speaks: exact, by the heir's own timer."""
        if self.heir is None:
            return None
        if self.farewell is not None:
            return takeover_after_farewell(self.heir, self.owner_interval_us)
        return takeover_after_last_advert(self.heir, self.owner_interval_us)

    @property
    def timer_from_ns(self) -> int | None:
        """When that last thing was said."""
        said = self.farewell or self.last
        return None if said is None else said.t

    @property
    def bound(self) -> Bound | None:
        """From the fault to the takeover, by the configuration in force and the kind of the owner's end."""
        if self.heir is None:
            return None
        if self.farewell is not None:
            left = (self.farewell.t - self.fault.inject_ns) / 1e9
            graceful = takeover_after_farewell(self.heir, self.owner_interval_us)
            return graceful.later(left, "its priority-0 advert left after the fault by")
        silent = takeover_after_silence(self.heir, self.owner_interval_us)
        late = 0.0 if self.last is None else (self.last.t - self.fault.inject_ns) / 1e9
        if late <= 0:
            return silent
        return silent.wider(
            high=late, why=f"its last advert left {number(late)} s after the fault began to act"
        )

    @property
    def due_ns(self) -> int | None:
        """When the heir's timer runs out."""
        timer, said = self.timer, self.timer_from_ns
        return None if timer is None or said is None else said + round(timer.high * 1e9)

    @property
    def ends_early(self) -> bool:
        """Whether an owner that resumes was healed before the heir's timer ran out."""
        due = self.due_ns
        return self.fault.resumes and due is not None and due > self.until_ns


def takeovers(facts: Facts) -> list[Takeover]:
    """Every fault of the timeline against every virtual router."""
    return [
        _takeover(facts, fault, router)
        for fault in facts.faults
        for router in facts.routers_at(fault.inject_ns)
    ]


def _takeover(facts: Facts, fault: FaultSpan, router: VirtualRouter) -> Takeover:
    effect = facts.effect(fault, router)
    owner = router.owner_at(fault.inject_ns)
    until_ns = facts.until_next_fault(fault, router)
    # Only an owner that never ended speaks again at once; one that starts anew is a backup first.
    if fault.resumes and fault.heal_ns is not None:
        until_ns = min(until_ns, fault.heal_ns)
    claims = router.claims(fault.inject_ns, until_ns)
    first = next((a for a in claims if speaker_name(a) != owner), None)
    end_ns = until_ns if first is None else first.t
    # Of an owner that goes on unheard, the heir heard nothing once the fault was effective.
    heard_ns = (fault.effective_ns or fault.inject_ns) if effect == "parts" else end_ns
    said = [a for a in router.adverts if a.t <= heard_ns and speaker_name(a) == owner]
    able = facts.deaf(fault, router) if effect == "parts" else set(router.speakers) - {owner}
    silenced = facts.silenced(router, fault.inject_ns)
    heir = successor(s for s in router.speakers.values() if s.node in able - silenced)
    if effect == "parts" and heir is not None and first is not None:
        said = _may_have_heard(said, fault, heir, first)
    return Takeover(
        facts=facts,
        fault=fault,
        router=router,
        effect=effect,
        owner=owner,
        heir=_as_announced(heir, first),
        last=next((a for a in reversed(said) if a.priority > 0), None),
        farewell=next((a for a in said if a.priority == 0 and a.t >= fault.inject_ns), None),
        first=first,
        until_ns=until_ns,
    )


def _may_have_heard(said: list[Event], fault: FaultSpan, heir: Speaker, first: Event) -> list[Event]:
    """The adverts up to the last that the heir can have heard, if it then waited for as long as it must.

    One that left while the fault was being put in force may have been heard, or not.
    """
    wait_ns = 1000 * down_us(heir) - round(RESOLUTION_S * 1e9)
    return [a for a in said if a.t <= fault.inject_ns or a.t + wait_ns <= first.t]


def _as_announced(heir: Speaker | None, first: Event | None) -> Speaker | None:
    """The heir with the effective priority that it announced: tracking may have moved it."""
    if heir is None or first is None or speaker_name(first) != heir.node or first.priority == heir.priority:
        return heir
    return replace(heir, priority=first.priority)
