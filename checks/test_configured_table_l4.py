"""configured-table: what becomes of an entry that is there twice, or without a port, or taken out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.directors import QUICK, address, ipvsadm
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill
from harness.errors import ConfigRejected
from harness.services.keepalived import CONFIG

AGAIN = "    real_server 10.0.0.21 {port} {{\n        weight 1\n        TCP_CHECK {{\n        }}\n    }}\n"
"""m1 once more, without a page to check."""


def changed(drill: Drill, file: Path, old: str, new: str) -> str:
    """A file like the director's own with something else in it, as the target of a reload."""
    text = drill.testbed.node("lb1").read(CONFIG).decode()
    assert old in text, f"{CONFIG} has no {old!r}"
    file.write_text(text.replace(old, new))
    return f"reload:active/keepalived,config={file}"


def rejected(drill: Drill, why: str) -> None:
    """keepalived's own check of the file that is in force now, which nobody has asked, objects."""
    service = drill.testbed.service("lb1", "keepalived")
    with pytest.raises(ConfigRejected, match=why):
        service.validate(drill.testbed.node("lb1"))


@pytest.mark.control
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_member_that_is_there_twice_counts_once(drill: Drill, judge: Judge, tmp_path: Path) -> None:
    """An older keepalived lost the whole virtual server at a later reload, probably by this (issue 1904)."""
    drill.steady()
    again = AGAIN.format(port=6443)
    drill.strike(
        changed(drill, tmp_path / "new", "    real_server 10.0.0.23", f"{again}    real_server 10.0.0.23")
    )
    drill.watch(1.5)
    rejected(drill, "10.0.0.21.:tcp:6443 is duplicated")
    drill.strike("reload:active/keepalived")
    drill.watch(1.5)
    drill.finish()
    must_hold(judge(), "configured-table", "maintenance", "flow-survival: continuity")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_two_ports_of_a_member_that_come_to_one_are_caught(
    drill: Drill, judge: Judge, tmp_path: Path
) -> None:
    """With DR a port is the virtual server's, so both have one entry, which goes when either's check fails.

    Nobody listens on the other port: m1 is well, and gets nothing any more.
    """
    drill.steady()
    again = AGAIN.format(port=6444)
    drill.strike(
        changed(drill, tmp_path / "new", "    real_server 10.0.0.23", f"{again}    real_server 10.0.0.23")
    )
    drill.watch(2.5)
    rejected(drill, "ports don't match")
    drill.finish()
    found = must_catch(judge(), "configured-table", "reload")
    assert "10.0.0.21:6443 of TCP 10.0.0.100:6443 is not in it" in found.sentence


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_member_that_was_taken_out_by_hand_stays_out(drill: Drill, judge: Judge) -> None:
    """A reload compares files, not the table (keepalived's issues 1018 and 1877)."""
    drill.steady()
    ipvsadm(drill.testbed, "--delete-server", address(drill.testbed, "m2"), directors="lb1")
    drill.strike("reload:active/keepalived")
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "configured-table", "reload")


@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_virtual_server_without_a_port_ties_clients_to_members(
    drill: Drill, judge: Judge, tmp_path: Path
) -> None:
    """It is another virtual server than the one with a port, and a client stays with its member for 360 s.

    A port of 0 is for persistent services only (ipvsadm(8), --tcp-service), so keepalived makes it one.
    """
    drill.steady()
    text = drill.testbed.node("lb1").read(CONFIG).decode()
    bare = text.replace(" 6443 {", " {").replace("SSL_GET {", "SSL_GET {\n            connect_port 6443")
    drill.strike(changed(drill, tmp_path / "new", text, bare))
    drill.watch(1.5)
    rejected(drill, "zero port only valid for persistent services")
    drill.finish()
    verdicts = judge()
    must_hold(verdicts, "configured-table")
    must_catch(verdicts, "flow-survival", "continuity")
    timeline = drill.testbed.recorder.timeline
    bare_ns = timeline.of("ipvs", node="lb1", service="TCP 10.0.0.100:0", change="add")[0].t
    answered = timeline.of("probe", client="cl", stream="new", result="ok", since=bare_ns)
    assert len({e.member for e in answered if e.get("start", e.t) >= bare_ns}) == 1
