"""vip-migration: when the owner of a virtual address goes, does the right node take it, in time?

Four questions for every fault and virtual router: the takeover time from the fault against the bound;
the same from the owner's last word, exact to the timers' resolution; gratuitous ARP for every address;
the addresses really on the new owner.  A fault that did not end the owner must move nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.vrrp import Speaker
from harness.properties.facts import Facts, FaultSpan, speaker_name
from harness.properties.hearing import unpromised
from harness.properties.matter import Matter
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "vip-migration"


def judge(facts: Facts) -> list[Verdict]:
    """The findings for every fault of the timeline."""
    found = takeovers(facts)
    due = [takeover for takeover in found if takeover.due]
    return [verdict for takeover in found for verdict in _judge(takeover, due)]


def _judge(takeover: Takeover, due: list[Takeover]) -> list[Verdict]:
    fault, router = takeover.fault, takeover.router
    if takeover.effect == "open":
        why = unpromised(fault) or "service tracking decides"
        sentence = f"nothing is promised of what {fault} does to {router}: {why}"
        return [_matter(takeover).verdict(Status.NOT_APPLICABLE, sentence)]
    if takeover.owner is None:
        sentence = f"nobody announced {router} when {fault} came: there was nothing to take over"
        return [_matter(takeover).verdict(Status.UNKNOWN, sentence)]
    if not takeover.due or takeover.ends_early:
        return [_nothing_moves(takeover, due)]
    heir, bound, timer = takeover.heir, takeover.bound, takeover.timer
    if heir is None or bound is None or timer is None:
        sentence = f"no speaker of {router} was left to take over after {fault}"
        return [_matter(takeover).verdict(Status.NOT_APPLICABLE, sentence)]
    first = takeover.first
    if first is None:
        return [_nobody_came(takeover, heir, bound)]
    return [
        _in_time(takeover, first, bound),
        _timer_exact(takeover, first, timer),
        _right_node(takeover, first, heir),
        *_reachable(takeover, first),
    ]


def _nothing_moves(takeover: Takeover, due: list[Takeover]) -> Verdict:
    """The owner was not hit, or was thawed in time: any other node's advert is a failure."""
    fault, router, first = takeover.fault, takeover.router, takeover.first
    why = f"{fault} does not end its owner {takeover.owner}"
    if takeover.due and takeover.ends_early and takeover.timer is not None:
        healed = "thawed" if fault.fault == "freeze" else "heard again"
        why = f"{takeover.owner} was {healed} before the time-out was over ({takeover.timer.source})"
    bound = Bound(0, 0, "takeovers", why)
    matter = _matter(takeover)
    if first is None:
        return matter.verdict(Status.PASS, f"{router} stayed with {takeover.owner}: {why}", 0, bound)
    by = next((other.fault for other in due if other.first is first), None) or _ended_by(takeover)
    if by is not None:
        sentence = f"{speaker_name(first)} announced {router}, as {by} had come before: {why}"
        return matter.verdict(Status.PASS, sentence, 0, bound)
    sentence = f"{speaker_name(first)} announced {router} although {why}"
    if late := _starved(takeover, first):
        return matter.verdict(Status.UNKNOWN, f"{sentence}, but {late}", None, bound, (first,))
    return matter.verdict(Status.FAIL, sentence, 1, bound, (first,))


def _ended_by(takeover: Takeover) -> FaultSpan | None:
    """The fault that had ended the owner when this one came, before anybody could take its place."""
    facts, fault, router = takeover.facts, takeover.fault, takeover.router
    others = (f for f in facts.faults if f is not fault and f.acts_at(fault.inject_ns))
    return next((f for f in others if takeover.owner in facts.silenced_by(f, router)), None)


def _starved(takeover: Takeover, first: Event) -> str:
    """Why the owner may have been silent for a down interval by the testbed's own fault, or nothing."""
    router, owner = takeover.router, takeover.owner
    own = [a for a in router.adverts if a.t < first.t and speaker_name(a) == owner]
    if owner is None or not own or own[-1].priority == 0:
        return ""
    silent_s = (first.t - own[-1].t) / 1e9
    lag_s = takeover.facts.lag_s(own[-1].t, first.t)
    interval_s = router.speakers[owner].advert_interval_us / 1e6
    if silent_s < router.silence_limit_ns(owner) / 1e9 - RESOLUTION_S or silent_s > interval_s + lag_s:
        return ""
    return f"the testbed was late by {number(lag_s)} s while {owner} was silent for {number(silent_s)} s"


def _nobody_came(takeover: Takeover, heir: Speaker, bound: Bound) -> Verdict:
    fault, router, due_ns = takeover.fault, takeover.router, takeover.due_ns
    watched = (takeover.until_ns - fault.inject_ns) / 1e9
    nobody = f"nobody took {router} within {watched:.3f} s after {fault}"
    patience_s = RESOLUTION_S + takeover.facts.lag_s(fault.inject_ns, takeover.until_ns)
    matter = _matter(takeover)
    if due_ns is None or due_ns + patience_s * 1e9 > takeover.until_ns:
        return matter.verdict(Status.UNKNOWN, f"{nobody}, but the time-out was not over", None, bound)
    sentence = f"{nobody}: {heir.node} should have"
    return matter.verdict(Status.FAIL, sentence, watched, bound, _said(takeover))


def _in_time(takeover: Takeover, first: Event, bound: Bound) -> Verdict:
    """From the fault to the first advert of the new owner."""
    measured = (first.t - takeover.fault.inject_ns) / 1e9
    status, words = weigh(measured, bound, takeover.facts.lag_s(takeover.fault.inject_ns, first.t))
    sentence = (
        f"{speaker_name(first)} took {takeover.router} {number(measured)} s after {takeover.fault}, "
        f"{_ending(takeover)}: {words}"
    )
    return _matter(takeover).verdict(status, sentence, measured, bound, _said(takeover))


def _ending(takeover: Takeover) -> str:
    if takeover.effect == "parts":
        return f"which keeps it from hearing {takeover.owner}"
    how = "said goodbye with priority 0" if takeover.farewell else "fell silent without a goodbye"
    return f"when {takeover.owner} {how}"


def _timer_exact(takeover: Takeover, first: Event, timer: Bound) -> Verdict:
    """From the owner's last word: the heir's own timer, whatever the moment of the fault was."""
    from_ns = takeover.timer_from_ns
    if from_ns is None:
        sentence = f"no advert of {takeover.owner} was seen to count from"
        return _matter(takeover, "timer").verdict(Status.UNKNOWN, sentence, None, timer)
    measured = (first.t - from_ns) / 1e9
    status, words = weigh(measured, timer, takeover.facts.lag_s(from_ns, first.t))
    word = "priority-0 advert" if takeover.farewell else "last advert"
    sentence = (
        f"{speaker_name(first)} spoke {number(measured)} s after the {word} of {takeover.owner}: {words}"
    )
    return _matter(takeover, "timer").verdict(status, sentence, measured, timer, _said(takeover))


def _right_node(takeover: Takeover, first: Event, heir: Speaker) -> Verdict:
    """The highest of those left; two whose timers end within one centisecond may come in either order."""
    came = takeover.router.speakers[speaker_name(first)]
    resolution_ns = round(RESOLUTION_S * 1e9)
    close = takeover.router.claims(first.t - 1, first.t + resolution_ns)
    if came.node == heir.node or came.priority == heir.priority or heir.node in map(speaker_name, close):
        sentence = f"{heir.node} took over, the highest of those left (priority {heir.priority})"
        if came.priority == heir.priority and came.node != heir.node:
            sentence = f"{came.node} took over; {heir.node} has the same priority {heir.priority}"
        return _matter(takeover, "successor").verdict(Status.PASS, sentence)
    sentence = f"{came.node} (priority {came.priority}) took over, not {heir.node} (priority {heir.priority})"
    return _matter(takeover, "successor").verdict(Status.FAIL, sentence, evidence=(first,))


def _reachable(takeover: Takeover, first: Event) -> list[Verdict]:
    """After its first advert the new owner adds the addresses and tells the neighbours."""
    timeline, node = takeover.facts.timeline, speaker_name(first)
    interval_s = first.interval_cs / 100
    source = (
        "advert, address and gratuitous ARP belong to one transition (RFC 9568 section 6.4.2); "
        f"the next advert is due after {number(interval_s)} s"
    )
    bound = Bound(0, interval_s, "s", source)
    verdicts = []
    if timeline.first("arp") is not None:
        said = timeline.of("arp", since=first.t, node=node, gratuitous=True)
        found = {a: next((e for e in said if e.sender_ip == a), None) for a in takeover.router.addresses}
        verdicts.append(
            _soon(takeover, first, found, bound, aspect="gratuitous ARP", did="told the neighbours of")
        )
    if timeline.first("address", node=node) is not None:
        found = {a: _address_event(takeover, first, a) for a in takeover.router.addresses}
        verdicts.append(_soon(takeover, first, found, bound, aspect="address", did="had"))
    return verdicts


def _address_event(takeover: Takeover, first: Event, address: str) -> Event | None:
    """When the new owner got an address: it may have had it already, else the next time it is added."""
    told = takeover.facts.timeline.of("address", node=speaker_name(first))
    events = [e for e in told if e.address.partition("/")[0] == address]
    before = [e for e in events if e.t <= first.t]
    if before and before[-1].change == "add":
        return before[-1]
    return next((e for e in events if e.t > first.t and e.change == "add"), None)


def _soon(
    takeover: Takeover,
    first: Event,
    found: Mapping[str, Event | None],
    bound: Bound,
    *,
    aspect: str,
    did: str,
) -> Verdict:
    """Each address has its event, not later than the bound."""
    end_ns, node = takeover.facts.end_ns, speaker_name(first)
    missing = [address for address, event in found.items() if event is None]
    if missing:
        watched = (end_ns - first.t) / 1e9
        status = Status.FAIL if watched > bound.high else Status.UNKNOWN
        sentence = f"{node} never {did} {', '.join(missing)} in the {watched:.3f} s after its first advert"
        return _matter(takeover, aspect).verdict(status, sentence, None, bound, (first,))
    events = [event for event in found.values() if event is not None]
    latest = max((event.t for event in events), default=first.t)
    measured = max((latest - first.t) / 1e9, 0.0)
    status, words = weigh(measured, bound, takeover.facts.lag_s(first.t, latest))
    sentence = f"{node} {did} {', '.join(found)} {number(measured)} s after its first advert: {words}"
    return _matter(takeover, aspect).verdict(status, sentence, measured, bound, (first, *events))


def _said(takeover: Takeover) -> tuple[Event | str, ...]:
    events = (takeover.last, takeover.fault.inject, takeover.farewell, takeover.first)
    return tuple(sorted((e for e in events if e is not None), key=lambda event: event.t))


def _matter(takeover: Takeover, aspect: str = "takeover") -> Matter:
    return Matter.of_fault(NAME, takeover.fault, str(takeover.router), aspect)
