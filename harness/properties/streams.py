"""The clients' attempts as streams: who asked what, in order of the due times, and the outages in between."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from harness.bystanders import bystanders
from harness.properties.facts import SECOND_NS, Facts
from harness.timeline import Event

# How many times the usual duration makes an attempt a stuck one.
_STUCK = 20


@dataclass(frozen=True)
class Outage:
    """A run of failed attempts: from the first one due to the first good one due after the last."""

    from_ns: int
    to_ns: int | None
    lost: tuple[Event, ...]

    def seconds(self, end_ns: int) -> float:
        """Its length, up to the end of what was seen if it did not end."""
        return ((end_ns if self.to_ns is None else self.to_ns) - self.from_ns) / 1e9


@dataclass(frozen=True)
class Stream:
    """The attempts of one client on one target, in the order in which they were due."""

    client: str
    target: str
    attempts: tuple[Event, ...]

    def __str__(self) -> str:
        return f"{self.client} to {self.target}"

    @property
    def address(self) -> str:
        """The address that it asks."""
        return self.target.rpartition(":")[0].strip("[]")

    @property
    def period_s(self) -> float:
        """The time between two attempts, as it was kept."""
        due = [attempt.t for attempt in self.attempts]
        gaps = [later - sooner for sooner, later in pairwise(due)]
        return median(gaps) / 1e9 if gaps else 0.0

    @property
    def end_ns(self) -> int:
        """When the last attempt was due."""
        return self.attempts[-1].t

    def ailing(self, t_ns: int) -> str:
        """Why its losses may be older than a fault of this moment (it lost attempts before), or nothing.

        An attempt that had been open for many times as long as any usually is was stuck already.
        """
        usual_ns = median([a.end - a.t for a in self.attempts if a.result == "ok"] or [0])
        recent = [a for a in self.lost() if t_ns - SECOND_NS <= a.t < t_ns - _STUCK * usual_ns]
        return f"{self.client} was losing attempts already before" if recent else ""

    def lost(self, since_ns: int | None = None, until_ns: int | None = None) -> list[Event]:
        """The failed attempts, or those of them that were under way in a window."""
        return [
            a
            for a in self.attempts
            if a.result != "ok"
            if (since_ns is None or a.end >= since_ns) and (until_ns is None or a.t < until_ns)
        ]


def streams(facts: Facts, kind: str = "new", *, own: bool = False) -> list[Stream]:
    """The clients' streams: of separate connections (`new`), or of exchanges on a long-lived one (`long`).

    With IPVS, members, who stands beside them, and balancers are no clients of the VIP like others
    (self-client): they are left out unless `own` asks for them as well.
    """
    forwarding = any(config.virtual_servers for config in facts.configs.values())
    roles = {node["name"]: node["role"] for node in facts.timeline.run.nodes}
    beside = bystanders(facts.timeline.run) if forwarding and not own else frozenset()
    found: dict[tuple[str, str], list[Event]] = {}
    for event in facts.timeline.of("probe", stream=kind):
        client = event.client
        if own or not forwarding or (roles.get(client) == "client" and client not in beside):
            found.setdefault((client, event.target), []).append(event)
    return [Stream(*key, tuple(attempts)) for key, attempts in sorted(found.items())]


def outages(stream: Stream, since_ns: int, until_ns: int, moved_ns: int | None = None) -> list[Outage]:
    """The runs of failed attempts due in a window; `moved_ns` is when the address moved within it."""
    found: list[Outage] = []
    run: list[Event] = []
    for attempt in stream.attempts:
        if attempt.t < since_ns:
            continue
        waited = moved_ns is not None and attempt.t < moved_ns < attempt.end
        if attempt.t < until_ns and (attempt.result != "ok" or waited):
            run.append(attempt)
        elif run:
            found.append(Outage(run[0].t, attempt.t, tuple(run)))
            run = []
        if attempt.t >= until_ns and not run:
            break
    if run:
        found.append(Outage(run[0].t, None, tuple(run)))
    return found
