"""What in a run is worth a person's attention: one line each, out of thousands of events.

The same narrator serves the live view, which feeds it events as they come, and the final report, which
feeds it the whole timeline in order of time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from harness.report.announcers import Announcers, Change, sender
from harness.report.fortune import Fortune
from harness.timeline import Event, Timeline

Tone = Literal["plain", "good", "bad", "fault"]
MINOR, NOTABLE, KEY = 1, 2, 3
_LATE_NS = 20_000_000
Stream = tuple[str, str, str]


@dataclass(frozen=True)
class Happening:
    """One line of the story: when (ns), to which node (or client), what; `weight` from MINOR to KEY."""

    t: int
    node: str
    text: str
    tone: Tone = "plain"
    weight: int = NOTABLE


class Narrator:
    """Turns events into happenings, and keeps who announces what and how the clients fare."""

    def __init__(self) -> None:
        self.announcers = Announcers()
        self.fortunes: dict[Stream, Fortune] = {}
        self.vips: tuple[str, ...] = ()
        self.phase = "building"
        self._steady = self._over = False
        self._told_arp: set[tuple[str, str]] = set()
        self._told_bad: set[tuple[str, str]] = set()
        self._told_icmp: set[tuple[str, str]] = set()
        self._worst_lag_ns = 0
        self._tellers: dict[str, Callable[[Event], Happening | None]] = {
            "run": self._run,
            "phase": self._phase,
            "fault": self._fault,
            "node": self._node,
            "service": self._service,
            "address": self._address,
            "link": self._link,
            "vrrp": self._vrrp,
            "arp": self._arp,
            "icmp": self._icmp,
            "probe": self._probe,
            "lag": self._lag,
            "note": _note,
        }

    def take(self, event: Event) -> Happening | None:
        """The happening that this event completes, if it completes one."""
        teller = self._tellers.get(event.kind)
        if teller is None or (self._over and event.kind not in ("probe", "phase")):
            return None
        return teller(event)

    def finish(self, end_ns: int) -> list[Happening]:
        """What stays open at the end: clients that lose requests still."""
        return [
            self._again(stream, fortune) or _never_again(stream, fortune, end_ns)
            for stream, fortune in self.fortunes.items()
            if fortune.losing
        ]

    def _weight(self, weight: int) -> int:
        """While the testbed is being built, all this is expected."""
        return weight if self._steady else MINOR

    def _run(self, event: Event) -> None:
        self.vips = tuple(dict.fromkeys(vip["address"] for vip in event.vips))

    def _phase(self, event: Event) -> Happening | None:
        self.phase = event.name
        if event.name == "steady":
            self._steady = True
            owners = [" and ".join(self.announcers.present(r, event.t)) for r in self.announcers.routers()]
            owned = f", the VIP on {', '.join(filter(None, owners))}" if any(owners) else ""
            return Happening(event.t, "", f"steady: clients are served{owned}", "good", KEY)
        self._steady = self._steady or event.name == "fault"
        self._over = event.name == "done"
        told = _PHASES.get(event.name)
        return None if told is None else Happening(event.t, "", *told)

    def _fault(self, event: Event) -> Happening:
        self._steady = True
        where = f"{event.fault} of {event.target}"
        if event.state in ("inject", "heal"):
            word = "FAULT" if event.state == "inject" else "HEALING"
            return Happening(event.t, "", f"{word} {where}", "fault", KEY)
        weight = MINOR if event.state == "effective" else NOTABLE
        return Happening(event.t, "", f"{where} is {event.state}", "fault", weight)

    def _node(self, event: Event) -> Happening:
        tone: Tone = "bad" if event.state in ("crashed", "frozen") else "good"
        text = {"booted": "boots", "crashed": "is down", "frozen": "is frozen", "thawed": "goes on"}
        return Happening(event.t, event.node, text.get(event.state, event.state), tone, self._weight(NOTABLE))

    def _service(self, event: Event) -> Happening:
        if event.state == "exited":
            text = f"{event.service} has ended{_status(event.get('status'))}"
            return Happening(event.t, event.node, text, "bad", NOTABLE)
        weight = self._weight(NOTABLE if event.state == "ready" else MINOR)
        return Happening(event.t, event.node, f"{event.service} is {event.state}", "plain", weight)

    def _address(self, event: Event) -> Happening | None:
        address = event.address.partition("/")[0]
        if event.get("initial") or address not in self.vips:
            return None
        if event.change == "add":
            self._told_arp.discard((event.node, address))
        text = f"{'has' if event.change == 'add' else 'gives up'} {address} on {event.interface}"
        return Happening(event.t, event.node, text, "plain", self._weight(KEY))

    def _link(self, event: Event) -> Happening | None:
        if event.get("initial") or not self._steady:
            return None
        text = f"{event.interface} {'has its carrier again' if event.up else 'loses its carrier'}"
        return Happening(event.t, event.node, text, "good" if event.up else "bad", NOTABLE)

    def _vrrp(self, event: Event) -> Happening | None:
        if bad := event.get("bad"):
            if (event.node, bad) in self._told_bad:
                return None
            self._told_bad.add((event.node, bad))
            return Happening(event.t, sender(event), f"sends adverts to be discarded: {bad}", "bad", KEY)
        change = self.announcers.take(event)
        if change is None:
            return None
        weight = self._weight(KEY if change.what == "begins" else NOTABLE)
        return Happening(event.t, sender(event), _change(change), "plain", weight)

    def _arp(self, event: Event) -> Happening | None:
        told = (event.node, event.sender_ip)
        if not event.gratuitous or event.sender_ip not in self.vips or told in self._told_arp:
            return None
        self._told_arp.add(told)
        text = f"tells the neighbours: {event.sender_ip} is at {event.sender_mac}"
        return Happening(event.t, event.node, text, "plain", self._weight(KEY))

    def _icmp(self, event: Event) -> Happening | None:
        """Whoever passes the message on says nothing new."""
        told = (event.src, event.dst)
        if told in self._told_icmp:
            return None
        self._told_icmp.add(told)
        text = f"tells {event.dst}: {event.what}, MTU {event.mtu}"
        return Happening(event.t, event.node, text, "plain", self._weight(NOTABLE))

    def _probe(self, event: Event) -> Happening | None:
        stream = (event.client, event.stream, event.target)
        fortune = self.fortunes.get(stream)
        if fortune is None:
            fortune = self.fortunes[stream] = Fortune()
        if event.result != "ok":
            if not fortune.take_loss(event):
                return None
            text = f"first {self._request(stream)} lost ({event.result})"
            return Happening(event.t, event.client, text, "bad", self._weight(_importance(stream)))
        return self._again(stream, fortune) if fortune.take_answer(event) else None

    def _again(self, stream: Stream, fortune: Fortune) -> Happening | None:
        first = fortune.first_answer()
        if first is None:
            return None
        by = f" by {first.member}" if first.member else ""
        after = f"{fortune.run_lost} lost in {(first.t - fortune.run_from_ns) / 1e9:.3f} s"
        fortune.close_run()
        what = "long connection answered" if stream[1] == "long" else "answered"
        text = f"{what} again{by}{self._target(stream)}: {after}"
        return Happening(first.t, stream[0], text, "good", self._weight(_importance(stream)))

    def _request(self, stream: Stream) -> str:
        what = "exchange on a long connection" if stream[1] == "long" else "request"
        return f"{what}{self._target(stream)}"

    def _target(self, stream: Stream) -> str:
        return f" to {stream[2]}" if len({target for _, _, target in self.fortunes}) > 1 else ""

    def _lag(self, event: Event) -> Happening | None:
        if event.lag_ns < max(_LATE_NS, 1.5 * self._worst_lag_ns):
            return None
        self._worst_lag_ns = event.lag_ns
        text = f"the testbed itself was late by {event.lag_ns / 1e6:.0f} ms ({event.source})"
        return Happening(event.t, "", text, "bad", self._weight(NOTABLE))


_PHASES: dict[str, tuple[str, Tone, int]] = {
    "building": ("the testbed is being built", "plain", MINOR),
    "recovered": ("recovered: clients are served, owners are stable", "good", KEY),
    "healed": ("healed: clients are served, owners are stable", "good", KEY),
    "interrupted": ("interrupted", "bad", KEY),
}


def _importance(stream: Stream) -> int:
    """A long-lived connection breaks in every failover; whether new ones are answered is the question."""
    return NOTABLE if stream[1] == "long" else KEY


def _never_again(stream: Stream, fortune: Fortune, end_ns: int) -> Happening:
    still = "long connection still not answered" if stream[1] == "long" else "still not answered"
    return Happening(end_ns, stream[0], f"{still} at the end: {fortune.run_lost} lost", "bad", KEY)


def _change(change: Change) -> str:
    advert, before = change.advert, change.before
    if change.what == "leaves":
        return f"says goodbye to VRID {advert.vrid} (priority 0)"
    text = f"announces VRID {advert.vrid}, priority {advert.priority}"
    if before is None or change.silence_ns is None:
        return text
    silence = f"{change.silence_ns / 1e9:.3f} s"
    if sender(before) == sender(advert):
        return f"{text}, after {silence} of silence"
    return f"{text}, {silence} after {sender(before)}'s last ({before.priority})"


def _note(event: Event) -> Happening:
    # That a long-lived connection broke is told by the attempts on it as well.
    weight = MINOR if event.get("broken") else NOTABLE
    return Happening(event.t, "", " ".join(str(event.text).split()), "plain", weight)


def _status(status: object) -> str:
    if not isinstance(status, int):
        return ""
    if status >= 0:
        return f" with status {status}"
    try:
        return f" by {signal.Signals(-status).name}"
    except ValueError:
        return f" by signal {-status}"


def tell(timeline: Timeline) -> list[Happening]:
    """The whole story of a timeline, in order of time."""
    narrator = Narrator()
    story = [happening for event in timeline if (happening := narrator.take(event)) is not None]
    story += narrator.finish(timeline.span[1])
    return sorted(story, key=lambda happening: happening.t)


def condense(story: Iterable[Happening], limit: int) -> tuple[list[Happening], int]:
    """At most `limit` happenings, the weightiest, in order of time; and how many were left out."""
    listed = list(story)
    ranked = sorted(range(len(listed)), key=lambda i: (-listed[i].weight, i))
    kept = sorted(ranked[:limit])
    return [listed[i] for i in kept], len(listed) - len(kept)


def fault_origin(timeline: Timeline) -> int | None:
    """The moment that times are told from: when the first fault began to act (ns), if one did."""
    inject = timeline.first("fault", state="inject")
    return None if inject is None else inject.t
