"""flow-survival: does a long-lived connection outlive the fault; if not, when is it made anew?

A connection through a proxy lives in that proxy.  It cannot outlive a takeover, nor the member that it
was passed to: that limitation is told as such where it is met.  Everything else (the standby's end,
another member's, a reload, a reduced pool) it must survive.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.bounds.haproxy import removal
from harness.properties.facts import Facts, FaultSpan, VirtualRouter
from harness.properties.illness import ailment
from harness.properties.in_force import PROXIES
from harness.properties.overload import excuse
from harness.properties.pools import pool_at
from harness.properties.proxy_end import proxy_ends
from harness.properties.streams import Stream, streams
from harness.properties.takeover import takeovers
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "flow-survival"
_SHOWN = 6


@dataclass(frozen=True)
class Break:
    """The end of a long-lived connection: its first lost exchange, and the next good one, if any came."""

    first: Event
    again: Event | None

    @property
    def seconds(self) -> float | None:
        """From the first lost exchange due until the first good one due after it."""
        return None if self.again is None else (self.again.t - self.first.t) / 1e9


def breaks(stream: Stream, since_ns: int, until_ns: int) -> list[Break]:
    """The ends of a connection in a window: a run of lost exchanges, or one that had to connect anew."""
    found: list[Break] = []
    first: Event | None = None
    for exchange in stream.attempts:
        if exchange.end < since_ns:
            continue
        if exchange.t >= until_ns and first is None:
            break
        if exchange.result != "ok":
            first = first or exchange
        elif first is not None:
            found.append(Break(first, exchange))
            first = None
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
        for verdict in _judge(facts, fault, stream)
    ]


def _judge(facts: Facts, fault: FaultSpan, stream: Stream) -> list[Verdict]:
    routers = [r for r in facts.routers_at(fault.inject_ns) if stream.address in r.addresses]
    if not routers:
        return []
    until_ns = facts.until_next_fault(fault)
    if fault.heal_ns is not None:
        until_ns = min(until_ns, fault.heal_ns)
    seen = breaks(stream, fault.inject_ns, until_ns)
    cause, promise = _cause(facts, fault, stream, routers[0])
    if cause is None:
        why = f"nothing is promised of connections under {fault}"
        sentence = f"{stream.client}'s connection broke {_times(seen)}; {why}"
        return [_verdict(fault, stream, Status.NOT_APPLICABLE, sentence, evidence=_edges(seen))]
    bound = Bound(
        0, 1 if cause else 0, "breaks", cause or f"{fault} touches neither its proxy nor its member"
    )
    count = f"{stream.client}'s connection broke {_times(seen)} after {fault}"
    if not cause:
        late = excuse(facts, [b.first for b in seen]) or stream.ailing(fault.inject_ns)
        status = (Status.UNKNOWN if late else Status.FAIL) if seen else Status.PASS
        sentence = f"{count}, but {late}" if late else count
        return [_verdict(fault, stream, status, sentence, len(seen), bound, _edges(seen))]
    if not seen:
        sentence = f"{stream.client}'s connection outlived {fault}"
        return [_verdict(fault, stream, Status.PASS, sentence, 0, bound)]
    status = Status.LIMITATION if len(seen) == 1 else Status.FAIL
    sentence = f"{count}: {cause}"
    promised = bound if status is Status.FAIL else None
    verdicts = [_verdict(fault, stream, status, sentence, len(seen), promised, _edges(seen))]
    return verdicts if promise is None else [*verdicts, _again(facts, fault, stream, seen, promise)]


def _cause(
    facts: Facts, fault: FaultSpan, stream: Stream, router: VirtualRouter
) -> tuple[str | None, Bound | None]:
    """Why a connection must end ("" where it must not, None where that is not known), and for how long."""
    move = next((t for t in takeovers(facts) if t.fault is fault and str(t.router) == str(router)), None)
    ends = [e for e in proxy_ends(facts) if e.fault is fault and str(e.router) == str(router)]
    end = next((e for e in ends if e.hits_owner), None)
    if end is not None:
        how = "hangs in it" if fault.hangs else "ends with it"
        return f"a connection through the proxy of {end.node} {how}", end.bound
    if move is not None and move.due and not move.ends_early:
        return f"a connection through the proxy of {move.owner} cannot follow the VIP to another", move.bound
    owner = router.owner_at(fault.inject_ns)
    if fault.service in PROXIES and owner in fault.nodes:
        return ("", None) if fault.fault == "reload" else ("its proxy is started anew", None)
    if owner in fault.nodes:
        harmless = fault.fault == "reload" or (move is not None and move.ends_early)
        return ("", None) if harmless else (None, None)
    if set(fault.nodes) <= set(router.speakers):
        return "", None
    return _of_member(facts, fault, stream, owner)


def _of_member(
    facts: Facts, fault: FaultSpan, stream: Stream, owner: str | None
) -> tuple[str | None, Bound | None]:
    """The connection ends with the member that it was passed to, and with no other."""
    before = [a for a in stream.attempts if a.end < fault.inject_ns and a.result == "ok"]
    if not before or owner is None:
        return None, None
    member = str(before[-1].member)
    if member not in fault.nodes:
        members = {n["name"] for n in facts.timeline.run.nodes if n["role"] == "member"}
        return ("", None) if set(fault.nodes) <= members else (None, None)
    pool = pool_at(facts, owner, int(stream.target.rpartition(":")[2]), fault.inject_ns)
    server = None if pool is None else pool.server(member)
    ill = None if server is None else ailment(facts, fault, server)
    if pool is None or server is None or ill is None:
        return None, None
    if ill.traffic is None and not (server.closes_sessions and ill.check is not None):
        return "", None
    promise = None
    if server.check is not None and ill.check is not None:
        promise = removal(server.check, ill.check, pool.spread_percent)
    return f"a connection passed to {member} ends with it", promise


def _again(facts: Facts, fault: FaultSpan, stream: Stream, seen: list[Break], promise: Bound) -> Verdict:
    """How long the client had no connection: no longer than new ones fail, and its own patience."""
    period_s = stream.period_s
    lost = [a for a in stream.attempts if a.result != "ok"]
    patience_s = max(((a.end - a.t) / 1e9 for a in lost), default=0.0)
    why = (
        f"the client gives a silent connection up after {number(patience_s)} s, and asks every "
        f"{number(period_s)} s"
    )
    bound = Bound(0, promise.high + RESOLUTION_S, "s", promise.source).wider(
        high=2 * patience_s + 2 * period_s, why=why
    )
    if any(b.again is None for b in seen):
        sentence = f"{stream.client}'s connection was not made anew before the end"
        return _verdict(
            fault, stream, Status.UNKNOWN, sentence, None, bound, _edges(seen), aspect="reconnect"
        )
    measured = max(b.seconds or 0.0 for b in seen)
    last = max(b.again.t for b in seen if b.again is not None)
    status, words = weigh(measured, bound, facts.lag_s(fault.inject_ns, last))
    sentence = f"{stream.client} had a connection again after {number(measured)} s: {words}"
    return _verdict(fault, stream, status, sentence, measured, bound, _edges(seen), aspect="reconnect")


def _times(seen: list[Break]) -> str:
    return "once" if len(seen) == 1 else f"{len(seen)} times"


def _edges(seen: list[Break]) -> tuple[Event | str, ...]:
    edges = [event for b in seen for event in (b.first, b.again) if event is not None]
    return tuple(edges[:_SHOWN])


def _verdict(
    fault: FaultSpan,
    stream: Stream,
    status: Status,
    sentence: str,
    measured: float | None = None,
    bound: Bound | None = None,
    evidence: tuple[Event | str, ...] = (),
    *,
    aspect: str = "continuity",
) -> Verdict:
    return Verdict(
        NAME,
        status,
        sentence,
        measured,
        bound,
        "breaks" if bound is None else bound.unit,
        evidence,
        aspect=aspect,
        subject=f"{stream.client} to {stream.target}",
        origin_ns=fault.inject_ns,
        fault=fault.id,
    )
