"""The doctor: tells what is missing with its cure, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import doctor, paths


def test_everything_required_is_here() -> None:
    """The suite runs, so what it needs must be found."""
    assert [finding.line() for finding in doctor.examine() if finding.required and not finding.ok] == []


def test_a_finding_that_is_not_ok_tells_its_cure() -> None:
    for finding in doctor.examine():
        assert finding.ok or finding.cure, finding


def test_what_is_missing_is_told_in_one_line() -> None:
    line = doctor.Finding("node image", False, "not built", "install mmdebstrap", required=True).line()
    assert line.startswith("MISSING")
    assert line.endswith("not built; install mmdebstrap")


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_NEEDED_FREE_BYTES", 1 << 60)
    (disk,) = [finding for finding in doctor.examine() if finding.name == "disk space"]
    assert not disk.ok
    assert "VIPDRILL_CACHE" in disk.line()


def test_nothing_stays_behind() -> None:
    before = Path("/proc/self/mounts").read_text()
    doctor.examine()
    assert Path("/proc/self/mounts").read_text() == before
    assert not any((paths.cache_dir() / "bubble").glob("upper"))
