"""How clients fare over a stretch of time: answered, lost, how long it took, who answered."""

from __future__ import annotations

import select
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.lab.client import checked
from harness.timeline import Event

if TYPE_CHECKING:
    from harness.lab.client import Client

_MS = 1_000_000
_NS = 1_000_000_000
_LATELY_S = 5.0


def collect(client: Client, for_s: float | None) -> list[Event]:
    """The attempts of the last seconds; or those of the next `for_s`, of which an interrupt ends the wait."""
    client.send({"do": "subscribe", "kinds": ["probe"], "since_s": 0.0 if for_s else _LATELY_S})
    found: list[Event] = []
    until_ns = 0
    poll = select.poll()
    poll.register(client.fileno(), select.POLLIN)
    try:
        while True:
            left_s = (until_ns - time.monotonic_ns()) / _NS if until_ns else 60.0
            if until_ns and (left_s <= 0 or not (client.pending or poll.poll(left_s * 1e3))):
                return found
            message = client.read()
            if message is None:
                raise client.gone()
            if "event" in checked(message):
                record = dict(message["event"])
                found.append(Event(record.pop("t"), record.pop("kind"), record))
            elif "ok" in message:
                if not for_s:
                    return found
                until_ns = time.monotonic_ns() + int(for_s * _NS)
    except KeyboardInterrupt:
        return found


def table(events: Iterable[Event], clients: Iterable[str]) -> list[str]:
    """A line for each client's target, from `probe` events, and for each client that asked nothing."""
    attempts: dict[tuple[str, str, str], list[Event]] = {}
    for event in events:
        if event.kind == "probe":
            attempts.setdefault((event.client, event.stream != "new", event.target), []).append(event)
    rows: list[tuple[str, ...]] = [("client", "target", "answered", "lost", "median", "slowest", "by")]
    for (client, long, target), found in sorted(attempts.items(), key=lambda item: str(item[0])):
        rows.append(_row(f"{client} (long)" if long else client, target, found))
    silent = [client for client in clients if not any(key[0] == client for key in attempts)]
    rows += [(client, "-", "asks nothing", "", "", "", "") for client in silent]
    return _aligned(rows)


def _row(client: str, target: str, attempts: list[Event]) -> tuple[str, ...]:
    answers = [a for a in attempts if a.result == "ok"]
    took_ms = [(a.end - a.get("start", a.t)) / _MS for a in answers]
    causes = Counter(str(a.result) for a in attempts if a.result != "ok")
    members = Counter(str(a.member) for a in answers if a.member)
    return (
        client,
        target,
        f"{len(answers)} of {len(attempts)}",
        ", ".join(f"{count} {cause}" for cause, count in causes.most_common()) or "none",
        f"{statistics.median(took_ms):.1f} ms" if took_ms else "-",
        f"{max(took_ms):.1f} ms" if took_ms else "-",
        ", ".join(f"{member} {count}" for member, count in sorted(members.items())) or "nobody",
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
