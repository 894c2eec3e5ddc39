"""The figures of a run that everybody asks for: who owned the VIP, how long it took, what clients lost.

Computed from the timeline by the judges' own rules, so that no two numbers of a report disagree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.bounds.bound import Bound
from harness.errors import UsageError
from harness.properties.facts import Facts, FaultSpan
from harness.properties.owners import Ownership, address_owners, wire_owners
from harness.properties.streams import Stream, outages
from harness.properties.takeover import Takeover, takeovers
from harness.timeline import Event, Timeline


@dataclass(frozen=True)
class ClientFigures:
    """One client on one target by one kind of connection (`new` or `long`).

    `outage_s` is the longest run of failures from the first fault on (or of the whole run without a
    fault), `fault_s` and `healing_s` that while the fault acted and from healing on, None if never so;
    `period_s` is the time from one attempt to the next.
    """

    client: str
    target: str
    stream: str
    sent: int
    lost: int
    causes: dict[str, int]
    outage_s: float
    fault_s: float | None
    healing_s: float | None
    period_s: float = 0.0


@dataclass(frozen=True)
class Hold:
    """One node's hold of a VIP, from and to in ns; `ended_by` says how it ended."""

    node: str
    vip: str
    vrid: int
    from_ns: int
    to_ns: int
    ended_by: str


@dataclass(frozen=True)
class Summary:
    """All figures of a run; times are on the timeline's clock, `origin_ns` is t = 0 of every report."""

    origin_ns: int
    faults: tuple[FaultSpan, ...]
    takeovers: tuple[Takeover, ...]
    holds: tuple[Hold, ...]
    clients: tuple[ClientFigures, ...]

    @classmethod
    def of(cls, timeline: Timeline) -> Summary:
        """Sum a timeline up; what a cut or unreadable one does not tell is left empty."""
        try:
            facts = Facts.of(timeline)
        except UsageError:
            return cls(timeline.span[0], (), (), (), tuple(_clients(timeline, (), ())))
        moves = tuple(takeovers(facts))
        origin_ns = facts.faults[0].inject_ns if facts.faults else timeline.span[0]
        return cls(
            origin_ns,
            facts.faults,
            moves,
            tuple(_holds(facts)),
            tuple(_clients(timeline, facts.faults, moves)),
        )

    @property
    def due(self) -> list[Takeover]:
        """The takeovers that a fault had to bring about."""
        return [move for move in self.takeovers if move.due and not move.ends_early]

    @property
    def takeover_s(self) -> float | None:
        """The slowest takeover from its fault (s); None if none was due, or one never came."""
        taken = [move.taken_s for move in self.due]
        known = [seconds for seconds in taken if seconds is not None]
        return max(known) if known and len(known) == len(taken) else None

    @property
    def slowest(self) -> Takeover | None:
        """The takeover that came last or never came, of those that were due."""
        never = [move for move in self.due if move.taken_s is None]
        return never[0] if never else max(self.due, key=lambda move: move.taken_s or 0.0, default=None)

    @property
    def bound(self) -> Bound | None:
        """What was promised for that takeover."""
        return None if self.slowest is None else self.slowest.bound

    def requests(self, stream: str = "new") -> tuple[int, int]:
        """How many attempts all clients made by this kind of connection, and how many of them were lost."""
        rows = [row for row in self.clients if row.stream == stream]
        return sum(row.sent for row in rows), sum(row.lost for row in rows)

    @property
    def outage_s(self) -> float | None:
        """The longest outage of any client on new connections (s); None if nobody asked anything."""
        return max((row.outage_s for row in self.clients if row.stream == "new"), default=None)

    def relative_s(self, t_ns: int) -> float:
        """A moment in seconds from t = 0."""
        return (t_ns - self.origin_ns) / 1e9


def _holds(facts: Facts) -> list[Hold]:
    """By the adverts on the wire; by the nodes' addresses where nobody speaks VRRP."""
    found: list[Hold] = []
    for router in facts.routers:
        claims: list[Ownership] = wire_owners(facts, router) or address_owners(facts, router)
        vip = ", ".join(router.announced or router.addresses)
        found += [Hold(c.node, c.address or vip, router.vrid, c.from_ns, c.to_ns, c.ended_by) for c in claims]
    return sorted(found, key=lambda hold: (hold.from_ns, hold.node))


def _clients(
    timeline: Timeline, faults: tuple[FaultSpan, ...], moves: tuple[Takeover, ...]
) -> Iterable[ClientFigures]:
    attempts: dict[tuple[str, str, str], list[Event]] = {}
    # Until it serves steadily the testbed only starts: what is lost then is nobody's cost.
    steady = timeline.first("phase", name="steady")
    for event in timeline.of("probe", since=None if steady is None else steady.t):
        attempts.setdefault((event.stream, event.client, event.target), []).append(event)
    # "new" connections first: they are what the judges look at.
    for (kind, client, target), made in sorted(
        attempts.items(), key=lambda item: (item[0][0] != "new", item[0])
    ):
        stream = Stream(client, target, tuple(made))
        causes = Counter(attempt.result for attempt in made if attempt.result != "ok")
        in_fault = [_in_fault(stream, fault, moves, timeline.span[1]) for fault in faults]
        healing = [
            _longest(stream, fault.heal_ns, _until(faults, fault, timeline.span[1]))
            for fault in faults
            if fault.heal_ns is not None
        ]
        since_ns = faults[0].inject_ns if faults else timeline.span[0]
        whole = _longest(stream, since_ns, timeline.span[1] + 1)
        yield ClientFigures(
            client,
            target,
            kind,
            len(made),
            sum(causes.values()),
            dict(causes.most_common()),
            max([whole, *in_fault]),
            max(in_fault, default=None),
            max(healing, default=None),
            stream.period_s,
        )


def _in_fault(stream: Stream, fault: FaultSpan, moves: tuple[Takeover, ...], end_ns: int) -> float:
    """The longest outage until healing begins; an answer that had to wait for the takeover came too late."""
    host = stream.target.rpartition(":")[0].strip("[]")
    moved_ns = next(
        (
            move.first.t
            for move in moves
            if move.fault.id == fault.id
            and move.due
            and move.first is not None
            and host in move.router.addresses
        ),
        None,
    )
    until_ns = end_ns + 1 if fault.heal_ns is None else fault.heal_ns
    return _longest(stream, fault.inject_ns, until_ns, moved_ns)


def _until(faults: tuple[FaultSpan, ...], fault: FaultSpan, end_ns: int) -> int:
    """When the next fault begins, or just after the end."""
    return min((f.inject_ns for f in faults if f.inject_ns > fault.inject_ns), default=end_ns + 1)


def _longest(stream: Stream, since_ns: int, until_ns: int, moved_ns: int | None = None) -> float:
    runs = outages(stream, since_ns, until_ns, moved_ns)
    return max((run.seconds(stream.end_ns) for run in runs), default=0.0)
