"""Captures as pcapng: the segment's name, the nodes' names, and a comment where something happened.

While a drill runs, tcpdump writes one plain nanosecond pcap per segment; afterwards `convert_all` turns
each into a pcapng file that Wireshark shows with names and comments.  Packets keep their own bytes (but
for passwords in clear) and time stamps.  Format: draft-ietf-opsawg-pcapng; pcap: draft-ietf-opsawg-pcap.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from harness.report.pcap_marks import CaptureClock, Mark, marks_of
from harness.report.pcap_names import addresses_of, ports_on
from harness.report.pcap_secrets import without_password
from harness.timeline import Timeline

_READ_BYTES = 1 << 20
# No capture of ours has a larger frame; a greater length field means that the file is garbled.
_MAX_FRAME_BYTES = 1 << 18
_PCAP_MAGICS = {
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
}
_SECTION, _INTERFACE, _NAMES, _PACKET = 0x0A0D0D0A, 1, 4, 6
_COMMENT, _SHB_APPLICATION, _IF_NAME, _IF_DESCRIPTION, _IF_TSRESOL = 1, 4, 2, 3, 9
_PACKET_HEADER = struct.Struct("<IIIIIII")
_LENGTH = struct.Struct("<I")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class NotACapture(ValueError):
    """The file is no pcap file; its text says what it is instead."""


class Frame(NamedTuple):
    """A frame: its time stamp (ns, CLOCK_REALTIME), its bytes as captured, its length on the wire."""

    real_ns: int
    data: bytes
    wire_bytes: int


@dataclass
class Conversion:
    """What became of one capture file; `note` says what was wrong with it, if anything was."""

    segment: str
    path: Path
    packets: int = 0
    comments: int = 0
    note: str = ""


class PcapFile:
    """Reads a pcap file frame by frame; `note` tells afterwards how it ended, if not as it should."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.note = ""
        header = file.read(24)
        if len(header) < 24 or header[:4] not in _PCAP_MAGICS:
            raise NotACapture("it is empty" if not header else "it does not begin like a pcap file")
        self._order, self._unit_ns = _PCAP_MAGICS[header[:4]]
        _, _, _, _, self.snap_bytes, link = struct.unpack(self._order + "HHiIII", header[4:])
        self.link_type = link & 0xFFFF

    def __iter__(self) -> Iterator[Frame]:
        read, unit_ns = self._file.read, self._unit_ns
        record = struct.Struct(self._order + "IIII")
        while header := read(16):
            if len(header) < 16:
                self.note = "the last packet was cut off and is left out"
                return
            seconds, fraction, size, wire_bytes = record.unpack(header)
            if size > _MAX_FRAME_BYTES:
                self.note = "it is garbled from here on; what follows is left out"
                return
            data = read(size)
            if len(data) < size:
                self.note = "the last packet was cut off and is left out"
                return
            yield Frame(seconds * 1_000_000_000 + fraction * unit_ns, data, wire_bytes)


def convert_all(captures: Path, timeline: Timeline) -> list[Conversion]:
    """Convert every `SEGMENT.pcap` in a folder; a file that cannot be converted is left as it is."""
    return [_convert_in_place(path, timeline) for path in sorted(captures.glob("*.pcap"))]


def _convert_in_place(path: Path, timeline: Timeline) -> Conversion:
    target = path.with_suffix(".pcapng")
    part = target.with_name(target.name + ".part")
    try:
        done = convert(path, part, timeline)
        os.replace(part, target)
        path.unlink()
    except (NotACapture, OSError) as error:
        part.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) else error
        return Conversion(path.stem, path, note=f"{path.name} is kept as it is: {why}")
    done.path = target
    return done


def convert(source: Path, target: Path, timeline: Timeline) -> Conversion:
    """Write the pcapng of one segment's pcap, which is named like it. Raises NotACapture, OSError."""
    done = Conversion(source.stem, target)
    with source.open("rb", buffering=_READ_BYTES) as read, target.open("wb", buffering=_READ_BYTES) as write:
        frames = PcapFile(read)
        write.write(_section_header(timeline))
        write.write(_interface(source.stem, frames, timeline))
        write.write(_names(timeline))
        comments = _Comments(source.stem, timeline)
        for frame in frames:
            comment = comments.on(frame)
            write.write(_packet(frame, comment))
            done.packets += 1
            done.comments += comment != ""
        done.note = f"{source.name}: {frames.note}" if frames.note else ""
    return done


class _Comments:
    """Hands each mark to the packet that it belongs to, in the order of the file."""

    def __init__(self, segment: str, timeline: Timeline) -> None:
        self._clock = CaptureClock(timeline)
        self._segment = segment
        self._marks: list[Mark] = marks_of(timeline, segment)
        self._next_ns = min((mark.earliest_ns for mark in self._marks), default=None)

    def on(self, frame: Frame) -> str:
        """The comment on a frame, or an empty string."""
        if self._next_ns is None:
            return ""
        t = self._clock.to_monotonic(frame.real_ns)
        if t < self._next_ns:
            return ""
        due = [mark for mark in self._marks if mark.belongs_to(t, frame.data)]
        self._marks = [mark for mark in self._marks if mark not in due]
        self._next_ns = min((mark.earliest_ns for mark in self._marks), default=None)
        return "\n".join(mark.text_at(t) for mark in due)


def _section_header(timeline: Timeline) -> bytes:
    run = timeline.first("run")
    version = run.version if run else "?"
    options = [(_SHB_APPLICATION, f"vipdrill {version}".encode()), (_COMMENT, _drill(timeline).encode())]
    return _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options(options))


def _drill(timeline: Timeline) -> str:
    """The drill in a line: architecture, faults, seed."""
    run = timeline.first("run")
    if run is None:
        return "a drill whose timeline does not describe it"
    faults = [f"{event.fault} of {event.target}" for event in timeline.of("fault", state="inject")]
    return f"vipdrill: {run.architecture}, {', '.join(faults) or 'no fault'}, seed {run.seed}"


def _interface(segment: str, frames: PcapFile, timeline: Timeline) -> bytes:
    ports = ports_on(timeline, segment)
    description = f"segment {segment}" + (f": {', '.join(ports)}" if ports else "")
    options = [(_IF_NAME, segment.encode()), (_IF_DESCRIPTION, description.encode()), (_IF_TSRESOL, b"\x09")]
    return _block(_INTERFACE, struct.pack("<HHI", frames.link_type, 0, frames.snap_bytes) + _options(options))


def _names(timeline: Timeline) -> bytes:
    """The name resolution block: nodes and VIP by name, for Wireshark's name resolution (`tshark -N n`)."""
    records = [
        _tlv(1 if len(address) == 4 else 2, address + name.encode() + b"\0")
        for address, name in addresses_of(timeline).items()
    ]
    return _block(_NAMES, b"".join([*records, b"\0\0\0\0"]))


def _packet(frame: Frame, comment: str) -> bytes:
    data = without_password(frame.data)
    size = len(data)
    tail = _PADDING[size & 3]
    if comment:
        tail += _options([(_COMMENT, comment.encode())])
    total = 32 + size + len(tail)
    high, low = frame.real_ns >> 32, frame.real_ns & 0xFFFFFFFF
    head = _PACKET_HEADER.pack(_PACKET, total, 0, high, low, size, frame.wire_bytes)
    return b"".join((head, data, tail, _LENGTH.pack(total)))


def _block(kind: int, body: bytes) -> bytes:
    total = len(body) + 12
    return struct.pack("<II", kind, total) + body + struct.pack("<I", total)


def _options(options: list[tuple[int, bytes]]) -> bytes:
    return b"".join(_tlv(code, value) for code, value in options) + b"\0\0\0\0"


def _tlv(code: int, value: bytes) -> bytes:
    """Code, length, value padded to 32 bits: the form of options and of name records alike."""
    value = value[:0xFFFF]
    return struct.pack("<HH", code, len(value)) + value + _PADDING[len(value) & 3]
