"""flow-survival: does a long-lived connection outlive the fault; if not, when is it made anew?

A connection through a proxy lives in that proxy.  It cannot outlive a takeover, nor the member that it
was passed to: that limitation is told as such where it is met.  Everything else (the standby's end,
another member's, a reload, a reduced pool) it must survive.  One through IPVS is its member's, and outlives
a takeover if the next director was told of it.  Flows of UDP are another matter (`udp_flows`).
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.bounds import checkers
from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.checkers import has_quorum
from harness.bounds.haproxy import removal
from harness.properties.facts import Facts, FaultSpan, VirtualRouter
from harness.properties.illness import ailment, no_illness, weight_of_the_well
from harness.properties.in_force import PROXIES
from harness.properties.ipvs_flows import by_udp, inheritance, patience_s
from harness.properties.matter import Matter
from harness.properties.overload import excuse
from harness.properties.pools import Pool, pool_at
from harness.properties.proxy_end import proxy_ends
from harness.properties.streams import Stream, streams
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "flow-survival"
_SHOWN = 6
# Faults that touch neither proxy nor member, but what clients believe of the address.
_MISLEADING = ("arp-spoof", "garp-drop")


@dataclass(frozen=True)
class Break:
    """The end of a long-lived connection: its first lost exchange, and the next good one, if any came."""

    first: Event
    again: Event | None

    @property
    def seconds(self) -> float | None:
        """From the first lost exchange due until the first good one due after it."""
        return None if self.again is None else (self.again.t - self.first.t) / 1e9


def breaks(stream: Stream, since_ns: int, until_ns: int, *, stalls: bool = True) -> list[Break]:
    """The ends of a connection in a window: a run of lost exchanges, or one that had to connect anew.

    Without `stalls` a run after which the same connection went on is none: its packets came too late only.
    """
    found: list[Break] = []
    first: Event | None = None
    anew = False
    for exchange in stream.attempts:
        if exchange.end < since_ns:
            continue
        if exchange.t >= until_ns and first is None:
            break
        if exchange.result != "ok":
            first = first or exchange
            anew = anew or bool(exchange.get("reconnected")) or exchange.result != "timeout"
        elif first is not None:
            if stalls or anew or exchange.get("reconnected"):
                found.append(Break(first, exchange))
            first, anew = None, False
        elif exchange.get("reconnected"):
            found.append(Break(exchange, exchange))
    if first is not None:
        found.append(Break(first, None))
    return found


def judge(facts: Facts) -> list[Verdict]:
    """Each fault against each long-lived connection."""
    return [
        verdict
        for fault in facts.faults
        for stream in streams(facts, "long")
        if not by_udp(facts, stream)
        for verdict in _judge(facts, fault, stream)
    ]


def _judge(facts: Facts, fault: FaultSpan, stream: Stream) -> list[Verdict]:
    routers = [r for r in facts.routers_at(fault.inject_ns) if stream.address in r.addresses]
    if not routers:
        return []
    until_ns = facts.until_next_fault(fault)
    if fault.heal_ns is not None:
        until_ns = min(until_ns, fault.heal_ns)
    cause, promise = _cause(facts, fault, stream, routers[0])
    patient = patience_s(facts, stream.client) is not None
    seen = breaks(stream, fault.inject_ns, until_ns, stalls=not patient)
    if len(seen) > 1 and fault.heal_ns is not None and seen[-1].first.end >= fault.heal_ns:
        # What was under way when healing began may have ended with the address's way back.
        seen.pop()
    matter = Matter.of_fault(NAME, fault, str(stream), "continuity", unit="breaks")
    if cause is None:
        why = f"nothing is promised of connections under {fault}"
        sentence = f"{stream.client}'s connection broke {_times(seen)}; {why}"
        return [matter.verdict(Status.NOT_APPLICABLE, sentence, evidence=_edges(seen))]
    bound = Bound(
        0, 1 if cause else 0, "breaks", cause or f"{fault} touches neither its balancer nor its member"
    )
    count = f"{stream.client}'s connection broke {_times(seen)} after {fault}"
    if not cause:
        late = excuse(facts, [b.first for b in seen]) or stream.ailing(fault.inject_ns)
        status = (Status.UNKNOWN if late else Status.FAIL) if seen else Status.PASS
        sentence = f"{count}, but {late}" if late else count
        return [matter.verdict(status, sentence, len(seen), bound, _edges(seen))]
    if not seen:
        sentence = f"{stream.client}'s connection outlived {fault}"
        return [matter.verdict(Status.PASS, sentence, 0, bound)]
    # What restarts a service heals itself: the address goes away and comes back.
    owner = routers[0].owner_at(fault.inject_ns)
    moves = 2 if fault.fault == "restart" and "keepalived" in fault.services_on(owner) else 1
    if owner is not None and _stood_in(facts, fault, stream, owner):
        # Its member dies, and the one that it has then is taken out with all others.
        moves = 2
    if (pool := _pool(facts, fault, stream, owner)) is not None:
        # Members that end one after the other may each have had it, before their balancer ends as well.
        hit = [s for s in pool.servers if s.member in fault.nodes]
        moves += len(hit) if owner in fault.nodes else max(len(hit) - 1, 0)
    status = Status.LIMITATION if len(seen) <= moves else Status.FAIL
    sentence = f"{count}: {cause}"
    promised = Bound(0, moves, "breaks", cause) if status is Status.FAIL else None
    verdicts = [matter.verdict(status, sentence, len(seen), promised, _edges(seen))]
    return verdicts if promise is None else [*verdicts, _again(facts, fault, stream, seen, promise)]


def _cause(
    facts: Facts, fault: FaultSpan, stream: Stream, router: VirtualRouter
) -> tuple[str | None, Bound | None]:
    """Why a connection must end ("" where it must not, None where that is not known), and for how long."""
    if fault.fault in _MISLEADING:
        return None, None
    move = next((t for t in takeovers(facts) if t.fault is fault and str(t.router) == str(router)), None)
    if move is not None and move.effect == "parts":
        # Of two owners each connection has the one that its client's neighbour cache tells, by turns.
        return None, None
    ends = [e for e in proxy_ends(facts) if e.fault is fault and str(e.router) == str(router)]
    end = next((e for e in ends if e.hits_owner), None)
    if end is not None:
        how = "hangs in it" if end.part.hangs else "ends with it"
        return f"a connection through the proxy of {end.node} {how}", end.bound
    if move is not None and move.due and not move.ends_early:
        pool = _ipvs_pool(facts, fault, stream, move.owner)
        if pool is not None:
            return _inherited(facts, fault, stream, pool, move)
        return f"a connection through the proxy of {move.owner} cannot follow the VIP to another", move.bound
    owner = router.owner_at(fault.inject_ns)
    if set(fault.services_on(owner)) & set(PROXIES):
        return ("", None) if fault.fault == "reload" else ("its proxy is started anew", None)
    if owner in fault.nodes:
        if fault.fault == "freeze" and fault.healed_ns is not None:
            held = (fault.healed_ns - fault.inject_ns) / 1e9
            why = f"{owner} stood still for {number(held)} s, and a client waits for no answer so long"
            return why, None
        harmless = fault.fault == "reload" or (move is not None and move.due and move.ends_early)
        return ("", None) if harmless else (None, None)
    if set(fault.nodes) <= set(router.speakers):
        by_chance = move is not None and move.effect == "open" and move.first is not None
        return (None, None) if by_chance else ("", None)
    return _of_member(facts, fault, stream, owner)


def _pool(facts: Facts, fault: FaultSpan, stream: Stream, owner: str | None) -> Pool | None:
    """The pool that a connection belongs to when a fault comes."""
    port = int(stream.target.rpartition(":")[2])
    return None if owner is None else pool_at(facts, owner, port, fault.inject_ns)


def _ipvs_pool(facts: Facts, fault: FaultSpan, stream: Stream, owner: str | None) -> Pool | None:
    """The pool that a connection belongs to, where its owner forwards packets."""
    pool = _pool(facts, fault, stream, owner)
    return pool if pool is not None and pool.virtual is not None else None


def _inherited(
    facts: Facts, fault: FaultSpan, stream: Stream, pool: Pool, move: Takeover
) -> tuple[str | None, Bound | None]:
    """What the next director makes of a connection."""
    if move.heir is None:
        return None, None
    found = inheritance(facts, pool, move.heir.node, stream, fault.inject_ns)
    if found.survives is None:
        return None, None
    return ("", None) if found.survives else (found.why, move.bound)


def _of_member(
    facts: Facts, fault: FaultSpan, stream: Stream, owner: str | None
) -> tuple[str | None, Bound | None]:
    """The connection ends with the member that it was passed to, and with no other."""
    before = [a for a in stream.attempts if a.end < fault.inject_ns and a.result == "ok"]
    if not before or owner is None:
        return None, None
    if fault.fault != "drain" and no_illness(fault):
        return None, None
    member = str(before[-1].member)
    if member not in fault.nodes:
        members = {n["name"] for n in facts.timeline.run.nodes if n["role"] == "member"}
        if why := _stood_in(facts, fault, stream, owner):
            return why, None
        return ("", None) if set(fault.nodes) <= members else (None, None)
    if fault.fault == "drain":
        # HAProxy's management guide, 9.3 ("drain"); ipvsadm(8), --weight: a quiescent server.
        return "", None
    pool = _pool(facts, fault, stream, owner)
    server = None if pool is None else pool.server(member)
    ill = None if server is None else ailment(facts, fault, server)
    if pool is None or server is None or ill is None:
        return None, None
    if ill.traffic is None and not (server.closes_sessions and ill.check is not None):
        return "", None
    if not _others_serve(facts, pool, fault):
        return f"a connection passed to {member} ends with it, and nobody is left to take its place", None
    if server.real is not None:
        return f"a connection passed to {member} ends with it", checkers.removal_by(list(ill.noticed))
    promise = None
    stays = fault.fault == "backend-status" and not server.closes_sessions
    if server.check is not None and ill.check is not None and not stays:
        promise = removal(server.check, ill.check, pool.spread_percent)
    return f"a connection passed to {member} ends with it", promise


def _others_serve(facts: Facts, pool: Pool, fault: FaultSpan) -> bool:
    """Whether somebody is left to pass a connection to, that neither this fault hits nor another."""
    if pool.virtual is not None and pool.virtual.sorry_server is not None:
        return True
    acting = [f for f in facts.faults if f is fault or f.acts_at(fault.inject_ns)]
    hit = {node for each in acting for node in each.nodes}
    return any(s.weight and s.member not in hit for s in pool.servers)


def _stood_in(facts: Facts, fault: FaultSpan, stream: Stream, owner: str) -> str:
    """Why a fault of other members ends a connection: the sorry server takes all of their places."""
    pool = _ipvs_pool(facts, fault, stream, owner)
    if pool is None or pool.virtual is None or pool.virtual.sorry_server is None:
        return ""
    left = weight_of_the_well(facts, pool, fault.inject_ns)
    if has_quorum(pool.virtual, left, had=True):
        return ""
    return f"without quorum {owner} forwards to none of its members (ipwrapper.c, perform_quorum_state)"


def _again(facts: Facts, fault: FaultSpan, stream: Stream, seen: list[Break], promise: Bound) -> Verdict:
    """How long the client had no connection: no longer than new ones fail, and its own patience."""
    period_s = stream.period_s
    lost = [a for a in stream.attempts if a.result != "ok"]
    patient_s = max(((a.end - a.t) / 1e9 for a in lost), default=0.0)
    patient_s = max(patience_s(facts, stream.client) or 0.0, patient_s)
    why = (
        f"the client gives a silent connection up after {number(patient_s)} s, and asks every "
        f"{number(period_s)} s"
    )
    bound = Bound(0, promise.high + RESOLUTION_S, "s", promise.source).wider(
        high=2 * patient_s + 2 * period_s, why=why
    )
    matter = Matter.of_fault(NAME, fault, str(stream), "reconnect")
    if any(b.again is None for b in seen):
        sentence = f"{stream.client}'s connection was not made anew before the end"
        return matter.verdict(Status.UNKNOWN, sentence, None, bound, _edges(seen))
    measured = max(b.seconds or 0.0 for b in seen)
    last = max(b.again.t for b in seen if b.again is not None)
    status, words = weigh(measured, bound, facts.lag_s(fault.inject_ns, last))
    sentence = f"{stream.client} had a connection again after {number(measured)} s: {words}"
    return matter.verdict(status, sentence, measured, bound, _edges(seen))


def _times(seen: list[Break]) -> str:
    return "once" if len(seen) == 1 else f"{len(seen)} times"


def _edges(seen: list[Break]) -> tuple[Event | str, ...]:
    edges = [event for b in seen for event in (b.first, b.again) if event is not None]
    return tuple(edges[:_SHOWN])
