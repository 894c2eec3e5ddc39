"""client-outage: how long, and how often, clients were refused, against what the takeover may cost.

An attempt is counted at the moment it was due (open loop), so an outage is known to one probe period.
An attempt that was due before the takeover and answered only after it was a victim too: it waited.

What a client loses while the testbed's own processes wake too late to serve anybody says nothing of
the load balancer: see `overload`.
"""

from __future__ import annotations

from collections import Counter

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.haproxy import removal, return_to_service
from harness.properties.facts import SECOND_NS, Facts, FaultSpan
from harness.properties.hearing import cut_off, unpromised
from harness.properties.matter import Matter
from harness.properties.neighbours import refresh_s
from harness.properties.overload import excuse, overloaded
from harness.properties.pools import pool_at
from harness.properties.proxy_end import ProxyEnd, proxy_ends
from harness.properties.quiet import quiet_again
from harness.properties.streams import Outage, Stream, outages, streams
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "client-outage"
_SHOWN = 6
# Faults that cut the owner off from its clients at the very moment.
_UNREACHABLE = (
    "host-crash",
    "host-reboot",
    "kernel-panic",
    "freeze",
    "link-down",
    "link-blocked",
    "link-oneway",
)


def judge(facts: Facts) -> list[Verdict]:
    """Each fault against each stream, then every stream outside all faults."""
    listed = streams(facts)
    during = [
        _during(facts, takeover, stream)
        for takeover in takeovers(facts)
        for stream in listed
        if stream.address in takeover.router.addresses
    ]
    after = [
        verdict
        for takeover in takeovers(facts)
        for stream in listed
        if stream.address in takeover.router.addresses
        if (verdict := _returning(facts, takeover, stream)) is not None
    ]
    return [*during, *after, *(_otherwise(facts, stream) for stream in listed)]


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
    matter = Matter.of_fault(NAME, fault, str(stream), "outage")
    if bound is None:
        untracked = end is not None and end.hits_owner and not end.noticing and bool(lost)
        unserved = not untracked and _unserved(runs, fault, until_ns)
        status = Status.LIMITATION if untracked or unserved else Status.NOT_APPLICABLE
        why = _unbounded(takeover)
        return matter.verdict(
            status, f"{sentence}; {why}", measured, evidence=_evidence(runs), outright=unserved
        )
    status, words = weigh(measured, bound, facts.lag_s(fault.inject_ns, until_ns), resolution=0.0)
    if status is Status.FAIL and (late := overloaded(facts, lost)):
        status, words = Status.UNKNOWN, f"{words}, but {late}"
    if status is Status.FAIL and measured < bound.low and _cut(facts, fault, bound):
        status, words = Status.UNKNOWN, "the run was cut off before its outage could be seen"
    if any(run.to_ns is None for run in runs) and status is Status.PASS:
        status, words = Status.UNKNOWN, "it had not ended when the drill did"
    return matter.verdict(status, f"{sentence}: {words}", measured, bound, _evidence(runs))


def _cut(facts: Facts, fault: FaultSpan, bound: Bound) -> bool:
    """Whether a run that never came to its end was cut off before the bound's own time had passed."""
    ended = facts.timeline.first("phase", name="done") is not None
    return not ended and facts.end_ns - fault.inject_ns < bound.high * SECOND_NS


def _bound(takeover: Takeover, stream: Stream) -> Bound | None:
    """The takeover's bound and one probe period; nothing at all where nothing had to move."""
    if takeover.effect == "open" or takeover.owner is None or takeover.fault.fault == "partition":
        return None
    period_s = stream.period_s
    if not takeover.due and takeover.effect == "parts":
        return None
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
    elsewhere = takeover.owner not in takeover.fault.nodes
    if takeover.fault.fault not in _UNREACHABLE or elsewhere or _goes_on(takeover):
        # The owner still has the address, or serves until it gives it up: the client may see nothing.
        bound = takeover.bound.wider(low=takeover.bound.low, high=period_s, why=why)
        return bound.wider(high=RESOLUTION_S, why=f"VRRP's timers resolve {RESOLUTION_S} s")
    bound = takeover.bound.wider(low=period_s, high=period_s, why=why)
    return bound.wider(low=RESOLUTION_S, high=RESOLUTION_S, why=f"VRRP's timers resolve {RESOLUTION_S} s")


def _goes_on(takeover: Takeover) -> bool:
    """Whether the owner's kernel forwards packets although its processes stand still (IPVS)."""
    config = takeover.facts.configs.get(takeover.owner or "")
    return takeover.fault.fault == "freeze" and config is not None and bool(config.virtual_servers)


def _tracked(end: ProxyEnd, stream: Stream) -> Bound | None:
    """The takeover that a dead proxy must bring about; nothing at all by one that serves nobody."""
    if end.owner is None:
        return None
    if not end.hits_owner:
        return Bound(0, 0, "s", f"{end.fault} does not hit the owner {end.owner}")
    if end.bound is None:
        return None
    period_s = stream.period_s
    healed_ns = end.fault.healed_ns
    held = None if healed_ns is None else (healed_ns - end.fault.inject_ns) / 1e9
    if held is not None and held < end.bound.low:
        return Bound(
            0, held + period_s, "s", f"the proxy was well again after {number(held)} s; one probe period more"
        )
    bound = end.bound.wider(low=period_s, high=period_s, why=f"one probe period {number(period_s)} s more")
    if held is not None and held < end.bound.high:
        bound = bound.wider(low=bound.low, why=f"the proxy was well again after {number(held)} s")
    return bound.wider(low=RESOLUTION_S, high=RESOLUTION_S, why=f"VRRP's timers resolve {RESOLUTION_S} s")


def _unbounded(takeover: Takeover) -> str:
    """Why no takeover bounds the outage."""
    fault, router = takeover.fault, takeover.router
    if fault.fault in ("reload", "restart"):
        return "what it costs is judged as maintenance"
    if fault.fault == "partition":
        return "it depends on the client's own side of the partition"
    if takeover.effect == "open":
        return unpromised(fault) or f"service tracking decides what {fault} does"
    if takeover.effect == "parts":
        return "two nodes have the address, and it depends on which of them the client believes"
    if takeover.owner is None:
        return f"nobody announced {router} when it came"
    if not set(fault.nodes) & set(router.speakers):
        return "no takeover bounds it, as it hit no balancer"
    if not takeover.due:
        what = " and ".join(fault.services_on(takeover.owner)) or fault.interface
        why = f"nothing tracks {what} there" if what else "its adverts come in time"
        return f"{why}, so nothing moves {router} away from it"
    return "no balancer was left to take over"


def _returning(facts: Facts, takeover: Takeover, stream: Stream) -> Verdict | None:
    """The second outage: what clients lose when the old owner comes back; None where the VIP never moved."""
    fault, owner = takeover.fault, takeover.owner
    moved = takeover.effect == "parts" or (takeover.due and takeover.first is not None)
    if not moved or fault.heal_ns is None or owner is None:
        return None
    end_ns = facts.next_fault_after(fault.heal_ns)
    runs = outages(stream, fault.heal_ns, end_ns)
    measured = max((run.seconds(stream.end_ns) for run in runs), default=0.0)
    lost = [a for a in stream.lost(fault.heal_ns, end_ns) if a.t >= fault.heal_ns]
    bound = Bound(0, 0, "s", f"{owner} does not take it back, and clients are served all the while")
    if any(a.node == owner for a in takeover.router.claims(fault.heal_ns, end_ns)):
        interval_s = takeover.router.speakers[owner].advert_interval_us / 1e6
        refresh = refresh_s(takeover)
        high = interval_s + refresh + stream.period_s + RESOLUTION_S
        why = f"the VIP and the neighbours' caches move within an advertisement, {number(interval_s)} s"
        why += f", or garp_master_refresh, {number(refresh)} s" if refresh else ""
        why += f"; one probe period {number(stream.period_s)} s; VRRP's timers resolve {RESOLUTION_S} s"
        bound = Bound(0, high, "s", why)
    status, words = weigh(measured, bound, facts.lag_s(fault.heal_ns, end_ns), resolution=0.0)
    if status is Status.FAIL and (late := overloaded(facts, lost)):
        status, words = Status.UNKNOWN, f"{words}, but {late}"
    if status is Status.FAIL and (empty := _memberless(takeover, stream)) is not None:
        again, words = weigh(measured, bound.wider(high=empty.high, why=empty.source), resolution=0.0)
        if again is Status.PASS:
            status, bound = Status.LIMITATION, bound.wider(high=empty.high, why=empty.source)
            words = f"{owner} had the VIP back before its checks had found its members again"
            words += " (preempt_delay, or a script that asks for members, would wait)"
    sentence = (
        f"{stream.client} lost {len(lost)} attempts{_causes(lost)} from the healing of {fault} on; "
        f"its longest outage was {number(measured)} s: {words}"
    )
    matter = Matter.of_fault(NAME, fault, str(stream), "healing")
    return matter.verdict(status, sentence, measured, bound, _evidence(runs))


def _memberless(takeover: Takeover, stream: Stream) -> Bound | None:
    """How long a proxy that was cut off from all its members needs to ask them again; None if it was not."""
    fault, owner, facts = takeover.fault, takeover.owner, takeover.facts
    if owner is None or owner not in cut_off(fault, takeover.router.speakers) or fault.heal_ns is None:
        return None
    pool = pool_at(facts, owner, int(stream.target.rpartition(":")[2]), fault.inject_ns)
    check = next((s.check for s in pool.servers if s.check is not None), None) if pool is not None else None
    gone = None if check is None else removal(check, "black-hole")
    if check is None or gone is None or (fault.heal_ns - fault.inject_ns) / 1e9 < gone.low:
        return None
    return return_to_service(check, "black-hole")


def _unserved(runs: list[Outage], fault: FaultSpan, until_ns: int) -> bool:
    """Whether a client was without service to the end of the fault, and for most of it."""
    if not runs or (runs[-1].to_ns is not None and runs[-1].to_ns < until_ns):
        return False
    return until_ns - runs[-1].from_ns > (until_ns - fault.inject_ns) / 2


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
    if steady is not None and facts.timeline.first("phase", name="done") is None:
        # A run that did not come to its end was taken down under its clients.
        attempts = [a for a in attempts if a.end < facts.end_ns - SECOND_NS]
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
    matter = Matter.of_run(NAME, facts, str(stream), "without a fault")
    return matter.verdict(status, sentence, measured, bound, tuple(lost[:_SHOWN]))


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
