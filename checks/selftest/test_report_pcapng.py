"""Captures become pcapng: every packet kept to the nanosecond, names and comments added, damage told."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from scapy.utils import PcapNgReader

from checks.patience import ENDS_S
from checks.selftest.report_runs import OFFSET_NS, drill
from checks.selftest.synthetic import VIP, Lab, ns
from harness.report.pcap_marks import CaptureClock
from harness.report.pcap_secrets import without_password
from harness.report.pcapng import PcapFile, convert, convert_all
from harness.timeline import Event, Timeline

HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 256, 1)


def mac(text: str) -> bytes:
    """A hardware address as bytes."""
    return bytes.fromhex(text.replace(":", ""))


def frame_of(event: Event) -> bytes:
    """The packet that an advert or ARP event stands for."""
    if event.kind == "arp":
        addresses = (
            mac(event.sender_mac) + socket.inet_aton(event.sender_ip),
            socket.inet_aton(event.target_ip),
        )
        arp = struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + addresses[0] + b"\0" * 6 + addresses[1]
        return b"\xff" * 6 + mac(event.sender_mac) + b"\x08\x06" + arp
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 32, 0, 0, 255, 112, 0)
    ip += socket.inet_aton(event.src) + socket.inet_aton(event.dst)
    vrrp = struct.pack("!BBBBHH", 0x31, event.vrid, event.priority, 1, event.interval_cs, 0)
    ethernet = mac("01:00:5e:00:00:12") + mac(Lab.mac(event.node)) + b"\x08\x00"
    return ethernet + ip + vrrp + socket.inet_aton(VIP)


def record(real_ns: int, data: bytes, wire_bytes: int | None = None) -> bytes:
    """One packet record of a little-endian nanosecond pcap file."""
    size = len(data)
    return struct.pack("<IIII", real_ns // 10**9, real_ns % 10**9, size, wire_bytes or size) + data


def pcap_of(timeline: Timeline, offset_ns: int = OFFSET_NS) -> bytes:
    """What tcpdump would have written."""
    frames = [(event.t + offset_ns, frame_of(event)) for event in timeline.of("vrrp", "arp")]
    return HEADER + b"".join(record(real_ns, data) for real_ns, data in frames)


def converted(tmp_path: Path, timeline: Timeline, content: bytes, segment: str = "front") -> Path:
    """The pcapng file of some pcap content."""
    captures = tmp_path / "captures"
    captures.mkdir()
    (captures / f"{segment}.pcap").write_bytes(content)
    convert_all(captures, timeline)
    return captures / f"{segment}.pcapng"


def comments_of(path: Path) -> list[tuple[int, str]]:
    """The numbers (from 1) and comments of the packets that have one."""
    found: list[tuple[int, str]] = []
    number, at, data = 0, 0, path.read_bytes()
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        assert struct.unpack_from("<I", data, at + length - 4)[0] == length
        if kind == 6:
            number += 1
            size = struct.unpack_from("<I", data, at + 20)[0]
            option = at + 28 + size + -size % 4
            if option < at + length - 4:
                code, count = struct.unpack_from("<HH", data, option)
                assert code == 1
                found.append((number, data[option + 4 : option + 4 + count].decode()))
        at += length
    return found


class TestPackets:
    def test_every_packet_is_kept_to_the_byte_and_the_nanosecond(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        packets = list(PcapNgReader(str(converted(tmp_path, timeline, pcap_of(timeline)))))
        events = timeline.of("vrrp", "arp")
        assert [bytes(packet) for packet in packets] == [frame_of(event) for event in events]
        assert [int(packet.time * 10**9) for packet in packets] == [event.t + OFFSET_NS for event in events]

    def test_packets_cut_by_the_snap_length_keep_their_true_length(self, tmp_path: Path) -> None:
        content = HEADER + record(OFFSET_NS, b"\0" * 255, 1514)
        packet = next(iter(PcapNgReader(str(converted(tmp_path, Timeline(), content)))))
        assert (len(packet), packet.wirelen) == (255, 1514)

    @pytest.mark.parametrize(("order", "magic", "unit"), [("<", 0xA1B2C3D4, 1000), (">", 0xA1B23C4D, 1)])
    def test_other_kinds_of_pcap_are_read_as_well(
        self, tmp_path: Path, order: str, magic: int, unit: int
    ) -> None:
        path = tmp_path / "x.pcap"
        header = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 256, 1)
        path.write_bytes(header + struct.pack(order + "IIII", 7, 123, 4, 4) + b"abcd")
        with path.open("rb") as file:
            assert [frame.real_ns for frame in PcapFile(file)] == [7 * 10**9 + 123 * unit]

    def test_the_original_is_gone_once_it_is_converted(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        path = converted(tmp_path, timeline, pcap_of(timeline))
        assert [p.name for p in path.parent.iterdir()] == ["front.pcapng"]


class TestSecrets:
    @staticmethod
    def advert(kind: int, secret: bytes) -> bytes:
        """A VRRPv2 advertisement with its checksum, in an Ethernet frame with a trailer."""
        vrrp = struct.pack("!BBBBBBH", 0x21, 51, 100, 1, kind, 1, 0) + socket.inet_aton(VIP) + secret
        total = sum(struct.unpack(f"!{len(vrrp) // 2}H", vrrp))
        total = (total & 0xFFFF) + (total >> 16)
        vrrp = vrrp[:6] + struct.pack("!H", ~total & 0xFFFF) + vrrp[8:]
        ip = (
            struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(vrrp), 0, 0, 255, 112, 0) + b"\x0a\0\0\x0b\xe0\0\0\x12"
        )
        return b"\x02" * 12 + b"\x08\x00" + ip + vrrp + b"\0" * 6

    def test_a_password_in_clear_is_overwritten_and_the_checksum_stays_right(self) -> None:
        secret = self.advert(1, b"sesame\0\0")
        clean = without_password(secret)
        assert clean == self.advert(1, b"hidden\0\0")
        assert len(clean) == len(secret)
        assert without_password(clean) == clean

    def test_other_packets_keep_every_byte(self) -> None:
        frames = [frame_of(event) for event in drill().timeline().of("vrrp", "arp")]
        frames += [
            self.advert(0, bytes(8)),
            self.advert(2, b"digest\0\0"),
            self.advert(1, b"sesame\0\0")[:40],
            b"",
        ]
        assert [without_password(frame) for frame in frames] == frames

    def test_captures_are_kept_without_it(self, tmp_path: Path) -> None:
        content = HEADER + record(OFFSET_NS, self.advert(1, b"sesame\0\0"))
        assert b"sesame" not in converted(tmp_path, Timeline(), content).read_bytes()


class TestComments:
    def test_they_stand_at_faults_takeovers_and_gratuitous_arp(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        path = converted(tmp_path, timeline, pcap_of(timeline))
        events = timeline.of("vrrp", "arp")
        said = {events[number - 1]: text for number, text in comments_of(path)}
        first = timeline.first("vrrp", node="lb2")
        assert first is not None
        assert "host-crash of lb1 begins to act (334.844 ms before this packet)" in said[first]
        assert "lb2 announces VRID 51 from here (priority 90), 364.844 ms after" in said[first]
        garp = timeline.first("arp", node="lb2")
        assert garp is not None
        assert said[garp] == "vipdrill: gratuitous ARP of lb2"
        assert any("begins to heal" in text for text in said.values())

    def test_a_takeover_is_told_on_its_own_packet_though_another_was_caught_with_it(
        self, tmp_path: Path
    ) -> None:
        timeline = drill().timeline()
        first = timeline.first("vrrp", node="lb2")
        assert first is not None
        noise = b"\x02" * 12 + b"\x08\x00" + b"\0" * 46
        frames = [(event.t + OFFSET_NS, frame_of(event)) for event in timeline.of("vrrp", "arp")]
        frames.append((first.t + OFFSET_NS - 1000, noise))
        content = HEADER + b"".join(record(*pair) for pair in sorted(frames))
        path = converted(tmp_path, timeline, content)
        packets = [bytes(packet) for packet in PcapNgReader(str(path))]
        on = next(number for number, text in comments_of(path) if "lb2 announces" in text)
        assert packets[on - 1] == frame_of(first)

    @pytest.mark.parametrize("error_ns", [-900, 900])
    def test_the_reading_of_two_clocks_may_be_a_little_off(self, tmp_path: Path, error_ns: int) -> None:
        timeline = drill().timeline()
        path = converted(tmp_path, timeline, pcap_of(timeline, OFFSET_NS + error_ns))
        events = timeline.of("vrrp", "arp")
        said = {(events[n - 1].kind, events[n - 1].node): text for n, text in reversed(comments_of(path))}
        assert said["vrrp", "lb1"].startswith("vipdrill: lb1 announces VRID 51 from here (priority 100)")
        assert "lb2 announces VRID 51" in said["vrrp", "lb2"]
        assert said["arp", "lb1"] == "vipdrill: gratuitous ARP of lb1"

    def test_on_another_segment_they_stand_at_the_next_packet(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        times = [ns(seconds / 2) + OFFSET_NS for seconds in range(2, 14)]
        content = HEADER + b"".join(record(t, b"\x02" * 60) for t in times)
        said = comments_of(converted(tmp_path, timeline, content, "outside"))
        at_fault = next(text for number, text in said if number == 4)
        assert "host-crash of lb1 begins to act (470.000 ms before this packet)" in at_fault
        assert "lb2 announces VRID 51" in at_fault

    def test_two_owners_in_turn_do_not_flood_it(self, tmp_path: Path) -> None:
        lab = Lab()
        lab.add(0, "clock", offset_ns=OFFSET_NS)
        lab.announce("lb1", 0.5, 6.0)
        lab.announce("lb2", 2.03, 6.0)
        timeline = lab.timeline()
        assert len(comments_of(converted(tmp_path, timeline, pcap_of(timeline)))) == 2


class TestClock:
    def test_without_steps_it_is_a_shift(self) -> None:
        clock = CaptureClock(drill().timeline())
        assert clock.to_capture(ns(3)) == ns(3) + OFFSET_NS
        assert clock.to_monotonic(ns(3) + OFFSET_NS) == ns(3)

    @pytest.mark.parametrize("step_s", [-5, -0.5, 0.5, 3600])
    def test_a_step_of_real_time_moves_no_comment(self, tmp_path: Path, step_s: float) -> None:
        """Real time steps 50 ms before the fault; the observer notices 20 ms later."""
        lab = drill()
        step_ns = round(step_s * 1e9)
        lab.add(2.0, "clock", offset_ns=OFFSET_NS + step_ns, step_ns=step_ns)
        timeline = lab.timeline()
        frames = [
            (e.t + OFFSET_NS + (step_ns if e.t > ns(1.98) else 0), frame_of(e))
            for e in timeline.of("vrrp", "arp")
        ]
        content = HEADER + b"".join(record(*pair) for pair in frames)
        path = converted(tmp_path, timeline, content)
        events = timeline.of("vrrp", "arp")
        said = {events[number - 1].t: text for number, text in comments_of(path)}
        first = timeline.first("vrrp", node="lb2")
        assert first is not None
        assert "334.844 ms before" in said[first.t]
        assert any("real time was stepped" in text for text in said.values())


class TestDamage:
    def test_a_packet_cut_off_at_the_end_is_dropped_with_a_note(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        content = pcap_of(timeline)
        whole = len(timeline.of("vrrp", "arp"))
        for missing in (1, 20, 45, 57):
            source = tmp_path / "front.pcap"
            source.write_bytes(content[:-missing])
            done = convert(source, tmp_path / "out", timeline)
            assert done.packets == whole - 1
            assert "cut off" in done.note

    def test_garbage_after_good_packets_ends_it(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        path = tmp_path / "front.pcap"
        path.write_bytes(pcap_of(timeline) + b"\xff" * 64)
        done = convert(path, tmp_path / "out", timeline)
        assert done.packets == len(timeline.of("vrrp", "arp"))
        assert "garbled" in done.note

    @pytest.mark.parametrize("content", [b"", b"\x4d\x3c", b"not a capture, but long enough to be one"])
    def test_what_is_no_capture_is_left_alone_and_told(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "front.pcap"
        path.write_bytes(content)
        done = convert_all(tmp_path, Timeline())
        assert "kept as it is" in done[0].note
        assert path.read_bytes() == content
        assert [p.name for p in tmp_path.iterdir()] == ["front.pcap"]

    def test_without_a_folder_there_is_nothing_to_do(self, tmp_path: Path) -> None:
        assert convert_all(tmp_path / "captures", Timeline()) == []


def wireshark(tool: str, *argv: str) -> str:
    """What one of Wireshark's tools says, where it is installed."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    done = subprocess.run([tool, *argv], capture_output=True, text=True, check=False, timeout=ENDS_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fields(path: Path, *names: str) -> list[list[str]]:
    """Fields of every packet, by tshark."""
    options: Iterable[str] = (option for name in names for option in ("-e", name))
    out = wireshark("tshark", "-r", str(path), "-N", "n", "-T", "fields", *options)
    return [line.split("\t") for line in out.splitlines()]


class TestWireshark:
    def test_it_shows_names_interface_and_comments(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        path = converted(tmp_path, timeline, pcap_of(timeline))
        rows = fields(path, "_ws.col.Source", "frame.interface_name", "frame.comment")
        assert len(rows) == len(timeline.of("vrrp", "arp"))
        assert rows[0][:2] == ["lb1", "front"]
        assert any("lb2 announces VRID 51" in row[2] for row in rows)

    def test_the_section_tells_the_drill(self, tmp_path: Path) -> None:
        timeline = drill().timeline()
        text = wireshark("capinfos", str(converted(tmp_path, timeline, pcap_of(timeline))))
        assert "vipdrill: vip-l7, host-crash of lb1, seed 1" in text
        assert "Description = segment front: lb1:eth0 02:00:00:00:00:0b" in text
        assert "nanoseconds" in text
