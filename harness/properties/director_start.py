"""director-start: when keepalived starts, which members are in its IPVS table, from when, until when?

Without `alpha` it takes every member for well until its checks say otherwise; with it, for ill.  The first
check comes a second after the start, and up to `warmup` later.  So a member that is dead while a director
boots gets connections for that long, or none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.bounds.bound import Bound, number
from harness.bounds.checkers import Noticing, let_in_at_start, out_at_start_by
from harness.configs.ipvs_model import VirtualServer
from harness.properties.facts import Facts
from harness.properties.illness import ailment
from harness.properties.matter import Matter
from harness.properties.member_removal import READ_S
from harness.properties.pools import Pool, Pooled, pool_at
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh, worst

NAME = "director-start"
_WELL = "let in"


@dataclass(frozen=True)
class Start:
    """A virtual server that has come into a director's table, and how long what follows was to be seen."""

    facts: Facts
    event: Event
    pool: Pool
    virtual: VirtualServer
    end_ns: int

    def of(self, server: Pooled) -> list[Event]:
        """What the table told of a member from then on."""
        assert server.real is not None
        return [
            e
            for e in self.facts.timeline.of(
                "ipvs", node=self.pool.balancer, member=f"{server.real.address}:{server.real.port}"
            )
            if e.service == self.event.service and self.event.t <= e.t < self.end_ns
        ]


def judge(facts: Facts) -> list[Verdict]:
    """A finding for each member that was ill at a start, one for all that were well.

    Where a sorry server stands in, it is quorum's affair.  That all come in at once without alpha is told
    only where it is not so.
    """
    found: list[Verdict] = []
    for event in facts.timeline.of("ipvs", change="add"):
        if event.get("member") or not str(event.service).startswith("TCP ") or not _begins(facts, event):
            continue
        port = int(str(event.service).rpartition(":")[2])
        pool = pool_at(facts, event.node, port, event.t)
        if pool is None or pool.virtual is None or pool.virtual.sorry_server is not None:
            continue
        start = Start(facts, event, pool, pool.virtual, _until(facts, event))
        verdicts = [v for server in pool.servers for v in _member(start, server)]
        well = [v for v in verdicts if v.aspect == _WELL]
        if not any(checker.alpha for server in pool.servers for checker in server.checkers):
            well = [v for v in well if v.status is not Status.PASS]
        found += [v for v in verdicts if v.aspect != _WELL]
        found += [replace(_slowest(well), subject=f"{pool.balancer}, port {pool.port}")] if well else []
    return found


def _begins(facts: Facts, event: Event) -> bool:
    """Whether a virtual server came just now; what was there when the table was first read may be older."""
    since = event.t - round(READ_S * 1e9)
    started = facts.timeline.of(
        "service", node=event.node, service="keepalived", state="started", since=since, until=event.t
    )
    return bool(started) or not event.get("initial")


def _slowest(verdicts: list[Verdict]) -> Verdict:
    """The finding that says most: of those that fail, if any do, the one of the last member."""
    severe = worst(verdicts)
    return max((v for v in verdicts if v.status is severe), key=lambda v: v.measured or 0.0)


def _until(facts: Facts, event: Event) -> int:
    """Until when the director is what it was when it started."""
    after = [f.inject_ns for f in facts.faults if event.node in f.nodes and f.inject_ns > event.t]
    gone = facts.timeline.of("ipvs", node=event.node, service=event.service, change="del", since=event.t)
    after += [e.t for e in gone if not e.get("member")]
    after += [e.t for e in facts.timeline.of("config", node=event.node, since=event.t + 1)]
    return min([facts.end_ns, *after])


def _member(start: Start, server: Pooled) -> list[Verdict]:
    hit = [f for f in start.facts.faults if server.member in f.nodes and f.inject_ns <= start.end_ns]
    acting = [f for f in hit if f.acts_at(start.event.t)]
    if not acting:
        # What comes to it later is member-removal's.
        later = (f.inject_ns for f in hit if f.inject_ns > start.event.t)
        return _well(replace(start, end_ns=min([start.end_ns, *later])), server)
    ill = [a for a in (ailment(start.facts, f, server) for f in acting) if a is not None and a.noticed]
    if len(acting) != 1 or len(ill) != 1:
        return []
    heal_ns = acting[0].heal_ns or start.end_ns
    return _ill(replace(start, end_ns=min(start.end_ns, heal_ns)), server, list(ill[0].noticed))


def _ill(start: Start, server: Pooled, noticed: list[Noticing]) -> list[Verdict]:
    told = start.of(server)
    balancer, member = start.pool.balancer, server.member
    into = [e for e in told if e.change in ("add", "weight") and e.weight]
    if all(noticing.checker.alpha for noticing in noticed):
        never = Bound(0, 0, "times", "alpha: who is ill at the start does not come into the table")
        sentence = f"{member}, which was ill when {balancer} started, came into its table {len(into)} times"
        status = Status.FAIL if into else Status.PASS
        matter = _matter(start, server, "kept out")
        return [matter.verdict(status, sentence, len(into), never, (start.event, *into))]
    bound = out_at_start_by(noticed)
    if bound is None or not into:
        return []
    read = f"the table is read every {number(READ_S)} s"
    bound = bound.wider(low=min(READ_S, bound.low), high=READ_S, why=read)
    after = told[told.index(into[0]) + 1 :]
    out = next((e for e in after if e.change == "del" or not e.weight), None)
    return [_timed(start, server, out, bound, "taken out", "left its table")]


def _well(start: Start, server: Pooled) -> list[Verdict]:
    if not server.weight:
        return []  # its weight in the table does not tell whether its checks let it in
    into = next((e for e in start.of(server) if e.change in ("add", "weight") and e.weight), None)
    bound = let_in_at_start(server.checkers)
    read = f"the table is read every {number(READ_S)} s"
    bound = bound.wider(low=min(READ_S, bound.low), high=READ_S, why=read)
    return [_timed(start, server, into, bound, _WELL, "was in its table")]


def _timed(start: Start, server: Pooled, seen: Event | None, bound: Bound, aspect: str, what: str) -> Verdict:
    since_ns, end_ns = start.event.t, start.end_ns if seen is None else seen.t
    lag_s = start.facts.lag_s(since_ns, end_ns)
    after = f"after {start.pool.balancer} had started"
    if seen is None:
        watched = (end_ns - since_ns) / 1e9
        status = Status.FAIL if watched > bound.high + lag_s else Status.NOT_APPLICABLE
        sentence = f"it was not seen that {server.member} {what} in the {number(watched)} s {after}"
        return _matter(start, server, aspect).verdict(status, sentence, None, bound, (start.event,))
    measured = (seen.t - since_ns) / 1e9
    status, words = weigh(measured, bound, lag_s)
    sentence = f"{server.member} {what} {number(measured)} s {after}: {words}"
    return _matter(start, server, aspect).verdict(status, sentence, measured, bound, (start.event, seen))


def _matter(start: Start, server: Pooled, aspect: str) -> Matter:
    subject = f"{server.member} in {start.pool.balancer}'s table, port {start.pool.port}"
    return Matter(NAME, subject, aspect, start.event.t)
