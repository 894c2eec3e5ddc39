"""The timeline: everything that happened in a run, on one clock, as plain data.

Witnesses write events, judges read them; nothing right of the timeline needs a node.  All times
are CLOCK_MONOTONIC in nanoseconds.  On disk a timeline is JSON Lines: one object an event, with
`t` (ns), `kind`, and the fields of that kind as listed in docs/timeline.md.
"""

from __future__ import annotations

import json
import os
from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.errors import CannotWrite, UsageError

FORMAT = 1

# The fields that an event of each kind always has, beside `t` and `kind`.
KINDS: dict[str, tuple[str, ...]] = {
    "run": ("format", "version", "architecture", "options", "seed", "world", "nodes", "segments", "vips"),
    "config": ("node", "service", "path", "text"),
    "phase": ("name",),
    "service": ("node", "service", "state"),
    "node": ("node", "state"),
    "fault": ("id", "fault", "target", "state"),
    "address": ("node", "interface", "address", "change"),
    "link": ("node", "interface", "up"),
    "vrrp": ("segment", "node", "src", "dst", "vrid", "version", "priority", "interval_cs", "addresses"),
    "arp": ("segment", "node", "op", "sender_mac", "sender_ip", "target_ip", "gratuitous"),
    "icmp": ("segment", "node", "src", "dst", "what", "mtu", "about"),
    "neighbour": ("node", "interface", "address", "mac"),
    "health": ("node", "service", "pool", "server", "up"),
    "ipvs": ("node", "service", "change"),
    "ipvs-load": ("node", "service", "members"),
    "packet": ("segment", "node", "src", "dst", "what", "client", "attempt"),
    "probe": ("client", "stream", "seq", "target", "end", "result", "member"),
    "access": ("node", "peer", "path", "status"),
    "lag": ("source", "lag_ns"),
    "clock": ("offset_ns",),
    "note": ("text",),
}


class Event:
    """One thing that happened: `t` (ns, monotonic), `kind`, and the kind's fields as attributes."""

    __slots__ = ("data", "kind", "t")

    def __init__(self, t: int, kind: str, data: dict[str, Any]) -> None:
        self.t, self.kind, self.data = t, kind, data

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"a {self.kind!r} event has no field {name!r}") from None

    def get(self, name: str, default: Any = None) -> Any:
        """An optional field, or `default`."""
        return self.data.get(name, default)

    def __repr__(self) -> str:
        fields = ", ".join(f"{k}={v!r}" for k, v in self.data.items() if k != "text")
        return f"<{self.t / 1e9:.6f} {self.kind} {fields}>"

    def to_json(self) -> str:
        """The event as one line of JSON, without the line's end."""
        return json.dumps({"t": self.t, "kind": self.kind, **self.data}, separators=(",", ":"))


def parse_event(line: str | bytes) -> Event:
    """Read one line of a timeline; raises ValueError if it is not an event."""
    record = json.loads(line)
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    t, kind = record.pop("t", None), record.pop("kind", None)
    if not isinstance(t, int) or kind not in KINDS:
        raise ValueError(f"no integer `t`, or unknown kind {kind!r}")
    missing = [name for name in KINDS[kind] if name not in record]
    if missing:
        raise ValueError(f"a {kind!r} event without {', '.join(missing)}")
    return Event(t, kind, record)


# Time (ns), number in the order of arrival, event: no two compare equal.
_Entry = tuple[int, int, Event]


class Timeline:
    """Events in order of time, with the questions that judges ask of them."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._all: list[_Entry] = []
        self._of_kind: dict[str, list[_Entry]] = {}
        self._added = 0
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Record an event; events may arrive out of order of time, if not by much."""
        self._added += 1
        entry = (event.t, self._added, event)
        for entries in (self._all, self._of_kind.setdefault(event.kind, [])):
            if entries and entry < entries[-1]:
                insort(entries, entry)
            else:
                entries.append(entry)

    def shorten(self, keep: int, kinds: Collection[str]) -> int:
        """Let go of events of these kinds older than the newest `keep` events; from when on all are there."""
        since_ns = self._all[-keep][0] if len(self._all) > keep else self.span[0]
        for kind in kinds:
            entries = self._of_kind.get(kind, [])
            del entries[: bisect_left(entries, (since_ns,))]
        self._all = [entry for entry in self._all if entry[0] >= since_ns or entry[2].kind not in kinds]
        return since_ns

    def cut(self, until_ns: int) -> None:
        """Let go of everything after a moment."""
        for entries in (self._all, *self._of_kind.values()):
            del entries[bisect_left(entries, (until_ns + 1,)) :]

    def __iter__(self) -> Iterator[Event]:
        return (event for _, _, event in self._all)

    def __len__(self) -> int:
        return len(self._all)

    def of(
        self, *kinds: str, since: int | None = None, until: int | None = None, **fields: Any
    ) -> list[Event]:
        """Events of these kinds with these field values, from `since` to `until` (ns, both included)."""
        found: list[_Entry] = []
        for kind in dict.fromkeys(kinds):
            entries = self._of_kind.get(kind, [])
            start = 0 if since is None else bisect_left(entries, (since,))
            end = len(entries) if until is None else bisect_left(entries, (until + 1,))
            found += entries[start:end]
        if len(kinds) > 1:
            found.sort()
        wanted = fields.items()
        return [event for _, _, event in found if all(event.data.get(k) == v for k, v in wanted)]

    def since(self, t_ns: int) -> list[Event]:
        """Events of all kinds from a moment on (ns)."""
        return [event for _, _, event in self._all[bisect_left(self._all, (t_ns,)) :]]

    def first(self, *kinds: str, **criteria: Any) -> Event | None:
        """The first event that `of` would give, or None."""
        return next(iter(self.of(*kinds, **criteria)), None)

    def last(self, *kinds: str, **criteria: Any) -> Event | None:
        """The last event that `of` would give, or None."""
        found = self.of(*kinds, **criteria)
        return found[-1] if found else None

    @property
    def run(self) -> Event:
        """The event that describes the testbed; raises UsageError where there is none."""
        event = self.first("run")
        if event is None:
            raise UsageError("this timeline has no 'run' event: it was cut before the testbed was described")
        return event

    @property
    def span(self) -> tuple[int, int]:
        """The times of the first and the last event (ns)."""
        return (self._all[0][0], self._all[-1][0]) if self._all else (0, 0)

    def save(self, path: Path) -> None:
        """Write the timeline in order of time, in one step: readers see the old file or the new.

        Raises CannotWrite; the old file is then as it was.
        """
        part = path.with_name(path.name + ".part")
        try:
            with part.open("w", encoding="utf-8") as out:
                out.writelines(event.to_json() + "\n" for event in self)
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CannotWrite(path, error) from None

    @classmethod
    def load(cls, path: Path, on_bad_line: Callable[[int, str], None] | None = None) -> Timeline:
        """Read a saved timeline.

        A broken line raises UsageError naming file and line, or is passed to `on_bad_line` (number,
        reason) and left out.
        """
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise UsageError(f"cannot read the timeline {path}: {error.strerror}") from None
        events = []
        for number, line in enumerate(lines, 1):
            try:
                events.append(parse_event(line))
            except ValueError as error:
                if on_bad_line is None:
                    raise UsageError(f"{path}:{number}: not a timeline event: {error}") from None
                on_bad_line(number, str(error))
        return cls(events)
