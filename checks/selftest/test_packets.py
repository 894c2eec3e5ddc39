"""Packets of one attempt out of a capture, and packets out of a tunnel."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from harness.observe.packets import of_attempt, own_attempts, segments
from harness.services.tunnel_agent import frame
from harness.timeline import Event, Timeline

REAL_NS, OFFSET_NS = 2_000_000_000_000, 500_000_000_000
MACS = {"m1": "02:00:00:00:00:15", "m2": "02:00:00:00:00:16", "lb1": "02:00:00:00:00:0b"}


def packet(source: str, destination: str, flags: int, protocol: int = 6) -> bytes:
    """An IPv4 packet with the beginning of a TCP header; `source` and `destination` as address:port."""
    (src, sport), (dst, dport) = (end.rsplit(":", 1) for end in (source, destination))
    tcp = struct.pack("!HHIIBBHHH", int(sport), int(dport), 0, 0, 0x50, flags, 0, 0, 0)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, protocol, 0)
    return head + socket.inet_aton(src) + socket.inet_aton(dst) + tcp


def tunnelled(inner: bytes) -> bytes:
    """A packet in an outer header from lb1 to m2."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 0, 0, 64, 4, 0)
    return head + socket.inet_aton("10.0.0.11") + socket.inet_aton("10.0.0.22") + inner


def capture(path: Path, *frames: tuple[float, str, str, bytes]) -> Path:
    """A pcap file of frames: seconds, from and to as nodes, the packet."""
    data = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 256, 1)
    for at_s, sender, receiver, content in frames:
        raw = bytes.fromhex((MACS[receiver] + MACS[sender]).replace(":", "")) + b"\x08\x00" + content
        stamp = REAL_NS + round(at_s * 1e9)
        data += struct.pack("=IIII", *divmod(stamp, 10**9), len(raw), len(raw)) + raw
    path.write_bytes(data)
    return path


def timeline() -> tuple[Timeline, Event]:
    """A run in which m1 asked its own VIP in vain at 1 s."""
    nodes = [
        {
            "name": name,
            "role": "balancer" if name == "lb1" else "member",
            "interfaces": [{"name": "eth0", "segment": "back", "mac": mac, "addresses": []}],
        }
        for name, mac in MACS.items()
    ]
    start_ns = REAL_NS - OFFSET_NS
    asked = {"client": "m1", "stream": "new", "seq": 1, "target": "10.0.0.100:6443", "member": None}
    attempt = Event(start_ns + 10**9, "probe", {**asked, "result": "reset", "end": start_ns + 1_100_000_000})
    described = {"format": 1, "version": "0", "architecture": "vip-l4", "options": {}, "seed": 1}
    run = Event(start_ns, "run", {**described, "world": "real", "nodes": nodes, "segments": [], "vips": []})
    return Timeline([run, Event(start_ns, "clock", {"offset_ns": OFFSET_NS}), attempt]), attempt


def test_the_packets_that_prove_why_an_attempt_failed(tmp_path: Path) -> None:
    told, attempt = timeline()
    client, vip, member = "10.0.0.21:40000", "10.0.0.100:6443", "10.0.0.22:6443"
    path = capture(
        tmp_path / "back.pcap",
        (0.9, "m1", "lb1", packet("10.0.0.21:39999", vip, 0x02)),
        (1.01, "m1", "lb1", packet(client, vip, 0x02)),
        (1.02, "lb1", "m2", packet(client, member, 0x02)),
        (1.03, "m2", "m1", packet(member, client, 0x12)),
        (1.04, "m1", "m2", packet(client, member, 0x04)),
        (1.05, "m2", "lb1", packet("10.0.0.22:1", "10.0.0.9:2", 0x10)),
    )
    assert own_attempts(told) == [attempt]
    found = of_attempt(told, attempt, {"back": list(segments(path))})
    assert [(p["node"], p["to"], p["what"]) for p in found] == [
        ("m1", "lb1", "SYN"),
        ("lb1", "m2", "SYN"),
        ("m2", "m1", "SYN+ACK"),
        ("m1", "m2", "RST"),
    ]
    assert [p["t"] - attempt.t for p in found] == [10_000_000, 20_000_000, 30_000_000, 40_000_000]


def test_a_packet_in_a_tunnel_is_seen_through(tmp_path: Path) -> None:
    inner = packet("10.0.0.10:40000", "10.0.0.100:6443", 0x02)
    (found,) = segments(capture(tmp_path / "lan.pcap", (1.0, "lb1", "m2", tunnelled(inner))))
    assert (found.src, found.dst, found.what) == ("10.0.0.10:40000", "10.0.0.100:6443", "SYN")
    assert found.tunnel == "10.0.0.11 to 10.0.0.22"


def test_a_capture_that_was_cut_gives_what_there_is(tmp_path: Path) -> None:
    path = capture(tmp_path / "lan.pcap", *[(1.0, "m1", "m2", packet("1.1.1.1:1", "2.2.2.2:2", 0x02))] * 2)
    path.write_bytes(path.read_bytes()[:-5])
    assert len(list(segments(path))) == 1
    path.write_bytes(b"not a capture")
    assert list(segments(path)) == []


class TestTunnel:
    HEAD = b"H" * 14

    def test_the_inner_packet_goes_on_with_its_checksum_to_be_made(self) -> None:
        inner = packet("10.0.0.10:1", "10.0.0.100:2", 0x02)
        made = frame(tunnelled(inner), self.HEAD)
        assert made is not None
        flags, _, _, _, start, offset = struct.unpack_from("=BBHHHH", made)
        assert (flags, start, offset) == (1, 14 + 20, 16)
        assert made[10:] == self.HEAD + inner

    def test_what_holds_no_packet_is_dropped(self) -> None:
        assert frame(tunnelled(b"")[:20], self.HEAD) is None
        assert frame(tunnelled(b"\x60" + bytes(60)), self.HEAD) is None

    def test_other_protocols_go_as_they_are(self) -> None:
        made = frame(tunnelled(packet("1.1.1.1:1", "2.2.2.2:2", 0, protocol=1)), self.HEAD)
        assert made is not None
        assert made[:10] == bytes(10)
