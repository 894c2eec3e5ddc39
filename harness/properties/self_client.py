"""self-client: can each balanced node, and each balancer, reach the service through the VIP itself?

The masters need to, as their own clients.  A proxy (L7) makes connections of its own, so a member may be
served by any member, itself included, and the VIP's holder reaches its proxy without leaving the node.
"""

from __future__ import annotations

from collections import Counter

from harness.bounds.bound import Bound
from harness.properties.facts import Facts
from harness.properties.overload import excuse
from harness.properties.quiet import in_quiet
from harness.properties.streams import Stream, streams
from harness.timeline import Event
from harness.verdict import Status, Verdict

NAME = "self-client"
_SHOWN = 6
_ROLES = ("member", "balancer")


def judge(facts: Facts) -> list[Verdict]:
    """One finding for every member and every balancer that asks a VIP, apart for a balancer that holds it."""
    roles = {node["name"]: node["role"] for node in facts.timeline.run.nodes}
    found: list[Verdict] = []
    for stream in streams(facts):
        role = roles.get(stream.client)
        if role not in _ROLES:
            continue
        calm = in_quiet(facts, stream.attempts)
        if role == "member":
            found.append(_judge(facts, stream, calm, "member"))
            continue
        holder = [a for a in calm if _owner(facts, stream.address, a.t) == stream.client]
        held = {id(a) for a in holder}
        others = [a for a in calm if id(a) not in held]
        found += [_judge(facts, stream, holder, "holder")] if holder else []
        found += [_judge(facts, stream, others, "standby")] if others or not holder else []
    return found


def _owner(facts: Facts, address: str, t_ns: int) -> str | None:
    return next((r.owner_at(t_ns) for r in facts.routers if address in r.addresses), None)


def _judge(facts: Facts, stream: Stream, attempts: list[Event], aspect: str) -> Verdict:
    lost = [a for a in attempts if a.result != "ok"]
    by = Counter(str(a.member) for a in attempts if a.result == "ok")
    served = ", ".join(
        f"{count} by {'itself' if m == stream.client else m}" for m, count in sorted(by.items())
    )
    bound = Bound(0, 0, "attempts", "through a proxy every node is a client like any other")
    status = Status.FAIL if lost else Status.PASS if attempts else Status.UNKNOWN
    sentence = (
        f"{stream.client} reached {stream.target} in {len(attempts) - len(lost)} of {len(attempts)} attempts"
    )
    sentence += f" ({served})" if served else ""
    if not attempts:
        sentence = f"{stream.client} never asked {stream.target} while nothing was wrong"
    if status is Status.FAIL and (late := excuse(facts, lost)):
        status, sentence = Status.UNKNOWN, f"{sentence}, but {late}"
    origin_ns = facts.faults[0].inject_ns if facts.faults else None
    return Verdict(
        NAME,
        status,
        sentence,
        len(lost) if attempts else None,
        bound,
        "attempts",
        tuple(lost[:_SHOWN]),
        aspect=aspect,
        subject=f"{stream.client} to {stream.target}",
        origin_ns=origin_ns,
    )
