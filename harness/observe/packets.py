"""The packets of one attempt out of a capture: what proves why a connection did not come about.

tcpdump captures everything while a drill runs; once it has ended, the frames of a few chosen attempts are
read back and become events.  Frames are found by the first SYN that the client itself sent to the target
after the attempt was due, and by the address and port that it sent it from.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.bystanders import bystanders
from harness.timeline import Event, Timeline

# A pcap file with nanoseconds, in the byte order of this machine (draft-ietf-opsawg-pcap).
_MAGIC, _HEAD_BYTES = 0xA1B23C4D, 24
_RECORD = struct.Struct("=IIII")
_ETHERNET = struct.Struct("!6s6sH")
_IPV4, _TCP, _IPIP = 0x0800, 6, 4
_FLAGS = {0x02: "SYN", 0x04: "RST", 0x01: "FIN", 0x10: "ACK"}
_MOST = 12
# So many in a row are given to different members by every scheduler that does not hash.
_ATTEMPTS = 4
_AFTER_NS = 50_000_000


@dataclass(frozen=True)
class Segment:
    """A TCP segment of a capture: the stations, the endpoints (`address:port`) and its flags in words.

    `tunnel` are the outer addresses where it travelled in an IP-in-IP tunnel.
    """

    real_ns: int
    from_mac: str
    to_mac: str
    src: str
    dst: str
    what: str
    tunnel: str = ""


def segments(path: Path) -> Iterator[Segment]:
    """The TCP segments of a capture, in its order; an unfinished last record is left out."""
    data = path.read_bytes()
    if len(data) < _HEAD_BYTES or struct.unpack_from("=I", data)[0] != _MAGIC:
        return
    at = _HEAD_BYTES
    while at + _RECORD.size <= len(data):
        seconds, nanoseconds, size, _ = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        frame = data[at : at + size]
        at += size
        if len(frame) < size:
            return
        if (found := _decode(seconds * 1_000_000_000 + nanoseconds, frame)) is not None:
            yield found


def _decode(real_ns: int, frame: bytes) -> Segment | None:
    if len(frame) < _ETHERNET.size:
        return None
    to_mac, from_mac, kind = _ETHERNET.unpack_from(frame)
    packet, tunnel = frame[_ETHERNET.size :], ""
    if kind != _IPV4 or len(packet) < 20:
        return None
    if packet[9] == _IPIP:
        tunnel = f"{socket.inet_ntoa(packet[12:16])} to {socket.inet_ntoa(packet[16:20])}"
        packet = packet[(packet[0] & 0x0F) * 4 :]
    head_bytes = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < head_bytes + 14 or head_bytes < 20 or packet[9] != _TCP:
        return None
    source, destination = struct.unpack_from("!HH", packet, head_bytes)
    flags = packet[head_bytes + 13]
    what = "+".join(name for bit, name in _FLAGS.items() if flags & bit) or "data"
    return Segment(
        real_ns,
        from_mac.hex(":"),
        to_mac.hex(":"),
        f"{socket.inet_ntoa(packet[12:16])}:{source}",
        f"{socket.inet_ntoa(packet[16:20])}:{destination}",
        what,
        tunnel,
    )


def of_attempt(
    timeline: Timeline, attempt: Event, captured: Mapping[str, list[Segment]]
) -> list[dict[str, Any]]:
    """The packets of an attempt as fields of `packet` events, with `t`; `captured` by segment."""
    names = {
        interface["mac"]: node["name"] for node in timeline.run.nodes for interface in node["interfaces"]
    }
    offset = timeline.last("clock", until=attempt.end)
    offset_ns = 0 if offset is None else int(offset.offset_ns)
    window = sorted(
        (
            (segment.real_ns - offset_ns, place, segment)
            for place, found in captured.items()
            for segment in found
            if attempt.t <= segment.real_ns - offset_ns <= attempt.end + _AFTER_NS
        ),
        key=lambda found: found[0],
    )
    begun = [s for _, _, s in window if s.dst == attempt.target and "SYN" in s.what]
    first = next((s for s in begun if names.get(s.from_mac) == attempt.client), None)
    if first is None:
        return []
    own = [s for s in window if first.src in (s[2].src, s[2].dst)]
    return [
        {
            "t": t,
            "segment": place,
            "node": names.get(segment.from_mac, "?"),
            "to": names.get(segment.to_mac, "?"),
            "src": segment.src,
            "dst": segment.dst,
            "what": segment.what + (f" in a tunnel, {segment.tunnel}" if segment.tunnel else ""),
            "client": attempt.client,
            "attempt": attempt.seq,
        }
        for t, place, segment in own[:_MOST]
    ]


def own_attempts(timeline: Timeline) -> list[Event]:
    """A few that failed of every member, bystander and balancer that asked, once all was steady."""
    own = {node["name"] for node in timeline.run.nodes if node["role"] in ("member", "balancer")}
    own |= bystanders(timeline.run)
    steady = timeline.first("phase", name="steady")
    found: dict[str, list[Event]] = {}
    for attempt in timeline.of("probe", stream="new", since=None if steady is None else steady.t):
        if attempt.client in own and attempt.result != "ok":
            found.setdefault(attempt.client, []).append(attempt)
    return [attempt for lost in found.values() for attempt in lost[:_ATTEMPTS]]
