"""client-outage: how long, and how often, clients were refused, against what the takeover may cost.

An attempt is counted at the moment it was due (open loop), so an outage is known to one probe period.
An attempt that was due before the takeover and answered only after it was a victim too: it waited.

What a client loses while the testbed's own processes wake too late to serve anybody says nothing of
the load balancer: see `overload`.
"""

from __future__ import annotations

from collections import Counter

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.properties.facts import Facts, FaultSpan
from harness.properties.overload import excuse, overloaded
from harness.properties.proxy_end import ProxyEnd, proxy_ends
from harness.properties.quiet import quiet_again
from harness.properties.streams import Outage, Stream, outages, streams
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "client-outage"
_SHOWN = 6


def judge(facts: Facts) -> list[Verdict]:
    """Each fault against each stream, then every stream outside all faults."""
    listed = streams(facts)
    during = [
        _during(facts, takeover, stream)
        for takeover in takeovers(facts)
        for stream in listed
        if stream.address in takeover.router.addresses
    ]
    return during + [_otherwise(facts, stream) for stream in listed]


def _during(facts: Facts, takeover: Takeover, stream: Stream) -> Verdict:
    fault = takeover.fault
    until_ns = _window_end(facts, fault)
    moved_ns = takeover.first.t if takeover.first is not None and takeover.due else None
    runs = outages(stream, fault.inject_ns, until_ns, moved_ns)
    measured = max((run.seconds(stream.end_ns) for run in runs), default=0.0)
    lost = stream.lost(fault.inject_ns, until_ns)
    sentence = (
        f"{stream.client} lost {len(lost)} attempts{_causes(lost)} after {fault}; "
        f"its longest outage was {number(measured)} s"
    )
    end = next(
        (e for e in proxy_ends(facts) if e.fault is fault and str(e.router) == str(takeover.router)), None
    )
    bound = _bound(takeover, stream) if end is None else _tracked(end, stream)
    if bound is None:
        unserved = end is not None and end.hits_owner and not end.noticing and bool(lost)
        status = Status.LIMITATION if unserved else Status.NOT_APPLICABLE
        why = _unbounded(takeover)
        return _verdict(stream, fault, status, f"{sentence}; {why}", measured, evidence=_evidence(runs))
    status, words = weigh(measured, bound, facts.lag_s(fault.inject_ns, until_ns), resolution=0.0)
    if status is Status.FAIL and (late := overloaded(facts, lost)):
        status, words = Status.UNKNOWN, f"{words}, but {late}"
    if any(run.to_ns is None for run in runs) and status is Status.PASS:
        status, words = Status.UNKNOWN, "it had not ended when the drill did"
    return _verdict(stream, fault, status, f"{sentence}: {words}", measured, bound, _evidence(runs))


def _bound(takeover: Takeover, stream: Stream) -> Bound | None:
    """The takeover's bound and one probe period; nothing at all where nothing had to move."""
    if takeover.effect == "open" or takeover.owner is None:
        return None
    period_s = stream.period_s
    if not takeover.due:
        others = set(takeover.router.speakers) - {takeover.owner}
        if not set(takeover.fault.nodes) <= others:
            # A member, or a service of the owner that its VIP does not depend on.
            return None
        return Bound(0, 0, "s", f"{takeover.fault} does not end the owner {takeover.owner}")
    if takeover.bound is None:
        return None
    if takeover.ends_early and takeover.fault.heal_ns is not None:
        held = (takeover.fault.heal_ns - takeover.fault.inject_ns) / 1e9
        return Bound(
            0, held + period_s, "s", f"the owner was frozen for {number(held)} s; one probe period more"
        )
    why = f"one probe period {number(period_s)} s more"
    if takeover.fault.fault not in ("host-crash", "freeze", "link-down"):
        # The node still has the address, or serves until it gives it up: the client may see nothing.
        bound = takeover.bound.wider(low=takeover.bound.low, high=period_s, why=why)
        return bound.wider(high=RESOLUTION_S, why=f"VRRP's timers resolve {RESOLUTION_S} s")
    bound = takeover.bound.wider(low=period_s, high=period_s, why=why)
    return bound.wider(low=RESOLUTION_S, high=RESOLUTION_S, why=f"VRRP's timers resolve {RESOLUTION_S} s")


def _tracked(end: ProxyEnd, stream: Stream) -> Bound | None:
    """The takeover that a dead proxy must bring about; nothing at all by one that serves nobody."""
    if end.owner is None:
        return None
    if not end.hits_owner:
        return Bound(0, 0, "s", f"{end.fault} does not hit the owner {end.owner}")
    if end.bound is None:
        return None
    period_s = stream.period_s
    bound = end.bound.wider(low=period_s, high=period_s, why=f"one probe period {number(period_s)} s more")
    return bound.wider(low=RESOLUTION_S, high=RESOLUTION_S, why=f"VRRP's timers resolve {RESOLUTION_S} s")


def _unbounded(takeover: Takeover) -> str:
    """Why no takeover bounds the outage."""
    fault, router = takeover.fault, takeover.router
    if fault.fault in ("reload", "restart"):
        return "what it costs is judged as maintenance"
    if takeover.effect == "open":
        return f"service tracking decides what {fault} does"
    if takeover.owner is None:
        return f"nobody announced {router} when it came"
    if not set(fault.nodes) & set(router.speakers):
        return "no takeover bounds it, as it hit no balancer"
    if not takeover.due:
        return (
            f"nothing tracks {fault.service or fault.interface} there, so nothing moves {router} away from it"
        )
    return "no balancer was left to take over"


def _window_end(facts: Facts, fault: FaultSpan) -> int:
    """A fault's consequences reach until it is healed, or the next one begins."""
    end_ns = facts.until_next_fault(fault)
    return end_ns if fault.heal_ns is None else min(end_ns, fault.heal_ns)


def _otherwise(facts: Facts, stream: Stream) -> Verdict:
    """No attempt may be lost while nothing is wrong: steady, before the first fault, and once all is healed.

    Healing may move the address back, which is fail-back's business, so the time in which it may do
    that is left out.
    """
    spans = [(f.inject_ns, quiet_again(facts, f)) for f in facts.faults]
    steady = facts.timeline.first("phase", name="steady")
    attempts = [a for a in stream.attempts if steady is None or a.t >= steady.t]
    lost = [
        a
        for a in attempts
        if a.result != "ok" and not any(a.end >= start and a.t < end for start, end in spans)
    ]
    measured = len(lost)
    bound = Bound(0, 0, "attempts", "nothing is wrong outside the faults and their healing")
    sent = len(attempts)
    sentence = f"{stream.client} lost {measured} of {sent} attempts{_causes(lost)} while nothing was wrong"
    status = Status.FAIL if lost else Status.PASS
    if late := excuse(facts, lost):
        status, sentence = Status.UNKNOWN, f"{sentence}, but {late}"
    return Verdict(
        NAME,
        status,
        sentence,
        measured,
        bound,
        "attempts",
        tuple(lost[:_SHOWN]),
        aspect="without a fault",
        subject=f"{stream.client} to {stream.target}",
        origin_ns=facts.faults[0].inject_ns if facts.faults else None,
    )


def _causes(lost: list[Event]) -> str:
    counted = Counter(attempt.result for attempt in lost)
    listed = ", ".join(f"{count} {cause}" for cause, count in sorted(counted.items()))
    return f" ({listed})" if listed else ""


def _evidence(runs: list[Outage]) -> tuple[Event | str, ...]:
    """The edges of the longest outage."""
    if not runs:
        return ()
    longest = max(runs, key=lambda run: (run.to_ns or run.lost[-1].end) - run.from_ns)
    if len(longest.lost) <= _SHOWN:
        return longest.lost
    between = f"… {len(longest.lost) - _SHOWN} more like these …"
    return (*longest.lost[: _SHOWN // 2], between, *longest.lost[-(_SHOWN // 2) :])


def _verdict(
    stream: Stream,
    fault: FaultSpan,
    status: Status,
    sentence: str,
    measured: float,
    bound: Bound | None = None,
    evidence: tuple[Event | str, ...] = (),
) -> Verdict:
    return Verdict(
        property=NAME,
        status=status,
        sentence=sentence,
        measured=measured,
        bound=bound,
        evidence=evidence,
        aspect="outage",
        subject=f"{stream.client} to {stream.target}",
        origin_ns=fault.inject_ns,
        fault=fault.id,
    )
