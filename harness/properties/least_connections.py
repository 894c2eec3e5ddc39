"""lc and wlc: whether each new connection went to a member that had the least of them, as far as is known.

ip_vs_lc.c and ip_vs_wlc.c: a member's load is its active connections times 256 and its inactive ones, with
wlc divided by its weight; the least loaded is next.  A connection is active from its SYN until the client's
FIN, and inactive then until it is forgotten (ip_vs_proto_tcp.c).  The director tells the counts once a
second; what has begun and ended since then is known from the clients.  When the director sees an attempt's
first packet is known only as between the attempt's begin and end, so a load is a range.  Where attempts
follow each other faster than that is known (`SLOP_NS`), little is sure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from harness.properties.facts import SECOND_NS, Facts
from harness.properties.pools import Pool
from harness.properties.streams import streams
from harness.timeline import Event

SCHEDULERS = ("lc", "wlc")
SLOP_NS = 20_000_000
"""By how much the times of clients and of the director's counts may be apart on an idle machine."""

_ACTIVE = 256
# An inactive connection is remembered for ten seconds at least, so counts add up for that long.
_OLDEST_NS = 5 * SECOND_NS
_SETTLED_NS = SECOND_NS
_FOR_EVER = 1 << 62


class _Connections:
    """The connections of a member: each as (asked for, surely there, ended) in ns."""

    def __init__(self, spans: list[tuple[int, int, int]]) -> None:
        self._asked = sorted(asked for asked, _, _ in spans)
        self._ended = sorted(ended for _, _, ended in spans)
        self._lasting = [(there, ended) for _, there, ended in spans if there < ended]

    def load(self, from_ns: int, to_ns: int) -> tuple[int, int]:
        """The least and the most that they may have made of a load at some moment within these."""
        soon, late = from_ns - SLOP_NS, to_ns + SLOP_NS
        active = sum(1 for there, ended in self._lasting if there < soon and ended > late)
        over, over_by_then = bisect_left(self._ended, soon), bisect_left(self._ended, late)
        return _ACTIVE * active + over, _ACTIVE * (bisect_left(self._asked, late) - over) + over_by_then


def judged(facts: Facts, pool: Pool, target: str, served: list[Event]) -> tuple[list[Event], list[Event]]:
    """The attempts that can be judged, and those of them that went to who surely had more to do."""
    nodes = {f"{s.address}:{s.port}": s.member for s in pool.servers}
    weights = {s.member: (s.weight if pool.algorithm == "wlc" else 1) for s in pool.servers if s.weight}
    spans: dict[str, list[tuple[int, int, int]]] = {member: [] for member in weights}
    for member, *span in _connections(facts, target):
        if member in spans:
            spans[member].append((span[0], span[1], span[2]))
    known = {member: _Connections(own) for member, own in spans.items()}
    # What was lost may be anybody's, and end at the director whenever its last packets get there.
    failed = [a for s in streams(facts, own=True) for a in s.lost() if s.target == target]
    lost, over = sorted(a.t for a in failed), sorted(a.end for a in failed)
    counts = facts.timeline.of("ipvs-load", node=pool.balancer, service=f"TCP {target}")
    sure, strays = [], []
    for attempt in served:
        before = bisect_left(over, attempt.t)
        since_ns = max(
            [attempt.t - _OLDEST_NS, *(end + _SETTLED_NS for end in over[max(before - 1, 0) : before])]
        )
        recent = [e for e in counts if since_ns <= e.t < attempt.t - SLOP_NS]
        loads = [
            {
                nodes[m]: _range(_ACTIVE * a + i, known[nodes[m]], told.t, attempt)
                for m, (a, i) in told.members.items()
                if nodes.get(m) in known
            }
            for told in recent
        ]
        loads = [each for each in loads if set(each) == set(known)]
        if not loads or str(attempt.member) not in known:
            continue
        bounds = {m: (max(each[m][0] for each in loads), min(each[m][1] for each in loads)) for m in known}
        if any(least > most for least, most in bounds.values()):
            continue  # something was later than that
        unknown = bisect_left(lost, attempt.end + SLOP_NS) - bisect_left(lost, recent[0].t - SLOP_NS)
        sure.append(attempt)
        if _strayed(str(attempt.member), bounds, weights, unknown):
            strays.append(attempt)
    return sure, strays


def _range(base: int, connections: _Connections, then_ns: int, attempt: Event) -> tuple[int, int]:
    """A load while an attempt was made, at least and at most: what it was then, and what came of it since."""
    then, now = connections.load(then_ns, then_ns), connections.load(attempt.t, attempt.end)
    return base + now[0] - then[1], base + now[1] - then[0]


def _strayed(member: str, loads: dict[str, tuple[int, int]], weights: dict[str, int], unknown: int) -> bool:
    least = loads[member][0] / weights[member]
    others = ((most + _ACTIVE * unknown) / weights[m] for m, (_, most) in loads.items() if m != member)
    return any(least > most for most in others)


def _connections(facts: Facts, target: str) -> Iterator[tuple[str, int, int, int]]:
    """All connections to a target: member, when asked for, by when surely there, when ended (ns)."""
    for stream in streams(facts, own=True):
        if stream.target == target:
            yield from ((str(a.member), a.t, a.end, a.end) for a in stream.attempts if a.result == "ok")
    for stream in streams(facts, "long", own=True):
        if stream.target == target:
            yield from _long(stream.attempts)


def _long(exchanges: tuple[Event, ...]) -> Iterator[tuple[str, int, int, int]]:
    """Each connection that was kept, by its exchanges; the last one lasts."""
    answered = [e for e in exchanges if e.result == "ok"]
    if not answered:
        return
    first = last = answered[0]
    for exchange in answered[1:]:
        if exchange.get("reconnected"):
            yield str(first.member), first.t, first.end, last.end
            first = exchange
        last = exchange
    yield str(first.member), first.t, first.end, _FOR_EVER
