"""self-client: can each balanced node, each balancer, and who stands beside them, reach the VIP themselves?

The masters need to, as their own clients.  A proxy (L7) makes connections of its own, so a member may be
served by any member, itself included, and the VIP's holder reaches its proxy without leaving the node.
With IPVS it depends on the way of forwarding (`self_client_ipvs`): what cannot be is told as the limitation
that it is, with the packets that prove why, and must be so: a member that is served all the same refutes it.
"""

from __future__ import annotations

from collections import Counter

from harness.bounds.bound import Bound
from harness.bystanders import bystanders
from harness.properties.facts import Facts, FaultSpan
from harness.properties.matter import Matter
from harness.properties.member_removal import balancer_of
from harness.properties.overload import excuse
from harness.properties.pools import Pool, pool_at
from harness.properties.quiet import in_quiet
from harness.properties.self_client_ipvs import Expectation, expectation
from harness.properties.streams import Stream, streams
from harness.timeline import Event
from harness.verdict import Status, Verdict

NAME = "self-client"
_SHOWN = 6
_ROLES = ("member", "balancer")
# What a node's own service must have before it is missed: a new connection is refused, or nobody answers.
_ENDS_SERVER = ("kill", "stop", "hang", "freeze", "backend-refuse", "backend-blackhole", "backend-hang")


def judge(facts: Facts) -> list[Verdict]:
    """A finding for every member, bystander and balancer that asks a VIP, apart for one that holds it."""
    roles = {node["name"]: node["role"] for node in facts.timeline.run.nodes}
    beside = bystanders(facts.timeline.run)
    found: list[Verdict] = []
    for stream in streams(facts, own=True):
        role = roles.get(stream.client)
        if role not in _ROLES and stream.client not in beside:
            continue
        calm = in_quiet(facts, stream.attempts)
        if role == "client":
            found.append(_judge(facts, stream, calm, "bystander"))
            continue
        if role == "member":
            found.append(_judge(facts, stream, calm, "member"))
            found += _without_own(facts, stream)
            continue
        holder = [a for a in calm if _owner(facts, stream.address, a.t) == stream.client]
        held = {id(a) for a in holder}
        others = [a for a in calm if id(a) not in held]
        found += [_judge(facts, stream, holder, "holder")] if holder else []
        found += [_judge(facts, stream, others, "standby")] if others or not holder else []
    return found


def _owner(facts: Facts, address: str, t_ns: int) -> str | None:
    return next((r.owner_at(t_ns) for r in facts.routers if address in r.addresses), None)


def _pool(facts: Facts, stream: Stream, t_ns: int) -> Pool | None:
    """The IPVS pool that a stream's attempts go to; None where a proxy serves."""
    owner = balancer_of(facts, stream.address, t_ns)
    pool = None if owner is None else pool_at(facts, owner, int(stream.target.rpartition(":")[2]), t_ns)
    return pool if pool is not None and pool.virtual is not None else None


def _judge(facts: Facts, stream: Stream, attempts: list[Event], aspect: str) -> Verdict:
    pool = _pool(facts, stream, attempts[0].t) if attempts else None
    if pool is not None:
        expected = expectation(facts, pool, stream.client, aspect)
        if expected.outcome != "served":
            return _limited(facts, stream, attempts, aspect, expected)
        return _served(facts, stream, attempts, aspect, expected.why)
    return _served(facts, stream, attempts, aspect, "through a proxy every node is a client like any other")


def _limited(
    facts: Facts, stream: Stream, attempts: list[Event], aspect: str, expected: Expectation
) -> Verdict:
    """The limitation, if all attempts bear it out; a single one that does not refutes it."""
    served = [a for a in attempts if a.result == "ok"]
    if expected.outcome == "itself":
        strange = [a for a in attempts if a.result != "ok" or a.member != stream.client]
        own = len(attempts) - len(strange)
        sentence = f"{stream.client} was served by itself in {own} of {len(attempts)} attempts"
    else:
        strange = served
        sentence = f"{stream.client} reached {stream.target} in {len(served)} of {len(attempts)} attempts"
    packets = _packets(facts, stream)
    status = Status.FAIL if strange else Status.LIMITATION
    said = f", although {expected.why}" if strange else f": {expected.why}"
    return Matter.of_run(NAME, facts, str(stream), aspect, unit="attempts").verdict(
        status,
        sentence + said,
        len(strange),
        Bound(0, 0, "attempts", expected.why) if strange else None,
        (*strange[:_SHOWN], *packets) if strange else (*packets, *attempts[:1]),
        outright=not served and not strange,
    )


def _packets(facts: Facts, stream: Stream) -> list[Event]:
    """What was on the wire of its attempts: one for each course that they took."""
    attempts: dict[int, list[Event]] = {}
    for packet in facts.timeline.of("packet", client=stream.client):
        attempts.setdefault(packet.attempt, []).append(packet)
    courses: dict[tuple[tuple[str, str], ...], list[Event]] = {}
    for packets in attempts.values():
        course = tuple((p.what, "self" if p.get("to") == stream.client else "") for p in packets[:3])
        courses.setdefault(course, packets)
    return [packet for packets in courses.values() for packet in packets[:_SHOWN]]


def _without_own(facts: Facts, stream: Stream) -> list[Verdict]:
    """A member whose own service is down: others must serve it, or it has no more than itself (DR, TUN)."""
    found = []
    for fault in facts.faults:
        pool = _pool(facts, stream, fault.inject_ns)
        hit = stream.client in fault.nodes and fault.fault in _ENDS_SERVER
        if pool is not None and hit and pool.server(stream.client) is not None:
            expected = expectation(facts, pool, stream.client, "member")
            if expected.outcome == "itself":
                found.append(_alone(facts, stream, fault, expected))
    return found


def _alone(facts: Facts, stream: Stream, fault: FaultSpan, expected: Expectation) -> Verdict:
    end_ns = min(facts.until_next_fault(fault), fault.heal_ns or facts.end_ns)
    asked = [a for a in stream.attempts if (fault.effective_ns or fault.inject_ns) <= a.t and a.end < end_ns]
    served = [a for a in asked if a.result == "ok"]
    status = Status.FAIL if served else Status.LIMITATION if asked else Status.UNKNOWN
    sentence = (
        f"with its own service down {stream.client} reached {stream.target} in {len(served)} of {len(asked)} "
        f"attempts: {expected.why}"
    )
    return Matter.of_fault(NAME, fault, str(stream), "member alone", unit="attempts").verdict(
        status,
        sentence,
        len(served),
        Bound(0, 0, "attempts", expected.why) if served else None,
        (fault.inject, *(served or asked)[:_SHOWN]),
        outright=bool(asked) and not served,
    )


def _served(facts: Facts, stream: Stream, attempts: list[Event], aspect: str, why: str) -> Verdict:
    lost = [a for a in attempts if a.result != "ok"]
    by = Counter(str(a.member) for a in attempts if a.result == "ok")
    served = ", ".join(
        f"{count} by {'itself' if m == stream.client else m}" for m, count in sorted(by.items())
    )
    bound = Bound(0, 0, "attempts", why)
    status = Status.FAIL if lost else Status.PASS if attempts else Status.UNKNOWN
    sentence = (
        f"{stream.client} reached {stream.target} in {len(attempts) - len(lost)} of {len(attempts)} attempts"
    )
    sentence += f" ({served})" if served else ""
    if not attempts:
        sentence = f"{stream.client} never asked {stream.target} while nothing was wrong"
    if status is Status.FAIL and (late := excuse(facts, lost)):
        status, sentence = Status.UNKNOWN, f"{sentence}, but {late}"
    evidence = (*lost[:_SHOWN], *(_packets(facts, stream) if lost else ()))
    measured = len(lost) if attempts else None
    matter = Matter.of_run(NAME, facts, str(stream), aspect)
    return matter.verdict(status, sentence, measured, bound, evidence)
