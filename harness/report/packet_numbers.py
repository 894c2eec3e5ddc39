"""Which packet of which capture an event was: its number, as Wireshark counts (from 1).

An advert or ARP event carries the kernel's stamp of its packet, so the packet is the one of the same
kind and sender at that time; an attempt of a client is its TCP SYN, the first to its target from when
it began.  What was not captured has no number.
"""

from __future__ import annotations

import socket
import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.report.pcap_marks import CaptureClock
from harness.timeline import Event, Timeline

_SAME_PACKET_NS = 1_000_000
_SYN_WITHIN_NS = 20_000_000
_PACKET, _SECTION = 6, 0x0A0D0D0A
_HEAD = struct.Struct("<II")
_PACKET_HEAD = struct.Struct("<IIIII")
_ARP, _IPV4, _IPV6 = b"\x08\x06", b"\x08\x00", b"\x86\xdd"
_TCP, _VRRP = 6, 112
_SYN, _ACK = 0x02, 0x10


class Packet(NamedTuple):
    """A packet's place: its capture's name without suffix (the segment), and its number there."""

    capture: str
    number: int


class _Seen:
    """The packets of one kind, sender and receiver, in the order of the file."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.numbers: list[int] = []

    def nearest(self, real_ns: int, within_ns: int) -> int | None:
        at = bisect_left(self.times, real_ns - within_ns)
        near = [
            (abs(self.times[i] - real_ns), self.numbers[i])
            for i in range(at, min(at + 8, len(self.times)))
            if abs(self.times[i] - real_ns) <= within_ns
        ]
        return min(near)[1] if near else None

    def next(self, real_ns: int, within_ns: int) -> int | None:
        at = bisect_left(self.times, real_ns)
        found = at < len(self.times) and self.times[at] - real_ns <= within_ns
        return self.numbers[at] if found else None


class PacketNumbers:
    """Finds events in the captures of one artifact folder; `note` tells what could not be read."""

    def __init__(self, captures: Path, timeline: Timeline) -> None:
        self.note = ""
        self._clock = CaptureClock(timeline)
        self._seen: dict[tuple[str, str, bytes], _Seen] = {}
        self._segments: dict[str, str] = {}
        self._addresses: dict[str, bytes] = {}
        run = timeline.first("run")
        for node in run.nodes if run else ():
            for interface in node["interfaces"]:
                self._segments.setdefault(node["name"], interface["segment"])
                for address in interface["addresses"][:1]:
                    self._addresses.setdefault(node["name"], _packed(address.partition("/")[0]))
        for path in sorted(captures.glob("*.pcapng")):
            try:
                self._index(path)
            except (OSError, struct.error, ValueError) as error:
                self.note = (
                    f"{path.name} cannot be read to its end ({error}); events after that have no packet"
                )

    def _index(self, path: Path) -> None:
        """Only control traffic and the beginnings of connections are of interest."""
        segment, begun = path.stem, set[bytes]()
        for number, (real_ns, frame) in enumerate(frames(path), 1):
            kind = _kind(frame)
            if kind is None:
                continue
            protocol, ends, flow = kind
            if protocol == "syn" and flow in begun:
                continue  # sent again
            begun.add(flow)
            seen = self._seen.setdefault((segment, protocol, ends), _Seen())
            seen.times.append(real_ns)
            seen.numbers.append(number)

    def of(self, event: Event | None) -> Packet | None:
        """The packet that an advert, ARP or attempt was, if it was captured."""
        if event is None or not self._seen:
            return None
        if event.kind == "probe":
            return self._syn(event)
        if event.kind not in ("vrrp", "arp"):
            return None
        sender = event.src if event.kind == "vrrp" else event.sender_ip
        seen = self._seen.get((event.segment, event.kind, _packed(str(sender))))
        number = seen.nearest(self._clock.to_capture(event.t), _SAME_PACKET_NS) if seen else None
        return None if number is None else Packet(event.segment, number)

    def _syn(self, attempt: Event) -> Packet | None:
        client, segment = self._addresses.get(attempt.client), self._segments.get(attempt.client, "")
        host, _, port = str(attempt.target).rpartition(":")
        if attempt.stream != "new" or client is None or not port.isdigit():
            return None
        key = client + _packed(host.strip("[]")) + int(port).to_bytes(2, "big")
        seen = self._seen.get((segment, "syn", key))
        began = int(attempt.get("start", attempt.t))
        number = seen.next(self._clock.to_capture(began), _SYN_WITHIN_NS) if seen else None
        return None if number is None else Packet(segment, number)


def frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """The frames of a pcapng file of ours: time stamp (ns, CLOCK_REALTIME) and captured bytes.

    Raises ValueError where it is none, or ends in the middle of a packet.
    """
    data = path.read_bytes()
    if data[:4] != _SECTION.to_bytes(4, "little"):
        raise ValueError("it does not begin like a pcapng file of ours")
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("it is cut off")
        kind, length = _HEAD.unpack_from(data, at)
        if length < 12 or at + length > len(data):
            raise ValueError("it is cut off")
        if kind == _PACKET:
            _, high, low, size, _ = _PACKET_HEAD.unpack_from(data, at + 8)
            yield high << 32 | low, data[at + 28 : at + 28 + size]
        at += length


def _packed(address: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        return b""


def _kind(frame: bytes) -> tuple[str, bytes, bytes] | None:
    """Protocol, sender (of a SYN also the receiver), and flow of a frame; None if it is of no interest."""
    ethertype = frame[12:14]
    if len(frame) < 42:
        return None
    if ethertype == _ARP:
        return "arp", frame[28:32], b""
    if ethertype == _IPV4:
        protocol, tcp, ends = frame[23], 14 + 4 * (frame[14] & 0x0F), frame[26:34]
    elif ethertype == _IPV6:
        protocol, tcp, ends = frame[20], 54, frame[22:54]
    else:
        return None
    if protocol == _VRRP:
        return "vrrp", ends[: len(ends) // 2], b""
    if protocol == _TCP and len(frame) > tcp + 13 and frame[tcp + 13] & (_SYN | _ACK) == _SYN:
        return "syn", ends + frame[tcp + 2 : tcp + 4], ends + frame[tcp : tcp + 4]
    return None
