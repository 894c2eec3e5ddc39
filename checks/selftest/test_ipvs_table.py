"""The IPVS table as events: the kernel's own text in, changes out."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harness.eventpipe import EventWriter
from harness.observe.ipvs_table import IpvsTable, parse
from harness.observe.ipvs_tables import Tables

HEAD = (
    "IP Virtual Server version 1.2.1 (size=4096)\n"
    "Prot LocalAddress:Port Scheduler Flags\n"
    "  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n"
)
SERVICE = "TCP  0A000064:192B rr  \n"
M1 = "  -> 0A000015:192B      Route   1      0          7         \n"
M2 = "  -> 0A000016:192B      Masq    1      2          0         \n"
IPV6 = "TCP  [2001:0db8:0000:0000:0000:0000:0000:0001]:01BB wrr persistent 360\n"


class Told:
    """An event writer whose events can be read back."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        self.out = EventWriter(write)

    def events(self) -> list[dict[str, Any]]:
        self.out.raw(b"{}\n")
        self.out.flush()
        lines = os.read(self._read, 1 << 20).splitlines()
        return [json.loads(line) for line in lines if line != b"{}"]


def test_the_kernel_s_text() -> None:
    found = parse(HEAD + SERVICE + M1 + M2 + IPV6 + "FWM  0000000A mh  \n")
    assert list(found) == [
        ("TCP 10.0.0.100:6443", ""),
        ("TCP 10.0.0.100:6443", "10.0.0.21:6443"),
        ("TCP 10.0.0.100:6443", "10.0.0.22:6443"),
        ("TCP [2001:0db8:0000:0000:0000:0000:0000:0001]:443", ""),
        ("FWM 10", ""),
    ]
    member = found["TCP 10.0.0.100:6443", "10.0.0.22:6443"]
    assert (member.forward, member.weight, member.active, member.inactive) == ("NAT", 1, 2, 0)
    assert parse(HEAD) == {}


@pytest.fixture
def told() -> Told:
    return Told()


def test_what_changes_is_told_once(told: Told) -> None:
    table = IpvsTable(told.out, "lb1")
    table.take(1, HEAD + SERVICE + M1)
    first = [e for e in told.events() if e["kind"] == "ipvs"]
    assert [(e["change"], e.get("member")) for e in first] == [("add", None), ("add", "10.0.0.21:6443")]
    assert all(e["initial"] for e in first)
    table.take(2, HEAD + SERVICE + M1)
    assert told.events() == []
    table.take(3, HEAD + SERVICE + M1.replace("   1  ", "   0  ") + M2)
    table.take(4, HEAD + SERVICE + M2)
    table.take(5, HEAD)
    changes = [(e["t"], e["change"], e.get("member"), e.get("weight")) for e in told.events()]
    assert changes == [
        (3, "weight", "10.0.0.21:6443", 0),
        (3, "add", "10.0.0.22:6443", 1),
        (4, "del", "10.0.0.21:6443", 0),
        (5, "del", None, None),
        (5, "del", "10.0.0.22:6443", 1),
    ]


def test_connections_are_told_once_a_second(told: Told) -> None:
    table = IpvsTable(told.out, "lb1")
    for second in range(3):
        for part in range(4):
            count = str(4 * second + part)
            text = HEAD + SERVICE + M1.replace("  7  ", f"  {count}  ")
            table.take(10**9 * (second + 1) + part * 10**8, text)
    loads = [e for e in told.events() if e["kind"] == "ipvs-load"]
    assert [e["members"]["10.0.0.21:6443"] for e in loads] == [[0, 0], [0, 4], [0, 8]]


MS = 10**6


def changes(told: Told) -> list[tuple[int, str, str | None]]:
    """What the tables' events tell since the last look: when (ms), what, of which member."""
    events = [e for e in told.events() if e["kind"] == "ipvs"]
    return [(e["t"] // MS, e["change"], e.get("member")) for e in events]


def test_a_table_is_read_by_the_clock(told: Told, tmp_path: Path) -> None:
    """The file comes when the kernel first has IPVS; what it told last is told when its node goes."""
    tables, file = Tables(told.out, timed=True), tmp_path / "ip_vs"
    assert tables.wait_ns(0) is None
    tables.follow(0, "lb1", str(file))
    assert tables.wait_ns(20 * MS) == 30 * MS
    file.write_text(HEAD + SERVICE)
    tables.awake(49 * MS)
    assert changes(told) == []
    tables.awake(51 * MS)
    assert changes(told) == [(51, "add", None)]
    assert tables.wait_ns(51 * MS) == 50 * MS
    file.write_text(HEAD + SERVICE + M1)
    tables.forget(60 * MS, "lb1")
    assert changes(told) == [(60, "add", "10.0.0.21:6443")]
    assert tables.wait_ns(60 * MS) is None


def test_a_table_is_read_after_a_hint(told: Told, tmp_path: Path) -> None:
    """Without a clock: soon after a line of the log, and when the observer is awake for something else."""
    tables, file = Tables(told.out, timed=False), tmp_path / "ip_vs"
    tables.expect_change(0)
    assert tables.wait_ns(0) is None, "there is nothing to read"
    file.write_text(HEAD + SERVICE)
    tables.follow(0, "lb1", str(file))
    tables.awake(50 * MS)
    assert tables.wait_ns(50 * MS) is None
    assert [change for _, change, _ in changes(told)] == ["add"]
    tables.expect_change(60 * MS)
    file.write_text(HEAD + SERVICE + M1)
    tables.awake(60 * MS)
    assert tables.wait_ns(60 * MS) == MS
    tables.awake(61 * MS)
    assert changes(told) == [(61, "add", "10.0.0.21:6443")]
    assert tables.wait_ns(61 * MS) is None
    file.write_text(HEAD + SERVICE)
    tables.awake(100 * MS)
    assert changes(told) == []
    tables.awake(111 * MS)
    assert changes(told) == [(111, "del", "10.0.0.21:6443")]


def test_a_table_longer_than_a_page_is_read_whole(told: Told, tmp_path: Path) -> None:
    members = "".join(M1.replace("15:", f"{n:02X}:") for n in range(1, 201))
    file = tmp_path / "ip_vs"
    file.write_text(HEAD + SERVICE + members)
    Tables(told.out, timed=True).follow(0, "lb1", str(file))
    assert len(changes(told)) == 201
