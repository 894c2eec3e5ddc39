"""Which packets of a capture get a comment, and the way between the two clocks.

Captures carry CLOCK_REALTIME, the timeline CLOCK_MONOTONIC; `clock` events give the difference, at the
start and after every step of real time.
"""

from __future__ import annotations

import socket
from bisect import bisect_right
from dataclasses import dataclass

from harness.report.announcers import Announcers, Change, sender
from harness.timeline import Event, Timeline

_MS_NS = 1_000_000
# The observer looks for a step of real time every 20 ms, so it tells of one that much late.
_STEP_NOTICED_NS = 50 * _MS_NS
# Packets that came by different processors may stand in the file the wrong way round.
_DISORDER_NS = 10 * _MS_NS
# A packet and the event decoded from it carry the same kernel stamp, up to the reading of two clocks.
_SAME_PACKET_NS = _MS_NS
_IPV4, _IPV6, _ARP, _VRRP = b"\x08\x00", b"\x86\xdd", b"\x08\x06", 112


class CaptureClock:
    """Turns monotonic times into those of the captures and back, across steps of real time."""

    def __init__(self, timeline: Timeline) -> None:
        told = timeline.of("clock")
        self._starts = [event.t for event in told] or [0]
        self._offsets = [int(event.offset_ns) for event in told] or [0]
        self._epoch = self._newest = 0

    def to_capture(self, t_ns: int) -> int:
        """The CLOCK_REALTIME (ns) that a packet of this monotonic time carries."""
        return t_ns + self._offsets[max(bisect_right(self._starts, t_ns) - 1, 0)]

    def to_monotonic(self, real_ns: int) -> int:
        """The monotonic time of a packet; asked for one packet after the other, in the order of arrival."""
        for epoch in range(self._epoch, len(self._starts)):
            t = real_ns - self._offsets[epoch]
            begins = self._starts[epoch] - _STEP_NOTICED_NS if epoch else 0
            ends = self._starts[epoch + 1] if epoch + 1 < len(self._starts) else None
            # Packets come in order, so one that seems to go back was stamped after a step.
            begins = max(begins, self._newest - _DISORDER_NS)
            if t >= begins and (ends is None or t <= ends):
                self._epoch, self._newest = epoch, max(self._newest, t)
                return t
        return real_ns - self._offsets[self._epoch]


@dataclass(frozen=True)
class Mark:
    """Something that happened at `t` (ns, monotonic) and is told on a packet.

    With `sender` (packed IP address) it belongs to that sender's very packet of this protocol, and to
    the first packet after it only if that one was not captured.
    """

    t: int
    text: str
    protocol: str = ""
    sender: bytes = b""

    @property
    def earliest_ns(self) -> int:
        """No packet before belongs to it."""
        return self.t - _SAME_PACKET_NS if self.protocol else self.t

    def belongs_to(self, t_ns: int, frame: bytes) -> bool:
        """Whether it is told on this packet."""
        if t_ns < self.earliest_ns:
            return False
        if not self.protocol or t_ns > self.t + _SAME_PACKET_NS:
            return True
        return _sender(frame, self.protocol) == self.sender

    def text_at(self, t_ns: int) -> str:
        """The comment on a packet of that time: how long before it this happened, if it was before."""
        before_ms = (t_ns - self.t) / 1e6
        return self.text if before_ms < 0.001 else f"{self.text} ({before_ms:.3f} ms before this packet)"


def _sender(frame: bytes, protocol: str) -> bytes:
    """The IP address that sent a VRRP advertisement or an ARP packet; nothing for any other frame."""
    kind = frame[12:14]
    if protocol == "arp":
        return frame[28:32] if kind == _ARP else b""
    if kind == _IPV4 and frame[23:24] == bytes([_VRRP]):
        return frame[26:30]
    if kind == _IPV6 and frame[20:21] == bytes([_VRRP]):
        return frame[22:38]
    return b""


def marks_of(timeline: Timeline, segment: str) -> list[Mark]:
    """Everything that the capture of a segment is to tell, in order of time."""
    marks = [_fault_mark(event) for event in timeline.of("fault")]
    marks += _takeover_marks(timeline, segment)
    marks += [
        Mark(event.t, f"vipdrill: real time was stepped by {event.step_ns / 1e9:+.6f} s about here")
        for event in timeline.of("clock")
        if event.get("step_ns")
    ]
    return sorted(marks, key=lambda mark: mark.t)


_FAULT_WORDS = {
    "inject": "begins to act",
    "effective": "is seen to act",
    "heal": "begins to heal",
    "healed": "is healed",
}


def _fault_mark(event: Event) -> Mark:
    state = _FAULT_WORDS.get(event.state, event.state)
    return Mark(event.t, f"vipdrill: {event.fault} of {event.target} {state}")


def _takeover_marks(timeline: Timeline, segment: str) -> list[Mark]:
    """A comment on the first advertisement of every new owner, and on the first gratuitous ARP after it."""
    marks: list[Mark] = []
    announcers = Announcers()
    awaits_arp: set[str] = set()
    for event in timeline.of("vrrp", "arp"):
        if event.kind == "arp":
            if event.gratuitous and event.node in awaits_arp:
                awaits_arp.discard(event.node)
                marks.append(
                    _on_packet(event, segment, "arp", event.sender_ip, f"gratuitous ARP of {event.node}")
                )
            continue
        change = announcers.take(event)
        if change is not None:
            marks.append(_on_packet(event, segment, "vrrp", event.src, _takeover(change)))
            awaits_arp.add(event.node)
    return marks


def _takeover(change: Change) -> str:
    advert, node = change.advert, sender(change.advert)
    if change.what == "leaves":
        return f"{node} leaves VRID {advert.vrid} (priority 0)"
    text = f"{node} announces VRID {advert.vrid} from here (priority {advert.priority})"
    if change.before is None or change.silence_ns is None:
        return text
    return f"{text}, {change.silence_ns / 1e6:.3f} ms after the last advertisement of {sender(change.before)}"


def _on_packet(event: Event, segment: str, protocol: str, address: str, text: str) -> Mark:
    text = f"vipdrill: {text}"
    # On another segment there is no such packet; a neighbour advertisement is not looked for by its sender.
    if event.segment != segment or (protocol == "arp" and ":" in address):
        return Mark(event.t, text)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return Mark(event.t, text, protocol, socket.inet_pton(family, address))
