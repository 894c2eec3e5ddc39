"""udp-flows: does a flow of datagrams leave a member that is given no new ones?

IPVS passes what comes from one source port to one member for as long as it comes, and some time longer
(`udp` in `ipvsadm --list --timeout`); nothing ends a flow as FIN or RST end a connection.  Of a member that
is out of the table the datagrams are dropped, unless expire_nodest_conn gives the next one to another
(Documentation/networking/ipvs-sysctl.rst).  One with weight 0 gets them still, dead or alive.  With
one-packet scheduling (`ops`) there are no flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.bounds.bound import Bound
from harness.properties.facts import Facts, FaultSpan
from harness.properties.ipvs_flows import by_udp, option
from harness.properties.matter import Matter
from harness.properties.member_removal import balancer_of
from harness.properties.overload import excuse
from harness.properties.pools import Pool, pool_at
from harness.properties.streams import Stream, streams
from harness.timeline import Event
from harness.verdict import Status, Verdict

NAME = "udp-flows"
_SHOWN = 6


@dataclass(frozen=True)
class _Fate:
    """What must become of a flow's datagrams: others answer, nobody does, or none but its member; and why."""

    outcome: Literal["moves", "dropped", "stays"]
    why: str


def judge(facts: Facts) -> list[Verdict]:
    """A finding for every fault on whose account a flow's member was taken out, or given weight 0."""
    flows = [stream for stream in streams(facts, "long") if by_udp(facts, stream)]
    found = (_judge(facts, fault, flow) for fault in facts.faults for flow in flows)
    return [verdict for verdict in found if verdict is not None]


def _judge(facts: Facts, fault: FaultSpan, flow: Stream) -> Verdict | None:
    owner = balancer_of(facts, flow.address, fault.inject_ns)
    port = int(flow.target.rpartition(":")[2])
    pool = None if owner is None else pool_at(facts, owner, port, fault.inject_ns)
    before = [a for a in flow.attempts if a.end < fault.inject_ns and a.result == "ok"]
    if pool is None or not before:
        return None
    member, ops = str(before[-1].member), bool(pool.virtual and "ops" in pool.virtual.flags)
    if ops:
        # A flow has no member of its own, so whichever was hit is the one.
        member = next((node for node in fault.nodes if pool.server(node)), member)
    end_ns = min(facts.until_next_fault(fault), fault.heal_ns or facts.end_ns)
    gone = _gone(facts, pool, member, fault.inject_ns, end_ns) if member in fault.nodes else None
    if gone is None:
        return None
    sent = [a for a in flow.attempts if gone.t <= a.t and a.end < end_ns]
    fate = _fate(facts, member, gone, ops=ops)
    return _weighed(facts, fault, flow, member, gone, sent, fate)


def _gone(facts: Facts, pool: Pool, member: str, since_ns: int, until_ns: int) -> Event | None:
    """When its director took a member out of its table, or set its weight to 0."""
    server = pool.server(member)
    if server is None:
        return None
    told = facts.timeline.of(
        "ipvs", node=pool.balancer, member=f"{server.address}:{server.port}", since=since_ns, until=until_ns
    )
    return next((e for e in told if e.change == "del" or (e.change == "weight" and not e.weight)), None)


def _fate(facts: Facts, member: str, gone: Event, *, ops: bool) -> _Fate:
    if ops:
        return _Fate("moves", "each datagram is scheduled by itself (ops)")
    if gone.change == "weight":
        return _Fate("stays", f"{member} is in the table still, if with weight 0, and a flow stays there")
    if option(facts, "expire_nodest_conn", False):
        return _Fate("moves", "the next datagram is scheduled anew (expire_nodest_conn)")
    return _Fate("dropped", "what belongs to a member that is gone is dropped (expire_nodest_conn is 0)")


def _weighed(
    facts: Facts, fault: FaultSpan, flow: Stream, member: str, gone: Event, sent: list[Event], fate: _Fate
) -> Verdict:
    lost = [a for a in sent if a.result != "ok"]
    elsewhere = [a for a in sent if a.result == "ok" and a.member != member]
    when = "out of the table" if gone.change == "del" else "of weight 0"
    if fate.outcome == "moves":
        strange = [a for a in sent if a.result != "ok" or a.member == member]
        good = len(sent) - len(strange)
        sentence = (
            f"others answered {good} of {len(sent)} datagrams of {flow.client} once {member} was {when}"
        )
        status = Status.FAIL if strange else Status.PASS
    else:
        strange = elsewhere if fate.outcome == "stays" else [a for a in sent if a.result == "ok"]
        sentence = f"of {len(sent)} datagrams of {flow.client} {len(lost)} were lost once {member} was {when}"
        status = Status.FAIL if strange else Status.LIMITATION
    if not sent:
        status, sentence = Status.UNKNOWN, f"{flow.client} sent nothing once {member} was {when}"
    said = f"{sentence}, although {fate.why}" if strange else f"{sentence}: {fate.why}"
    if status is Status.FAIL and (late := excuse(facts, strange)):
        status, said = Status.UNKNOWN, f"{said}, but {late}"
    promised = fate.outcome == "moves" or status is Status.FAIL
    return Matter.of_fault(NAME, fault, str(flow), "rotation", unit="datagrams").verdict(
        status,
        said,
        len(strange) if promised else None,
        Bound(0, 0, "datagrams", fate.why) if promised else None,
        (gone, *(strange or lost)[:_SHOWN]),
        outright=status is Status.LIMITATION and len(lost) == len(sent),
    )
