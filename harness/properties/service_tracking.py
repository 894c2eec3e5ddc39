"""service-tracking: when the proxy dies or hangs under a living keepalived, how long is the VIP a black hole?

Detection, until keepalived says on the wire that it noticed; takeover, until a balancer with a living
proxy announces the VIP; the return, once the proxy is well again.  Where nothing tracks the proxy, the
VIP stays and nobody is served: what clients lost proves the limitation.
"""

from __future__ import annotations

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.tracking import reduced, regained
from harness.properties.facts import Facts, speaker_name
from harness.properties.matter import Matter
from harness.properties.proxy_end import ProxyEnd, proxy_ends
from harness.properties.streams import streams
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "service-tracking"
_SHOWN = 4


def judge(facts: Facts) -> list[Verdict]:
    """The findings for every fault that ended a balancer's proxy."""
    return [verdict for end in proxy_ends(facts) for verdict in _judge(end)]


def _judge(end: ProxyEnd) -> list[Verdict]:
    if end.owner is None:
        sentence = f"nobody announced {end.router} when {end.fault} came"
        return [_matter(end).verdict(Status.UNKNOWN, sentence)]
    if not end.hits_owner:
        return [_stays(end)]
    if end.instance is None:
        sentence = f"the configuration of {end.node} is not known, so nothing is promised of its tracking"
        return [_matter(end).verdict(Status.NOT_APPLICABLE, sentence)]
    if not end.noticing:
        return [_untracked(end)]
    if end.heir is None:
        sentence = f"no balancer with a living proxy was left to take {end.router} after {end.fault}"
        return [_matter(end).verdict(Status.NOT_APPLICABLE, sentence)]
    if _over_soon(end):
        return [_forgiven(end)]
    return [_detected(end), _taken(end), *_returned(end)]


def _over_soon(end: ProxyEnd) -> bool:
    """Whether the proxy was well again before anything could have noticed its absence."""
    held = (end.until_ns - end.fault.inject_ns) / 1e9
    return end.fault.heal_ns == end.until_ns and end.detected is not None and held < end.detected.low


def _forgiven(end: ProxyEnd) -> Verdict:
    held = (end.until_ns - end.fault.inject_ns) / 1e9
    source = "" if end.detected is None else end.detected.source
    bound = Bound(0, 0, "takeovers", f"{number(held)} s are too short to count: {source}")
    if end.first is None and _sign(end) is None:
        sentence = f"{end.router} stayed with {end.node}, whose proxy was gone for {number(held)} s only"
        return _matter(end, "detection").verdict(Status.PASS, sentence, 0, bound)
    evidence = tuple(event for event in (_sign(end), end.first) if event is not None)
    sentence = f"{end.node} gave {end.router} up, though its proxy was gone for {number(held)} s only"
    return _matter(end, "detection").verdict(Status.FAIL, sentence, 1, bound, evidence)


def _stays(end: ProxyEnd) -> Verdict:
    """The proxy of a standby ended: nothing may move."""
    bound = Bound(0, 0, "takeovers", f"{end.fault} does not hit the owner {end.owner}")
    if end.first is None:
        sentence = f"{end.router} stayed with {end.owner}, whose proxy lives"
        return _matter(end).verdict(Status.PASS, sentence, 0, bound)
    sentence = f"{speaker_name(end.first)} took {end.router} though {end.fault} does not hit {end.owner}"
    return _matter(end).verdict(Status.FAIL, sentence, 1, bound, (end.first,))


# -- no tracking -----------------------------------------------------------------------------------


def _untracked(end: ProxyEnd) -> Verdict:
    """Nothing can notice: the VIP stays, and what clients lost proves it."""
    fault, router = end.fault, end.router
    why = f"nothing in {end.node}'s keepalived.conf tracks {end.part.service}"
    if end.tracked:
        names = ", ".join(map(str, end.tracked))
        why = f"{names} sees processes end, not hang (keepalived.conf(5))"
    if end.first is not None:
        sentence = f"{speaker_name(end.first)} took {router} after {fault}, though {why}"
        return _matter(end).verdict(Status.FAIL, sentence, evidence=(end.first,))
    asked = [s for s in streams(end.facts) if s.address in router.addresses]
    attempts = [a for s in asked for a in s.attempts if fault.inject_ns <= a.t < end.until_ns]
    lost = [a for a in attempts if a.result != "ok"]
    held = (end.until_ns - fault.inject_ns) / 1e9
    stayed = f"{why}: {router} stayed on {end.node}"
    if not lost:
        told = f"none of {len(attempts)} attempts was lost" if attempts else "no client asked anything"
        return _matter(end).verdict(Status.UNKNOWN, f"{stayed}, but {told}, which proves nothing")
    last = max(lost, key=lambda a: a.t)
    served = [a for a in attempts if a.result == "ok" and a.t > lost[0].t]
    share = f"{len(lost):,} of {len(attempts):,} attempts"
    evidence = (fault.inject, *lost[:_SHOWN], last)
    if served:
        sentence = f"{stayed}, and clients lost {share}, but some were served all the while"
        return _matter(end).verdict(Status.UNKNOWN, sentence, held, evidence=(*evidence, served[0]))
    sentence = f"{stayed}, a black hole for the {number(held)} s of the fault; clients lost {share}"
    return _matter(end).verdict(Status.LIMITATION, sentence, held, evidence=evidence, outright=True)


# -- tracking --------------------------------------------------------------------------------------


def _sign(end: ProxyEnd) -> Event | None:
    """The first advert by which the node tells that it noticed: its farewell, or a lower priority."""
    before = [a for a in end.router.adverts if a.t <= end.fault.inject_ns and speaker_name(a) == end.node]
    usual = before[-1].priority if before else end.router.speakers[end.node].priority
    return next(
        (
            a
            for a in end.router.adverts
            if end.fault.inject_ns < a.t <= end.until_ns
            if speaker_name(a) == end.node and a.priority < usual
        ),
        None,
    )


def _detected(end: ProxyEnd) -> Verdict:
    bound, sign = end.detected, _sign(end)
    assert bound is not None
    names = ", ".join(str(tracking) for tracking, _ in end.noticing)
    if sign is None:
        return _overdue(end, bound, f"{names} on {end.node} did not notice {end.fault}", "detection")
    measured = (sign.t - end.fault.inject_ns) / 1e9
    status, words = weigh(measured, bound, end.facts.lag_s(end.fault.inject_ns, sign.t))
    said = "said goodbye" if sign.priority == 0 else f"lowered its priority to {sign.priority}"
    sentence = f"{end.node} {said} {number(measured)} s after {end.fault}: {words}"
    return _matter(end, "detection").verdict(status, sentence, measured, bound, (end.fault.inject, sign))


def _taken(end: ProxyEnd) -> Verdict:
    fault, router, bound = end.fault, end.router, end.bound
    if bound is None:
        return _too_light(end)
    if end.first is None:
        return _overdue(end, bound, f"nobody took {router} after {fault}", "takeover")
    node = speaker_name(end.first)
    measured = (end.first.t - fault.inject_ns) / 1e9
    evidence = tuple(e for e in (fault.inject, _sign(end), end.first) if e is not None)
    if node in end.facts.without_proxy(end.first.t):
        sentence = f"{node} took {router}, but its own proxy does not serve either"
        return _matter(end, "takeover").verdict(Status.FAIL, sentence, measured, bound, evidence)
    status, words = weigh(measured, bound, end.facts.lag_s(fault.inject_ns, end.first.t))
    sentence = f"{node} took {router} {number(measured)} s after {fault}: {words}"
    return _matter(end, "takeover").verdict(status, sentence, measured, bound, evidence)


def _too_light(end: ProxyEnd) -> Verdict:
    """What is tracked lowers the priority, but not below the heir's: the VIP cannot move."""
    assert end.heir is not None
    owner, heir = end.router.speakers[end.node], end.heir
    left = [f"{t}: {owner.priority} - {t.weight} = {reduced(t, owner)}" for t, _ in end.noticing]
    why = f"{', '.join(left)}, against {heir.priority} of {heir.node}"
    if not heir.preempts:
        why += " with nopreempt"
    if end.first is not None:
        sentence = f"{speaker_name(end.first)} took {end.router} after {end.fault} though it must not: {why}"
        return _matter(end, "takeover").verdict(Status.FAIL, sentence, evidence=(end.first,))
    held = (end.until_ns - end.fault.inject_ns) / 1e9
    sentence = f"{end.router} stayed for {number(held)} s on {end.node}, whose proxy does not serve: {why}"
    return _matter(end, "takeover").verdict(Status.FAIL, sentence, held, evidence=(end.fault.inject,))


def _overdue(end: ProxyEnd, bound: Bound, what: str, aspect: str) -> Verdict:
    """It did not come: a failure if it was waited for long enough."""
    watched = (end.until_ns - end.fault.inject_ns) / 1e9
    patience_s = bound.high + RESOLUTION_S + end.facts.lag_s(end.fault.inject_ns, end.until_ns)
    sentence = f"{what} within {number(watched)} s"
    matter = _matter(end, aspect)
    if watched < patience_s:
        return matter.verdict(Status.UNKNOWN, f"{sentence}, but its time was not over", None, bound)
    return matter.verdict(Status.FAIL, sentence, None, bound, (end.fault.inject,))


# -- the return ------------------------------------------------------------------------------------


def _returned(end: ProxyEnd) -> list[Verdict]:
    """Once the proxy is well again the node takes the address back, if it outranks the heir and preempts."""
    facts, fault, router = end.facts, end.fault, end.router
    if end.first is None or fault.heal_ns is None or fault.healed_ns is None or end.heir is None:
        return []
    returning, owner = router.speakers[end.node], router.speakers[speaker_name(end.first)]
    if returning.preempt_delay_us or returning.rank <= owner.rank:
        return []
    until_ns = facts.until_next_fault(fault)
    back = next((a for a in router.claims(fault.heal_ns, until_ns) if speaker_name(a) == end.node), None)
    promise = regained([tracking for tracking, _ in end.noticing], returning, owner)
    if promise is None:
        return []
    if not returning.preempts:
        return [_keeps_away(end, back, promise, until_ns)]
    late_s = (fault.healed_ns - fault.heal_ns) / 1e9
    bound = promise.wider(high=late_s, why=f"the proxy took up to {number(late_s)} s to start")
    if back is None:
        watched = (until_ns - fault.heal_ns) / 1e9
        sentence = f"{end.node} did not take {router} back within {number(watched)} s after healing"
        enough = watched >= bound.high + RESOLUTION_S + facts.lag_s(fault.heal_ns, until_ns)
        status = Status.FAIL if enough else Status.UNKNOWN
        return [_matter(end, "return").verdict(status, sentence, watched if enough else None, bound)]
    measured = (back.t - fault.heal_ns) / 1e9
    status, words = weigh(measured, bound, facts.lag_s(fault.heal_ns, back.t))
    sentence = f"{end.node} took {router} back {number(measured)} s after healing: {words}"
    return [_matter(end, "return").verdict(status, sentence, measured, bound, (back,))]


def _keeps_away(end: ProxyEnd, back: Event | None, promise: Bound, until_ns: int) -> Verdict:
    """With nopreempt the address stays where it is."""
    bound = Bound(0, 0, "takeovers", f"nopreempt: {end.node} is a backup again and stays one")
    if back is not None:
        sentence = f"{end.node} took {end.router} back in spite of nopreempt"
        return _matter(end, "return").verdict(Status.FAIL, sentence, 1, bound, (back,))
    watched = (until_ns - (end.fault.healed_ns or until_ns)) / 1e9
    status = Status.PASS if watched >= promise.high else Status.UNKNOWN
    sentence = f"{end.router} stayed away from {end.node} for {number(watched)} s after healing: nopreempt"
    return _matter(end, "return").verdict(status, sentence, 0, bound)


def _matter(end: ProxyEnd, aspect: str = "takeover") -> Matter:
    return Matter.of_fault(NAME, end.fault, str(end.router), aspect)
