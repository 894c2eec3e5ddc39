"""What the page's script draws: lanes, attempts and bands, as compact JSON.

Times are microseconds from the first fault (or from the first event, without one), packets `segment/number`.
Texts that recur stand once, in `texts`.  A stream or lane with very many entries is thinned: what went
wrong stays, of the rest every n-th.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from harness.report.lanes.model import Group, Lane, Moment, Promise, Stretch
from harness.report.packet_numbers import PacketNumbers
from harness.report.summary import Summary
from harness.timeline import Event, Timeline

_MOST_ATTEMPTS = 20_000
_MOST_MOMENTS = 4_000
_MOST_STRETCHES = 2_000


class Payload:
    """Collects the data of one page; two runs on one page share their `texts`."""

    def __init__(
        self,
        timeline: Timeline,
        figures: Summary,
        packets: PacketNumbers,
        texts: dict[str, int] | None = None,
    ) -> None:
        self._timeline, self._figures, self._packets = timeline, figures, packets
        self._texts: dict[str, int] = {} if texts is None else texts
        run = timeline.first("run")
        names = [node["name"] for node in run.nodes] if run else []
        balancers = [node["name"] for node in run.nodes if node["role"] == "balancer"] if run else []
        ordered = [*balancers, *(name for name in names if name not in balancers)]
        self.colours = {name: number % 6 for number, name in enumerate(ordered)}

    def data(self, groups: Sequence[Group]) -> dict[str, Any]:
        """Everything, as plain data."""
        data: dict[str, Any] = {
            "span": [self._us(t) for t in self._timeline.span],
            "views": [[name, self._us(begin), self._us(end)] for name, begin, end in self._views()],
            "bands": [self._band(fault) for fault in self._figures.faults],
            "groups": [{"name": g.name, "lanes": [self._lane(lane) for lane in g.lanes]} for g in groups],
            "streams": list(self._streams()),
        }
        data["texts"] = list(self._texts)
        return data

    def _us(self, t_ns: int) -> int:
        return round((t_ns - self._figures.origin_ns) / 1000)

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def packet(self, event: Event | None) -> str:
        """Where an event's packet is, or nothing."""
        found = self._packets.of(event)
        return "" if found is None else f"{found.capture}/{found.number}"

    def _views(self) -> list[tuple[str, int, int]]:
        """Stretches of time worth a look, the one to begin with first."""
        begin, end = self._timeline.span
        steady = self._timeline.first("phase", name="steady")
        drill = steady.t if steady else begin
        views = [("drill", drill, end)]
        for number, fault in enumerate(self._figures.faults, 1):
            more = f" {number}" if len(self._figures.faults) > 1 else ""
            phases = {
                name: self._timeline.first("phase", name=name, since=fault.inject_ns)
                for name in ("recovered", "healed")
            }
            seen = phases["recovered"]
            until = min(fault.heal_ns or end, seen.t if seen else end)
            margin = max((until - fault.inject_ns) // 8, 50_000_000)
            views.append((f"fault{more}", max(fault.inject_ns - margin, begin), min(until + margin, end)))
            if fault.heal_ns is not None:
                seen = phases["healed"]
                until = seen.t if seen else end
                margin = max((until - fault.heal_ns) // 8, 50_000_000)
                views.append((f"healing{more}", max(fault.heal_ns - margin, begin), min(until + margin, end)))
        return [*views[:9], ("everything", begin, end)]

    def _band(self, fault: Any) -> list[Any]:
        end_ns = self._timeline.span[1]
        moments = [fault.inject_ns, fault.heal_ns or end_ns, fault.healed_ns or fault.heal_ns or end_ns]
        return [*(self._us(t) for t in moments), str(fault)]

    # -- lanes -------------------------------------------------------------------------------------

    def _lane(self, lane: Lane) -> dict[str, Any]:
        return {
            "name": lane.name,
            "stretches": [self._stretch(s) for s in lane.stretches[:_MOST_STRETCHES]],
            "moments": [self._moment(m) for m in _thinned_moments(lane.moments)],
            "promises": [self._promise(p) for p in lane.promises],
        }

    def _promise(self, item: Promise) -> list[Any]:
        return [self._us(item.from_ns), self._us(item.to_ns), int(item.kept), self._text(item.text)]

    def _class(self, item: Stretch | Moment) -> str:
        return f"n{self.colours.get(item.node, 5)}" if item.state == "node" else item.state

    def _stretch(self, item: Stretch) -> list[Any]:
        texts = [self._text(item.label), self._text(item.detail)]
        return [
            self._us(item.from_ns),
            self._us(item.to_ns),
            self._class(item),
            *texts,
            self.packet(item.event),
        ]

    def _moment(self, item: Moment) -> list[Any]:
        return [self._us(item.t), self._class(item), self._text(item.text), self.packet(item.event)]

    # -- attempts ----------------------------------------------------------------------------------

    def _streams(self) -> Iterable[dict[str, Any]]:
        """Each client's attempts in columns: due (as differences), duration (us), result, member, packet."""
        attempts: dict[tuple[bool, str, str], list[Event]] = {}
        for event in self._timeline.of("probe"):
            attempts.setdefault((event.stream == "long", event.client, event.target), []).append(event)
        several = len({target for _, _, target in attempts}) > 1
        for (long, client, target), made in sorted(attempts.items(), key=lambda item: item[0]):
            kept, step = _thinned_attempts(made)
            due = [self._us(event.t) for event in kept]
            places = [self.packet(event) for event in kept]
            capture = next((place.partition("/")[0] for place in places if place), "")
            yield {
                "name": client + (f" to {target}" if several else "") + (", long" if long else ""),
                "long": int(long),
                "step": step,
                "capture": capture,
                "due": [b - a for a, b in zip([0, *due], due, strict=False)],
                "took": [max(round((event.end - event.t) / 1000), 0) for event in kept],
                "result": [self._text(event.result) for event in kept],
                "member": [self._text(str(event.member or "")) for event in kept],
                "packet": [int(place.partition("/")[2] or 0) for place in places],
            }


def _thinned_attempts(made: list[Event]) -> tuple[list[Event], int]:
    """The lost ones and every n-th of those answered; and n."""
    step = 1 + len(made) // _MOST_ATTEMPTS
    if step == 1:
        return made, 1
    lost_step = 1 + sum(event.result != "ok" for event in made) // _MOST_ATTEMPTS
    kept, seen = [], [0, 0]
    for event in made:
        lost = event.result != "ok"
        if seen[lost] % (lost_step if lost else step) == 0:
            kept.append(event)
        seen[lost] += 1
    return kept, step


def _thinned_moments(moments: Sequence[Moment]) -> Sequence[Moment]:
    step = 1 + len(moments) // _MOST_MOMENTS
    if step == 1:
        return moments
    return [m for number, m in enumerate(moments) if number % step == 0 or m.state in ("bad", "warn")]


def embedded(data: dict[str, Any]) -> str:
    """The data as JSON that may stand in a page's script element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
