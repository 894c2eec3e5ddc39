"""maintenance: reloading, restarting and draining, which clients should not notice.

A reload of a proxy hands its listening sockets over (HAProxy's management guide, section 4;
nginx.org/en/docs/control.html), so no request may be lost.  A reload of keepalived touches no address that
both configurations have.  A restart closes the proxy's listeners for a while: what that costs is told as the
limitation that it is.  A member that drains says so before it stops, and must lose nothing if it waits.
IPVS with a hash by source (sh, mh) goes on choosing a member whose weight is 0, in vain.
"""

from __future__ import annotations

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.haproxy import removal
from harness.bounds.tracking import detection, trackings
from harness.properties.facts import Facts, FaultSpan, VirtualRouter, speaker_name
from harness.properties.illness import grace_s
from harness.properties.in_force import PROXIES, keepalived_at
from harness.properties.matter import Matter
from harness.properties.member_removal import balancer_of
from harness.properties.overload import excuse
from harness.properties.pools import pool_at
from harness.properties.streams import Stream, streams
from harness.timeline import Event
from harness.verdict import Status, Verdict

NAME = "maintenance"
_SHOWN = 6
_KINDS = ("reload", "restart")


def judge(facts: Facts) -> list[Verdict]:
    """The findings for every reload, restart and drain."""
    members = {node["name"] for node in facts.timeline.run.nodes if node["role"] == "member"}
    found: list[Verdict] = []
    for fault in facts.faults:
        if fault.fault in _KINDS:
            if fault.fault == "reload" or any(part.service in PROXIES for part in fault.parts):
                found += [_requests(facts, fault, stream) for stream in streams(facts)]
            found += [v for router in facts.routers_at(fault.inject_ns) for v in _vip(facts, fault, router)]
        elif fault.fault == "drain":
            found += [v for stream in streams(facts) for v in _taken_out(facts, fault, stream)]
        elif fault.fault == "stop" and set(fault.nodes) & members:
            found += [v for stream in streams(facts) for v in _drained(facts, fault, stream)]
    return found


def _until_ns(facts: Facts, fault: FaultSpan) -> int:
    """A reload's healing is another reload, which clients must not notice either."""
    return facts.until_next_fault(fault)


def _requests(facts: Facts, fault: FaultSpan, stream: Stream) -> Verdict:
    lost = stream.lost(fault.inject_ns, _until_ns(facts, fault))
    asked = [a for a in stream.attempts if fault.inject_ns <= a.t < _until_ns(facts, fault)]
    sentence = f"{stream.client} lost {len(lost)} of {len(asked)} attempts from {fault} on"
    matter = _matter(fault, stream)
    bound = Bound(0, 0, "attempts", "a reload keeps the listening sockets open throughout")
    own = [r for r in facts.routers_at(fault.inject_ns) if stream.address in r.addresses]
    if fault.fault == "reload" and any(_moves(facts, fault, router) for router in own):
        why = "the new configuration gives the address up, so that it moves"
        return matter.verdict(Status.NOT_APPLICABLE, f"{sentence}: {why}", len(lost))
    if fault.fault == "reload" and fault.parameters.get("handover") == "no":
        owner = balancer_of(facts, stream.address, fault.inject_ns)
        if set(fault.services_on(owner)) & set(PROXIES) and lost:
            why = "the old process's sockets are not handed over: who waits in their queue is reset"
            return matter.verdict(
                Status.LIMITATION, f"{sentence}: {why}", len(lost), None, tuple(lost[:_SHOWN])
            )
        bound = Bound(0, 0, "attempts", "nobody waited in the queue of the old process's sockets")
    if fault.fault == "restart":
        owner = balancer_of(facts, stream.address, fault.inject_ns)
        if owner in fault.nodes and lost:
            why = "between its stop and its start nothing listens: the sockets are not handed over"
            return matter.verdict(
                Status.LIMITATION, f"{sentence}: {why}", len(lost), None, tuple(lost[:_SHOWN])
            )
        bound = Bound(0, 0, "attempts", f"{fault} is not noticed by clients")
    if not asked:
        return matter.verdict(Status.UNKNOWN, f"{stream.client} asked nothing during {fault}")
    late = excuse(facts, lost) or stream.ailing(fault.inject_ns)
    status = (Status.UNKNOWN if late else Status.FAIL) if lost else Status.PASS
    sentence += f", but {late}" if late else ""
    return matter.verdict(status, sentence, len(lost), bound, tuple(lost[:_SHOWN]))


def _vip(facts: Facts, fault: FaultSpan, router: VirtualRouter) -> list[Verdict]:
    """The address stays with its owner: no other node announces it, nobody removes it."""
    owner = router.owner_at(fault.inject_ns)
    if owner is None or (fault.fault == "restart" and "keepalived" in fault.services_on(owner)):
        return []
    if _moves(facts, fault, router):
        return []
    end_ns = _until_ns(facts, fault)
    kept = _held(router, owner)
    for later in facts.routers_at(end_ns):
        if later.same(router):
            kept &= _held(later, owner)
    other = next((a for a in router.claims(fault.inject_ns, end_ns) if speaker_name(a) != owner), None)
    removed = [
        e
        for e in facts.timeline.of("address", since=fault.inject_ns, until=end_ns, node=owner, change="del")
        if e.address.partition("/")[0] in kept
    ]
    left = [a for a in router.adverts if fault.inject_ns < a.t <= end_ns and a.priority == 0]
    matter = _matter(fault, router, "vip")
    signs: list[Event] = [*([other] if other else []), *removed, *left]
    if signs and (noticed := _noticed(facts, fault, router, owner, min(sign.t for sign in signs))):
        sentence = f"{router} left {owner} in the course of {fault}: {noticed}"
        return [matter.verdict(Status.LIMITATION, sentence, None, None, tuple(signs))]
    bound = Bound(0, 0, "transitions", f"{fault} changes nothing about {', '.join(sorted(kept))}")
    sentence = f"{router} stayed with {owner} throughout {fault}"
    if signs:
        sentence = f"{router} did not stay with {owner} throughout {fault}"
    status = Status.FAIL if signs else Status.PASS
    return [matter.verdict(status, sentence, len(signs), bound, tuple(signs[:_SHOWN]))]


def _noticed(facts: Facts, fault: FaultSpan, router: VirtualRouter, owner: str, left_ns: int) -> str:
    """Why the owner's tracking could notice by then that its proxy was gone for a while, or nothing.

    A check that began while it was gone may take its time-out to fail.
    """
    config = keepalived_at(facts.timeline, owner, fault.inject_ns)
    if fault.fault != "restart" or owner not in fault.nodes or owner not in router.instances or not config:
        return ""
    service = " and ".join(fault.services_on(owner))
    ready = facts.timeline.first("service", state="ready", node=owner, service=service, since=fault.inject_ns)
    gone_s = ((facts.end_ns if ready is None else ready.t) - fault.inject_ns) / 1e9
    for tracking in trackings(router.instances[owner], config):
        bound = detection(tracking, hung=False)
        patience_s = 0.0 if tracking.script is None else tracking.script.timeout_us / 1e6
        left_s = (left_ns - fault.inject_ns) / 1e9
        if bound is not None and gone_s >= bound.low and left_s <= gone_s + patience_s + RESOLUTION_S:
            return (
                f"{service} was gone for {number(gone_s)} s, which {tracking} notices after "
                f"{number(bound.low)} to {number(bound.high)} s ({bound.source})"
            )
    return ""


def _moves(facts: Facts, fault: FaultSpan, router: VirtualRouter) -> bool:
    """Whether its owner's new configuration gives a virtual router up; vip-migration tells the cost."""
    return router.owner_at(fault.inject_ns) in facts.silenced_by(fault, router)


def _held(router: VirtualRouter, node: str) -> set[str]:
    """The addresses that a node's own configuration gives a virtual router."""
    instance = router.instances.get(node)
    return set(router.addresses) if instance is None else {a.address for a in instance.addresses}


def _taken_out(facts: Facts, fault: FaultSpan, stream: Stream) -> list[Verdict]:
    """A member that balancers take out of rotation: nothing is lost, and it gets no new connection."""
    end_ns = min(facts.until_next_fault(fault), fault.heal_ns or facts.end_ns)
    lost = stream.lost(fault.inject_ns, end_ns)
    late = excuse(facts, lost) or stream.ailing(fault.inject_ns)
    status = (Status.UNKNOWN if late else Status.FAIL) if lost else Status.PASS
    sentence = f"{stream.client} lost {len(lost)} attempts while {', '.join(fault.nodes)} drained"
    if lost and (why := _chosen_in_vain(facts, fault, stream)):
        status, sentence = Status.LIMITATION, f"{sentence}: {why}"
    sentence += f", but {late}" if late and lost else ""
    bound = Bound(0, 0, "attempts", "connections that there are go on, new ones go to other members")
    matter = _matter(fault, stream, "drain")
    found = [matter.verdict(status, sentence, len(lost), bound, tuple(lost[:_SHOWN]))]
    if fault.effective_ns is None:
        return found
    # An attempt is given to a member at some time between its start and its end.
    new = [a for a in stream.attempts if fault.effective_ns <= a.get("start", a.t) and a.end < end_ns]
    strays = [a for a in new if a.result == "ok" and a.member in fault.nodes]
    sentence = (
        f"{', '.join(fault.nodes)} got {len(strays)} of {len(new)} new connections of {stream.client} "
        "while it drained"
    )
    bound = Bound(
        0,
        0,
        "attempts",
        "a member in drain gets no new connection (HAProxy's management guide, 9.3; weight 0 in ipvsadm(8))",
    )
    status = Status.FAIL if strays else Status.PASS if new else Status.UNKNOWN
    matter = _matter(fault, stream, "rotation")
    return [*found, matter.verdict(status, sentence, len(strays), bound, tuple(strays[:_SHOWN]))]


def _chosen_in_vain(facts: Facts, fault: FaultSpan, stream: Stream) -> str:
    """Why a member with weight 0 may be chosen all the same, or nothing.

    ip_vs_sh.c and ip_vs_mh.c: without fallback, a client whose place in the table is such a member's
    gets no member at all.
    """
    owner = balancer_of(facts, stream.address, fault.inject_ns)
    port = int(stream.target.rpartition(":")[2])
    pool = None if owner is None else pool_at(facts, owner, port, fault.inject_ns)
    if pool is None or pool.virtual is None or pool.algorithm not in ("sh", "mh"):
        return ""
    if any(flag.endswith("-fallback") for flag in pool.virtual.flags):
        return ""
    return (
        f"lvs_sched {pool.algorithm} without {pool.algorithm}-fallback chooses it still, and refuses instead"
    )


def _drained(facts: Facts, fault: FaultSpan, stream: Stream) -> list[Verdict]:
    """A member that shuts down in order: it fails its readiness, serves on for a while, then stops."""
    port = int(stream.target.rpartition(":")[2])
    owner = balancer_of(facts, stream.address, fault.inject_ns)
    pool = None if owner is None else pool_at(facts, owner, port, fault.inject_ns)
    server = next((s for s in pool.servers if s.member in fault.nodes), None) if pool is not None else None
    if pool is None or server is None:
        return []
    end_ns = min(facts.until_next_fault(fault), fault.heal_ns or facts.end_ns)
    lost = stream.lost(fault.inject_ns, end_ns)
    serves_s = grace_s(facts, fault, server.member)
    check = server.check
    ready = check is not None and check.kind == "http"
    needs = removal(check, "wrong-answer", pool.spread_percent) if check is not None and ready else None
    sentence = (
        f"{stream.client} lost {len(lost)} attempts while {server.member} drained, which served on for "
        f"{number(serves_s)} s"
    )
    bound = Bound(0, 0, "attempts", "it is out of rotation before it stops to serve")
    matter = _matter(fault, stream, "drain")
    if lost and (needs is None or serves_s < needs.high):
        why = "no check asks for its readiness"
        if needs is not None:
            why = f"its removal may take {number(needs.high)} s ({needs.source})"
        return [
            matter.verdict(Status.LIMITATION, f"{sentence}; {why}", len(lost), None, tuple(lost[:_SHOWN]))
        ]
    status = Status.FAIL if lost else Status.PASS
    return [matter.verdict(status, sentence, len(lost), bound, tuple(lost[:_SHOWN]))]


def _matter(fault: FaultSpan, about: Stream | VirtualRouter, aspect: str = "requests") -> Matter:
    return Matter.of_fault(NAME, fault, str(about), aspect, unit="attempts")
