"""member-removal: a member falls ill; until when does the balancer send it requests, and at what cost?

The last request is known from the attempts that it answered, and from those that were lost, which no
other member can have cost while this is the only fault and hits no other.  A balancer turns to a member
only every so often, so its last request may lie that much before the removal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from harness.bounds import checkers, haproxy, nginx
from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.properties.facts import SECOND_NS, Facts, FaultSpan, speaker_name
from harness.properties.illness import Ailment, ailment, no_illness
from harness.properties.ipvs_flows import option
from harness.properties.matter import Matter
from harness.properties.overload import excuse
from harness.properties.pools import Pool, Pooled, pool_at
from harness.properties.streams import Stream, streams
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "member-removal"
_SHOWN = 4
# How many turns a member must have been left out before it is believed to be removed.
_TURNS = 3
_BY_TURNS = ("roundrobin", "static-rr", "round-robin", "rr", "wrr")
READ_S = 0.05
"""How often a director's IPVS table is read (observe/ipvs_table.py)."""


@dataclass(frozen=True)
class MemberCase:
    """One fault of one member, as the active balancer of one target sees it."""

    facts: Facts
    fault: FaultSpan
    target: str
    pool: Pool
    server: Pooled
    ailment: Ailment
    attempts: tuple[Event, ...]
    until_ns: int

    @property
    def turn_s(self) -> float:
        """The longest time between two attempts that this member answered before the fault."""
        due = [a.t for a in self.attempts if a.t < self.fault.inject_ns and a.member == self.server.member]
        steady = self.facts.timeline.first("phase", name="steady")
        due = [t for t in due if steady is None or t >= steady.t]
        return max((later - sooner for sooner, later in pairwise(due)), default=SECOND_NS) / 1e9

    @property
    def during(self) -> list[Event]:
        """The attempts due while the fault acted."""
        return [a for a in self.attempts if self.fault.inject_ns <= a.t < self.until_ns]

    @property
    def lost(self) -> list[Event]:
        """Those of them that failed."""
        return [a for a in self.during if a.result != "ok"]

    @property
    def sent(self) -> list[Event]:
        """Those of them that were sent to the member: answered by it, or lost (to it, or to `hit`)."""
        return [a for a in self.during if a.result != "ok" or a.member == self.server.member]

    @property
    def hit(self) -> list[MemberCase]:
        """This case, and those of the other members of the pool that the same fault hits."""
        servers = [s for s in self.pool.servers if s.member in self.fault.nodes]
        return [self.of(self.fault, server) for server in servers]

    @property
    def left(self) -> list[Pooled]:
        """Those of the pool that can be asked instead of the ones that are hit."""
        gone = {*self.fault.nodes, *self.out}
        return [s for s in self.pool.servers if s.member not in gone and s.weight]

    @property
    def out(self) -> set[str]:
        """The members of the pool that other faults keep out of rotation when this one comes."""
        came_ns = self.fault.inject_ns
        others = [f for f in self.facts.faults if f is not self.fault and f.acts_at(came_ns)]
        return {
            server.member
            for server in self.pool.servers
            for other in others
            if server.member in other.nodes
            if other.fault == "drain" or self.of(other, server).bound is not None
        }

    def of(self, fault: FaultSpan, server: Pooled) -> MemberCase:
        """The case of another member."""
        return replace(
            self,
            fault=fault,
            server=server,
            ailment=ailment(self.facts, fault, server) or Ailment(None, None),
        )

    @property
    def bound(self) -> Bound | None:
        """From the fault until the balancer turns to the member no more; None: it goes on for ever."""
        illness = self.ailment.check
        if illness is None:
            return None
        if self.server.real is not None:
            return self._soon_after_start(checkers.removal_by(list(self.ailment.noticed)))
        if self.server.passive is not None and self.pool.through is not None:
            return nginx.removal(self.server.passive, self.pool.through, illness, self.turn_s)
        if self.server.check is None:
            return None
        return haproxy.removal(self.server.check, illness, self.pool.spread_percent)

    def _soon_after_start(self, bound: Bound | None) -> Bound | None:
        """A director whose first check was still to come takes the member out by it: it is not repeated."""
        director = {"node": self.pool.balancer, "service": "keepalived"}
        since = self.fault.inject_ns
        started = self.facts.timeline.last("service", state="started", until=since, **director)
        first = checkers.out_at_start_by(list(self.ailment.noticed))
        if bound is None or first is None or started is None:
            return bound
        left_s = first.high - (self.fault.inject_ns - started.t) / 1e9
        if left_s <= 0:
            return bound
        return Bound(0.0, max(bound.high, left_s), "s", f"{bound.source}; or {first.source}")

    @property
    def back(self) -> Bound | None:
        """From the healing until the balancer turns to the member again."""
        illness = self.ailment.check
        if self.server.real is not None:
            return checkers.return_after(list(self.ailment.noticed))
        if self.server.passive is not None and self.pool.through is not None:
            under_way_s = nginx.failing_s(self.pool.through, illness)
            return nginx.return_to_service(self.server.passive, under_way_s, self.turn_s)
        if illness is None or self.server.check is None:
            return None
        return haproxy.return_to_service(self.server.check, illness, self.pool.spread_percent)


def judge(facts: Facts) -> list[Verdict]:
    """The findings for every fault of a member, on every target that it serves."""
    members = {node["name"] for node in facts.timeline.run.nodes if node["role"] == "member"}
    found: list[Verdict] = []
    for fault in facts.faults:
        for node in fault.nodes:
            if node in members and fault.fault not in ("reload", "restart", "drain"):
                for target, asked in _targets(facts).items():
                    found += _judge(facts, fault, node, target, asked)
    return found


def _targets(facts: Facts) -> dict[str, list[Stream]]:
    found: dict[str, list[Stream]] = {}
    for stream in streams(facts):
        found.setdefault(stream.target, []).append(stream)
    return found


def balancer_of(facts: Facts, address: str, t_ns: int) -> str | None:
    """Which balancer served an address at a moment: the owner of its virtual router."""
    routers = [r for r in facts.routers if address in r.addresses]
    return routers[0].owner_at(t_ns) if routers else None


def _judge(facts: Facts, fault: FaultSpan, member: str, target: str, asked: list[Stream]) -> list[Verdict]:
    address, port = asked[0].address, int(target.rpartition(":")[2])
    balancer = balancer_of(facts, address, fault.inject_ns)
    pool = None if balancer is None else pool_at(facts, balancer, port, fault.inject_ns)
    server = None if pool is None else pool.server(member)
    if pool is None or server is None:
        return []
    ill = ailment(facts, fault, server)
    until_ns = facts.until_next_fault(fault)
    # What another fault came upon may have been lost by it, and tells nothing of this member.
    cut_ns = until_ns if until_ns < facts.end_ns else facts.end_ns + SECOND_NS
    all_asked = (a for stream in asked for a in stream.attempts)
    attempts = sorted((a for a in all_asked if not a.t < cut_ns <= a.end), key=lambda a: a.t)
    if fault.heal_ns is not None:
        until_ns = min(until_ns, fault.heal_ns)
    # Nothing is known of the time after the last attempt.
    until_ns = min(until_ns, attempts[-1].t + 1)
    case = MemberCase(
        facts, fault, target, pool, server, ill or Ailment(None, None), tuple(attempts), until_ns
    )
    if ill is None:
        if why := no_illness(fault):
            return [_matter(case).verdict(Status.NOT_APPLICABLE, f"{fault} makes no member ill: {why}")]
        sentence = f"nothing is known of what {fault} does to a member and to checks of it"
        return [_matter(case).verdict(Status.UNKNOWN, sentence)]
    moved = _moved(case)
    if moved is not None:
        sentence = f"{speaker_name(moved)} took {address} meanwhile, so the requests were not one balancer's"
        return [_matter(case).verdict(Status.UNKNOWN, sentence, evidence=(moved,))]
    bound = case.bound
    if bound is None:
        return [_unnoticed(case)]
    if stuck := _stuck(case):
        ill = Ailment(case.ailment.traffic, case.ailment.check, stuck, noticed=case.ailment.noticed)
        return [_unnoticed(replace(case, ailment=ill)), *_tabled(case, bound)]
    if fault.fault == "backend-flap":
        return [_flapping(case, bound)]
    if not case.left and (pool.virtual is None or pool.virtual.sorry_server is None):
        return [_alone(case), *_tabled(case, bound), *_returned(case)]
    if unnoticed := [c.server.member for c in case.hit if c.bound is None]:
        sentence = (
            f"what is lost to {member} is not told from what is lost to {' and '.join(unnoticed)} for ever"
        )
        return [_matter(case).verdict(Status.UNKNOWN, sentence), *_tabled(case, bound), *_returned(case)]
    last = _last_of_the_hit(case, bound)
    return [_removed(case, last), *_tabled(case, bound), *_errors(case, last), *_returned(case)]


def _last_of_the_hit(case: MemberCase, promise: Bound) -> Bound:
    """Until when attempts may be lost: to this member, or to another that the same fault hits."""
    longer_s = max(c.bound.high for c in case.hit if c.bound is not None) - promise.high
    why = "a lost attempt may be that of another member that is hit"
    return promise.wider(high=longer_s, why=why) if longer_s > 0 else promise


def _stuck(case: MemberCase) -> str:
    """Why clients are sent to a member that checks have taken out, where that is so.

    Documentation/networking/ipvs-sysctl.rst: expire_quiescent_template.  A member that stays in the table
    with weight 0 keeps those whom persistence has given it, as long as they go on asking.
    """
    virtual, real = case.pool.virtual, case.server.real
    if virtual is None or real is None or not virtual.persistence_s or not real.inhibit_on_failure:
        return ""
    if option(case.facts, "expire_quiescent_template", False):
        return ""
    return (
        f"persistence_timeout {virtual.persistence_s} keeps its clients with it while it has weight 0 "
        "(inhibit_on_failure), and expire_quiescent_template is off"
    )


def _moved(case: MemberCase) -> Event | None:
    """An advert of another balancer while the fault acted."""
    host = case.target.rpartition(":")[0].strip("[]")
    for router in case.facts.routers:
        if host in router.addresses:
            claims = router.claims(case.fault.inject_ns, case.until_ns)
            return next((a for a in claims if speaker_name(a) != case.pool.balancer), None)
    return None


# -- removal ---------------------------------------------------------------------------------------


def _last_sent(case: MemberCase) -> Event | None:
    """The last attempt that was sent to the member before it was left out for several turns.

    What is asked once in a while afterwards is a passive check of Nginx, not a member in rotation.
    """
    sent = case.sent
    if case.server.passive is None:
        return sent[-1] if sent else None
    pause_ns = round(_TURNS * case.turn_s * 1e9)
    gap = next((sooner for sooner, later in pairwise(sent) if later.t - sooner.t > pause_ns), None)
    return gap or (sent[-1] if sent else None)


def _alone(case: MemberCase) -> Verdict:
    """Nobody can take the member's place: every attempt is lost, removed or not."""
    hit = " and ".join(c.server.member for c in case.hit)
    sentence = f"behind {case.target} nobody is left to ask in place of {hit}"
    return _matter(case).verdict(Status.LIMITATION, sentence)


def _removed(case: MemberCase, promise: Bound) -> Verdict:
    turn_s, member, fault = case.turn_s, case.server.member, case.fault
    lag_s = case.facts.lag_s(fault.inject_ns, case.until_ns)
    why = f"{member} has a turn every {number(turn_s)} s, the last one that much before its removal"
    bound = promise.wider(low=turn_s, high=RESOLUTION_S, why=why)
    if case.server.passive is not None or (not case.lost and case.ailment.traffic is not None):
        # Nginx, and HAProxy's redispatch, pass a failed connection on: the client need not notice.
        bound = bound.wider(low=bound.low, why="a failed connection may be passed on to another member")
    watched = (case.until_ns - fault.inject_ns) / 1e9
    last = _last_sent(case)
    measured = 0.0 if last is None else (last.t - fault.inject_ns) / 1e9
    if watched < bound.high + _TURNS * turn_s:
        sentence = f"{case.pool.balancer} was watched for {number(watched)} s after {fault} only"
        return _matter(case).verdict(Status.UNKNOWN, sentence, measured, bound)
    status, words = weigh(measured, bound, lag_s)
    sentence = (
        f"{case.pool.balancer} sent {member} its last request {number(measured)} s after {fault}: {words}"
    )
    if last is not None and case.until_ns - last.t <= _TURNS * turn_s * 1e9:
        sentence = f"{case.pool.balancer} still sent {member} requests {number(measured)} s after {fault}"
    if status is Status.FAIL and last is not None and (late := excuse(case.facts, [last])):
        status, sentence = Status.UNKNOWN, f"{sentence}, but {late}"
    evidence = (fault.inject, *([] if last is None else [last]))
    return _matter(case).verdict(status, sentence, measured, bound, evidence)


def _tabled(case: MemberCase, promise: Bound) -> list[Verdict]:
    """When the member left the director's IPVS table, or got weight 0 there: by the table itself."""
    server, fault = case.server, case.fault
    if server.real is None:
        return []
    member = f"{server.real.address}:{server.real.port}"
    told = case.facts.timeline.of("ipvs", node=case.pool.balancer, member=member, until=case.until_ns)
    of_service = [e for e in told if str(e.service).endswith(f":{case.pool.port}")]
    if not any(e.t <= fault.inject_ns for e in of_service):
        return []
    out = next(
        (e for e in of_service if e.t > fault.inject_ns and (e.change == "del" or e.weight == 0)), None
    )
    bound = promise.wider(high=READ_S, why=f"the table is read every {number(READ_S)} s")
    lag_s = case.facts.lag_s(fault.inject_ns, case.until_ns)
    if out is None:
        watched = (case.until_ns - fault.inject_ns) / 1e9
        status = Status.FAIL if watched > bound.high + lag_s else Status.UNKNOWN
        sentence = (
            f"{member} stayed in {case.pool.balancer}'s IPVS table for {number(watched)} s after {fault}"
        )
        return [_matter(case, "table").verdict(status, sentence, None, bound, (fault.inject,))]
    measured = (out.t - fault.inject_ns) / 1e9
    status, words = weigh(measured, bound, lag_s)
    how = "left" if out.change == "del" else "had weight 0 in"
    sentence = f"{member} {how} {case.pool.balancer}'s IPVS table {number(measured)} s after {fault}: {words}"
    return [_matter(case, "table").verdict(status, sentence, measured, bound, (fault.inject, out))]


def _errors(case: MemberCase, promise: Bound) -> list[Verdict]:
    """What clients lose until then: no more than the member's share of what they ask."""
    shares = case.pool.without(case.out).shares
    costly = [c for c in case.hit if c.ailment.traffic is not None]
    if case.pool.virtual is not None and case.pool.virtual.persistence_s:
        return []  # a client's whole share is its own member's
    if case.server.member not in shares or case.pool.algorithm not in _BY_TURNS:
        return []
    end_ns = case.fault.inject_ns + round((promise.high + RESOLUTION_S) * 1e9)
    asked = [a for a in case.during if a.t <= end_ns]
    clients = len({a.client for a in case.during})
    share = sum(shares.get(c.server.member, 0.0) for c in costly)
    allowed = math.ceil(share * len(asked)) + clients if costly else 0
    rest_s = max((case.until_ns - end_ns) / 1e9, 0.0)
    later = 0
    for each in costly:
        if each.server.passive is not None and each.ailment.traffic == "black-hole":
            later += math.ceil(rest_s / (each.server.passive.fail_timeout_ms / 1000))
    hit = " and ".join(c.server.member for c in costly)
    source = (
        f"the share {number(share)} of {hit} in the {len(asked)} attempts until removal, and one for each of "
        f"{clients} clients"
    )
    if not costly:
        source = "it went on serving until after its removal"
        if case.server.real is not None and not case.server.real.inhibit_on_failure:
            allowed = clients * len(case.hit)
            source += f", when IPVS forgets its connections: one under way of each of {clients} clients"
    if later:
        source += f"; {later} connections that ask whether it is back"
    bound = Bound(0, allowed + later, "attempts", source)
    status, words = weigh(len(case.lost), bound, resolution=0.0)
    sentence = f"clients lost {len(case.lost)} of {len(case.during)} attempts during {case.fault}: {words}"
    surplus = case.lost[allowed + later :]
    if status is Status.FAIL and (late := excuse(case.facts, surplus)):
        status, sentence = Status.UNKNOWN, f"{sentence}, but {late}"
    return [_matter(case, "errors").verdict(status, sentence, len(case.lost), bound)]


# -- never removed ---------------------------------------------------------------------------------


def _unnoticed(case: MemberCase) -> Verdict:
    """No check can notice this illness: the member stays in rotation, which what it was sent proves."""
    fault, member, balancer = case.fault, case.server.member, case.pool.balancer
    why = case.ailment.why or _no_reason(case)
    sent, lost, turn_s = case.sent, case.lost, case.turn_s
    watched = (case.until_ns - fault.inject_ns) / 1e9
    if not sent or case.until_ns - sent[-1].t > _TURNS * turn_s * 1e9:
        last = number((sent[-1].t - fault.inject_ns) / 1e9) if sent else "0"
        sentence = f"{balancer} sent {member} nothing from {last} s after {fault} on"
        if case.ailment.perhaps:
            return _matter(case).verdict(Status.NOT_APPLICABLE, f"{sentence}: {case.ailment.perhaps}")
        sentence += f", though {why}"
        return _matter(case).verdict(Status.FAIL if sent or case.during else Status.UNKNOWN, sentence)
    sentence = (
        f"{balancer} sent {member} requests for all of the {number(watched)} s of {fault}, as {why}; "
        f"clients lost {len(lost)} of {len(case.during)} attempts"
    )
    evidence = (fault.inject, *lost[:_SHOWN], sent[-1])
    return _matter(case).verdict(Status.LIMITATION, sentence, watched, evidence=evidence, outright=bool(lost))


def _no_reason(case: MemberCase) -> str:
    if case.server.passive is not None:
        return "open-source Nginx has no active checks, and notices failed connections only"
    return "no check notices it"


# -- flapping --------------------------------------------------------------------------------------


def _flapping(case: MemberCase, removed: Bound) -> Verdict:
    """A member ill for too short a time for `fall` checks, and then well for at least one, must stay."""
    given, fault, turn_s = case.fault.parameters, case.fault, case.turn_s
    period_s, ill = float(given.get("period_s", "4")), float(given.get("ill_percent", "50")) / 100
    ill_s, well_s = period_s * ill, period_s * (1 - ill)
    phases = f"ill for {number(ill_s)} s and well for {number(well_s)} s by turns"
    rule = _forgiving(case, removed)
    if rule is None or ill_s >= removed.low or well_s <= rule[1]:
        sentence = f"{case.server.member} is {phases}: whether checks remove it depends on their phase"
        return _matter(case, "hysteresis").verdict(Status.NOT_APPLICABLE, sentence)
    bound = Bound(
        0,
        _TURNS * turn_s,
        "s",
        f"{phases}, it never fails {rule[0]} checks in a row ({removed.source}), so it keeps its turn "
        f"every {number(turn_s)} s, give or take {_TURNS - 1}",
    )
    due = [fault.inject_ns, *(a.t for a in case.sent), case.until_ns]
    pause = max((later - sooner) / 1e9 for sooner, later in pairwise(due))
    watched = (case.until_ns - fault.inject_ns) / 1e9
    status, words = weigh(pause, bound, case.facts.lag_s(fault.inject_ns, case.until_ns))
    if status is Status.PASS and watched < 2 * period_s:
        status, words = Status.UNKNOWN, f"but it was watched for {number(watched)} s only"
    sentence = f"{case.server.member} was left out for no more than {number(pause)} s: {words}"
    return _matter(case, "hysteresis").verdict(status, sentence, pause, bound)


def _forgiving(case: MemberCase, removed: Bound) -> tuple[int, float] | None:
    """How many failures in a row remove it, and for how long it must be well for one check to succeed."""
    if case.server.check is not None:
        fall = case.server.check.fall
        return fall, removed.high / fall
    if len(case.ailment.noticed) != 1:
        return None
    noticing = case.ailment.noticed[0]
    each = checkers.failing_check_s(noticing.checker, noticing.illness)
    again = noticing.checker.delay_before_retry_us / 1e6
    return None if each is None else (noticing.checker.retry + 1, again + each[1])


# -- the return ------------------------------------------------------------------------------------


def _returned(case: MemberCase) -> list[Verdict]:
    fault, promise, member = case.fault, case.back, case.server.member
    if fault.heal_ns is None or fault.healed_ns is None or promise is None:
        return []
    if case.pool.virtual is not None and case.pool.virtual.persistence_s:
        return []  # who has another member by now stays with that one
    virtual = case.pool.virtual
    others = [f for f in case.facts.faults if f is not fault and f.acts_at(fault.healed_ns)]
    if virtual is not None and virtual.sorry_server is not None and others:
        return []  # the quorum may be lost still, by the others
    end_ns = case.facts.next_fault_after(fault.heal_ns)
    took_s = (fault.healed_ns - fault.heal_ns) / 1e9
    turn_s = case.turn_s + case.server.slowstart_s
    bound = promise.wider(
        high=took_s + turn_s + RESOLUTION_S,
        why=f"healing took {number(took_s)} s, and it has a turn every {number(turn_s)} s",
    )
    first = next(
        (
            a
            for a in case.attempts
            if fault.heal_ns <= a.t < end_ns and a.result == "ok" and a.member == member
        ),
        None,
    )
    lag_s = case.facts.lag_s(fault.heal_ns, end_ns)
    if first is None:
        watched = (end_ns - fault.heal_ns) / 1e9
        status = Status.FAIL if watched > bound.high + lag_s else Status.UNKNOWN
        sentence = f"{member} got no request within {number(watched)} s after healing"
        return [_matter(case, "return").verdict(status, sentence, None, bound)]
    measured = (first.t - fault.heal_ns) / 1e9
    status, words = weigh(measured, bound, lag_s)
    sentence = f"{member} answered again {number(measured)} s after healing: {words}"
    return [_matter(case, "return").verdict(status, sentence, measured, bound, (first,))]


def _matter(case: MemberCase, aspect: str = "removal") -> Matter:
    return Matter.of_fault(NAME, case.fault, f"{case.server.member} behind {case.target}", aspect)
