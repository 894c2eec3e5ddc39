"""The probe of nodes with kernels of their own: curl's lines as attempts; and their firewall's script."""

from __future__ import annotations

from pathlib import Path

from harness.observe.asker import attempts
from harness.services.firewall import Firewall
from harness.topology import ProbeSpec

SPEC = ProbeSpec("lb1", "10.0.0.100", 6443, "api.cluster.test")
OFFSET_NS = 1_700_000_000 * 10**9


def told(tmp_path: Path, *lines: str) -> list[tuple[object, ...]]:
    log = tmp_path / "probe.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return [(a["t"], a["end"], a["result"], a["member"]) for a in attempts(log, SPEC, OFFSET_NS)]


def test_lines_become_attempts(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        "1700000005.250000 0 200 0.050000 m2",
        "1700000005.500000 7 000 0.001000 ",
        "1700000006.000000 28 000 0.500000",
        "1700000006.200000 0 500 0.010000 m1",
        "1700000006.400000 35 000 0.010000",
        "1700000006.600000 99 000 0.010000",
    )
    assert found[0] == (5_200_000_000, 5_250_000_000, "ok", "m2")
    assert [f[2] for f in found[1:]] == ["refused", "timeout", "http", "tls", "error"]
    assert all(f[3] is None for f in found[1:])


def test_what_is_no_attempt_is_left_out(tmp_path: Path) -> None:
    assert told(tmp_path, "bash: curl: command not found", "", "1700000005.2 curl: (6) what") == []


def test_a_firewall_takes_away_what_it_put() -> None:
    rules = ("nat POSTROUTING -o eth1 -j MASQUERADE", "filter INPUT -p udp --dport 8848 -j DROP")
    (script,) = Firewall(rules).files().values()
    for how in ("--append", "--delete"):
        assert f"--table nat {how} POSTROUTING -o eth1 -j MASQUERADE" in script
        assert f"--table filter {how} INPUT -p udp --dport 8848 -j DROP" in script
    assert "for table in nat filter; do" in script
