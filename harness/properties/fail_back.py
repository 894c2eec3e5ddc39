"""fail-back: once the old owner is well again, does it take the address back when, and only if, it should?

A node that starts (or whose link comes back) is a backup first: with preemption and a higher priority
it takes the address after its own timer, otherwise never.  A thawed owner still takes itself for the
owner and is so again at once if it outranks the new one, nopreempt or not.
"""

from __future__ import annotations

import math

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.vrrp import (
    Speaker,
    down_us,
    fail_back_after_start,
    fail_back_after_thaw,
    fail_back_when_heard,
    gives_way,
)
from harness.properties.facts import Facts, VirtualRouter, speaker_name
from harness.properties.matter import Matter
from harness.properties.neighbours import told_again
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "fail-back"
# How many down intervals a node must be watched before it is believed to stay a backup.
_PATIENCE = 2


def judge(facts: Facts) -> list[Verdict]:
    """For every fault that moved a virtual router and was healed: who has it then, who was told so."""
    found: list[Verdict] = []
    for takeover in takeovers(facts):
        node, first = takeover.owner, takeover.first
        if node is None:
            continue
        if takeover.effect == "parts":
            found += told_again(takeover, NAME)
        elif takeover.due and first is not None:
            returned_ns = _returns_ns(takeover, first)
            if returned_ns is not None:
                found.append(_judge(facts, takeover, node, first, returned_ns))
            found += told_again(takeover, NAME)
    return found


def _returns_ns(takeover: Takeover, first: Event) -> int | None:
    """From when the node may come back: what restarts a service heals itself."""
    return first.t if takeover.fault.fault == "restart" else takeover.fault.heal_ns


def _judge(facts: Facts, takeover: Takeover, node: str, first: Event, heal_ns: int) -> Verdict:
    router = takeover.router
    returning, owner = router.speakers[node], router.speakers[speaker_name(first)]
    end_ns = facts.next_fault_after(heal_ns, router)
    back = next((a for a in router.claims(heal_ns, end_ns) if speaker_name(a) == node), None)
    promise, since_ns, until_ns = _promise(facts, takeover, returning, owner, heal_ns)
    if node not in router.instances:
        return _of_an_unknown(takeover, node, back, heal_ns)
    if math.isinf(promise.low):
        return _stays(facts, takeover, promise, returning, back, end_ns)
    low = promise.low + (since_ns - heal_ns) / 1e9
    high = math.inf if until_ns is None else promise.high + (until_ns - heal_ns) / 1e9
    began = f"counted from {_span(since_ns, until_ns, heal_ns)} after healing began"
    bound = Bound(max(low, 0.0), high, "s", f"{promise.source}; {began}")
    if back is None:
        return _not_back(facts, takeover, bound, node, end_ns)
    measured = (back.t - heal_ns) / 1e9
    status, words = weigh(measured, bound, facts.lag_s(heal_ns, back.t))
    sentence = f"{node} took {router} back from {owner.node} {number(measured)} s after healing: {words}"
    if status is Status.PASS and math.isinf(high):
        status, words = Status.UNKNOWN, "no event tells when its keepalived was ready"
        sentence = f"{node} took {router} back {number(measured)} s after healing, but {words}"
    return _matter(takeover).verdict(status, sentence, measured, bound, (_last(router, first, back), back))


def _of_an_unknown(takeover: Takeover, node: str, back: Event | None, heal_ns: int) -> Verdict:
    """Adverts do not tell whether their sender preempts, and nothing told when it was ready."""
    did = "did not take" if back is None else f"{number((back.t - heal_ns) / 1e9)} s after healing took"
    sentence = f"{node} {did} {takeover.router} back; nothing is promised, as its configuration is not known"
    return _matter(takeover).verdict(Status.NOT_APPLICABLE, sentence)


def _promise(
    facts: Facts, takeover: Takeover, returning: Speaker, owner: Speaker, heal_ns: int
) -> tuple[Bound, int, int | None]:
    """The bound, and between which two moments its clock starts: the second is None if nobody saw it."""
    fault = takeover.fault
    if fault.resumes:
        promise = fail_back_after_thaw(returning, owner)
        if fault.fault not in ("freeze", "hang"):
            promise = fail_back_when_heard(returning, owner)
        return promise, heal_ns, fault.healed_ns
    if not gives_way(returning, owner):
        higher = returning.priority > owner.priority
        why = "nopreempt" if higher else f"priority {returning.priority} is not above {owner.priority}"
        return (
            Bound(math.inf, math.inf, "s", f"{returning.node} starts as a backup and stays one: {why}"),
            0,
            0,
        )
    promise = fail_back_after_start(returning, owner)
    if fault.fault == "link-down":
        up = _link_up(facts, takeover, returning.node, heal_ns)
        return promise, heal_ns if up is None else up, fault.healed_ns if up is None else up
    began_ns = fault.inject_ns if fault.fault == "restart" else heal_ns
    service = {"node": returning.node, "service": "keepalived", "since": began_ns}
    started = facts.timeline.first("service", state="started", **service)
    ready = facts.timeline.first("service", state="ready", **service)
    since_ns = began_ns if started is None else _before_start(facts, started, began_ns)
    return promise, since_ns, None if ready is None else ready.t


def _before_start(facts: Facts, started: Event, heal_ns: int) -> int:
    """A moment at which keepalived surely did not run yet: what was told of its node before its start.

    Its own `started` is told once it runs, by a testbed that may be late.
    """
    told = facts.timeline.of("service", "node", node=started.node, since=heal_ns, until=started.t)
    return max((event.t for event in told if event is not started), default=heal_ns)


def _link_up(facts: Facts, takeover: Takeover, node: str, heal_ns: int) -> int | None:
    instance = takeover.router.instances.get(node)
    wanted = {"interface": instance.interface} if instance else {}
    event = facts.timeline.first("link", node=node, up=True, since=heal_ns, **wanted)
    return None if event is None else event.t


def _stays(
    facts: Facts, takeover: Takeover, promise: Bound, returning: Speaker, back: Event | None, end_ns: int
) -> Verdict:
    """It must not come back, as long as the one that took over is well."""
    fault, router, node = takeover.fault, takeover.router, returning.node
    healed_ns = fault.healed_ns or fault.heal_ns or end_ns
    matter = _matter(takeover)
    bound = Bound(0, 0, "takeovers", promise.source)
    if back is not None and not _hasty(takeover, node, back, end_ns):
        seconds = (back.t - (fault.heal_ns or 0)) / 1e9
        alone = facts.lag_s(fault.heal_ns or 0, back.t) >= down_us(returning) / 1e6
        # A node that the testbed starved for a whole down interval may rightly think that it is alone.
        status = Status.UNKNOWN if alone else Status.FAIL
        sentence = (
            f"{node} announced {router} {number(seconds)} s after healing, but must not: {promise.source}"
        )
        return matter.verdict(status, sentence, 1, bound, (back,))
    watched = (end_ns - healed_ns) / 1e9
    needed = _PATIENCE * down_us(returning) / 1e6
    if watched < needed:
        sentence = (
            f"{node} did not take {router} back, but was watched for {number(watched)} s only: "
            f"{_PATIENCE} down intervals are {number(needed)} s"
        )
        return matter.verdict(Status.UNKNOWN, sentence, 0, bound)
    sentence = f"{node} did not take {router} back in {number(watched)} s: {promise.source}"
    return matter.verdict(Status.PASS, sentence, 0, bound)


def _hasty(takeover: Takeover, node: str, back: Event, end_ns: int) -> bool:
    """Whether a thawed node said no more than the one advert that was overdue when it woke."""
    after_ns = back.t + round(RESOLUTION_S * 1e9)
    again = [a for a in takeover.router.claims(after_ns, end_ns) if speaker_name(a) == node]
    return takeover.fault.resumes and not again


def _not_back(facts: Facts, takeover: Takeover, bound: Bound, node: str, end_ns: int) -> Verdict:
    heal_ns = takeover.fault.heal_ns or end_ns
    watched = (end_ns - heal_ns) / 1e9
    sentence = f"{node} did not take {takeover.router} back within {number(watched)} s after healing"
    patience = bound.high + RESOLUTION_S + facts.lag_s(heal_ns, end_ns)
    matter = _matter(takeover)
    if watched < patience:
        return matter.verdict(Status.UNKNOWN, f"{sentence}, but its time was not over", None, bound)
    return matter.verdict(Status.FAIL, f"{sentence}, but should have", watched, bound)


def _last(router: VirtualRouter, first: Event, back: Event) -> Event:
    """The last advert of the one that gave way."""
    node = speaker_name(first)
    return next(a for a in reversed(router.adverts) if a.t < back.t and speaker_name(a) == node)


def _span(since_ns: int, until_ns: int | None, heal_ns: int) -> str:
    sooner = number((since_ns - heal_ns) / 1e9)
    if until_ns is None:
        return f"{sooner} s or more"
    later = number((until_ns - heal_ns) / 1e9)
    return f"{sooner} s" if sooner == later else f"{sooner} to {later} s"


def _matter(takeover: Takeover) -> Matter:
    return Matter.of_fault(NAME, takeover.fault, str(takeover.router))
