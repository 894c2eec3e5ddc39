"""quorum: when a member's end costs a virtual server its quorum, does the sorry server stand in, in time?

By the table of the director that has the VIP: with the quorum all real servers leave it and the sorry
server comes; once enough are well again (`quorum + hysteresis`) it is the other way round.  Above the
threshold (`quorum - hysteresis`) nothing of that may happen, and below the other one it stays.  With
`sorry_server_inhibit` the sorry server is in the table all the time, and has weight 0 until it stands in.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.bounds.bound import Bound, number
from harness.bounds.checkers import has_quorum, removal_by, return_after
from harness.configs.ipvs_model import VirtualServer
from harness.properties.facts import Facts, FaultSpan
from harness.properties.illness import Ailment, ailment, weight_of_the_well
from harness.properties.matter import Matter
from harness.properties.member_removal import READ_S, balancer_of
from harness.properties.pools import Pool, pool_at
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "quorum"


@dataclass(frozen=True)
class Case:
    """One fault of members against one virtual server with a sorry server."""

    facts: Facts
    fault: FaultSpan
    pool: Pool
    virtual: VirtualServer
    until_ns: int

    @property
    def sorry(self) -> str:
        """The sorry server as the table names it."""
        assert self.virtual.sorry_server is not None
        return f"{self.virtual.sorry_server.address}:{self.virtual.sorry_server.port}"

    def moments(self, since_ns: int, until_ns: int, *, in_: bool) -> list[Event]:
        """When the sorry server came to the table or left it: with a weight, that is, or without any."""
        told = self.facts.timeline.of(
            "ipvs", node=self.pool.balancer, member=self.sorry, since=since_ns, until=until_ns
        )
        return [e for e in told if in_ == (e.change != "del" and e.weight > 0)]

    def stands_in(self, t_ns: int) -> bool:
        """Whether the sorry server served at a moment."""
        told = self.facts.timeline.of("ipvs", node=self.pool.balancer, member=self.sorry, until=t_ns)
        return bool(told) and told[-1].change != "del" and told[-1].weight > 0


def judge(facts: Facts) -> list[Verdict]:
    """The findings for every fault of members behind a virtual server with a sorry server."""
    members = {node["name"] for node in facts.timeline.run.nodes if node["role"] == "member"}
    found: list[Verdict] = []
    for fault in facts.faults:
        if not set(fault.nodes) & members:
            continue
        for vip in facts.timeline.run.vips:
            owner = balancer_of(facts, vip["address"], fault.inject_ns)
            pool = None if owner is None else pool_at(facts, owner, vip["port"], fault.inject_ns)
            if pool is not None and pool.virtual is not None and pool.virtual.sorry_server is not None:
                until_ns = min(facts.until_next_fault(fault), fault.heal_ns or facts.end_ns)
                found += _judge(Case(facts, fault, pool, pool.virtual, until_ns))
    return found


def _judge(case: Case) -> list[Verdict]:
    ill = [s for s in case.pool.servers if s.member in case.fault.nodes]
    ailments = [a for a in (ailment(case.facts, case.fault, s) for s in ill) if a is not None and a.noticed]
    if not ill or len(ailments) < len(ill):
        return []
    return [*_lost(case, ailments), *_healed(case, ailments)]


def _lost(case: Case, ailments: list[Ailment]) -> list[Verdict]:
    """What the end of these members makes of the quorum."""
    matter = _matter(case, "kept")
    if case.stands_in(case.fault.inject_ns):
        sentence = f"{case.pool.balancer} had called the sorry server already before {case.fault}"
        bound = Bound(0, 0, "changes", "there was no quorum that could be lost")
        return [matter.verdict(Status.NOT_APPLICABLE, sentence, None, bound, (case.fault.inject,))]
    left = weight_of_the_well(case.facts, case.pool, case.fault.inject_ns)
    kept = has_quorum(case.virtual, left, had=True)
    come = case.moments(case.fault.inject_ns, case.until_ns, in_=True)
    threshold = case.virtual.quorum - case.virtual.hysteresis
    if kept:
        bound = Bound(0, 0, "changes", f"weight {left} is still quorum - hysteresis = {threshold} or more")
        sentence = f"with weight {left} left {case.pool.balancer} called the sorry server {len(come)} times"
        status = Status.FAIL if come else Status.PASS
        return [matter.verdict(status, sentence, len(come), bound, (case.fault.inject, *come))]
    bounds = [b for b in (removal_by(list(a.noticed)) for a in ailments) if b is not None]
    if not bounds:
        return []
    last = Bound(max(b.low for b in bounds), max(b.high for b in bounds), "s", bounds[0].source)
    read = f"the table is read every {number(READ_S)} s"
    because = f"weight {left} is below quorum - hysteresis = {threshold}; {read}"
    bound = last.wider(high=READ_S, why=because)
    return [_timed(case, come, case.fault.inject_ns, case.until_ns, bound, "lost")]


def _healed(case: Case, ailments: list[Ailment]) -> list[Verdict]:
    """What their return makes of it, where it was lost by then."""
    heal_ns, healed_ns = case.fault.heal_ns, case.fault.healed_ns
    returns = [b for b in (return_after(list(a.noticed)) for a in ailments) if b is not None]
    if heal_ns is None or healed_ns is None or not returns or not case.stands_in(heal_ns):
        return []
    end_ns = _next(case.facts, healed_ns)
    gone = case.moments(heal_ns, end_ns, in_=False)
    weight, threshold = (
        weight_of_the_well(case.facts, case.pool, healed_ns),
        case.virtual.quorum + case.virtual.hysteresis,
    )
    if not has_quorum(case.virtual, weight, had=False):
        never = Bound(0, 0, "changes", f"weight {weight} is below quorum + hysteresis = {threshold}")
        sentence = f"with weight {weight} {case.pool.balancer} sent the sorry server away {len(gone)} times"
        status = Status.FAIL if gone else Status.PASS
        matter = _matter(case, "not regained")
        return [matter.verdict(status, sentence, len(gone), never, (case.fault.inject, *gone))]
    back = Bound(max(b.low for b in returns), max(b.high for b in returns), "s", returns[0].source)
    took_s = (healed_ns - heal_ns) / 1e9
    read = f"the table is read every {number(READ_S)} s"
    bound = back.wider(high=took_s + READ_S, why=f"healing took {number(took_s)} s; {read}")
    return [_timed(case, gone, heal_ns, end_ns, bound, "regained")]


def _next(facts: Facts, t_ns: int) -> int:
    """When the next fault begins or is healed."""
    moments = [m for f in facts.faults for m in (f.inject_ns, f.heal_ns) if m is not None and m > t_ns]
    return min([*moments, facts.end_ns])


def _timed(case: Case, seen: list[Event], since_ns: int, end_ns: int, bound: Bound, aspect: str) -> Verdict:
    what = "stood in" if aspect == "lost" else "stood back"
    lag_s = case.facts.lag_s(since_ns, end_ns)
    if not seen:
        watched = (end_ns - since_ns) / 1e9
        status = Status.FAIL if watched > bound.high + lag_s else Status.UNKNOWN
        sentence = f"the sorry server {case.sorry} never {what} in {number(watched)} s"
        return _matter(case, aspect).verdict(status, sentence, None, bound, (case.fault.inject,))
    measured = (seen[0].t - since_ns) / 1e9
    status, words = weigh(measured, bound, lag_s)
    sentence = f"the sorry server {case.sorry} {what} after {number(measured)} s: {words}"
    return _matter(case, aspect).verdict(status, sentence, measured, bound, (case.fault.inject, seen[0]))


def _matter(case: Case, aspect: str) -> Matter:
    return Matter.of_fault(NAME, case.fault, f"{case.pool.balancer}, port {case.pool.port}", aspect)
