"""A drill on a machine that was late is run again; a finding never, nor what is unknown for other reasons."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.selftest.test_plugin import Repository
from harness import paths

_TEST = """
    import pathlib
    from checks.selftest.fault_beds import hosts
    from harness.errors import CheckFailed
    from harness.verdict import Inconclusive

    LATE_MS, ERRORS = {late_ms}, {errors}

    def test_mine(new_testbed, artifact_folder):
        runs = pathlib.Path("runs")
        number = len(runs.read_text()) if runs.exists() else 0
        runs.write_text("x" * (number + 1))
        bed = new_testbed(hosts("a"))
        assert bed.recorder.timeline.first("phase", name="fault") is None
        bed.recorder.emit("phase", name="steady")
        bed.recorder.emit("lag", source="observer", lag_ns=LATE_MS * 1_000_000)
        bed.recorder.emit("phase", name="fault")
        if number < len(ERRORS):
            raise {{"unknown": Inconclusive, "fail": CheckFailed}}[ERRORS[number]]("so it is")
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A fresh repository, on a machine where nobody else drills: who is to be alone is so at once."""
    cache = tmp_path / "cache"
    cache.mkdir()
    for entry in paths.cache_dir().iterdir():
        if entry.is_dir():
            (cache / entry.name).symlink_to(entry)
    monkeypatch.setenv("VIPDRILL_CACHE", str(cache))
    mine = tmp_path / "mine"
    mine.mkdir()
    return Repository(mine)


@pytest.mark.parametrize(
    ("late_ms", "errors", "runs", "outcome"),
    [
        (40, ["unknown"], 2, "1 passed"),
        (40, ["unknown", "unknown"], 3, "1 passed"),
        (40, ["unknown", "unknown", "unknown"], 3, "1 error"),
        (40, ["unknown", "fail"], 2, "1 failed"),
        (40, ["fail"], 1, "1 failed"),
        (2, ["unknown"], 1, "1 error"),
    ],
)
def test_only_what_lateness_may_explain_is_run_again(
    repository: Repository, late_ms: int, errors: list[str], runs: int, outcome: str
) -> None:
    repository.write(_TEST.format(late_ms=late_ms, errors=errors))
    done = repository.run()
    assert outcome in done.stdout, done.stdout + done.stderr
    assert len((repository.folder / "runs").read_text()) == runs
    again = f"test_mine.py::test_mine: observer was late by 0.0{late_ms} s"
    assert done.stdout.count(again) == runs - 1
    kept = list((repository.folder / ".vipdrill").glob("*/*test_mine*"))
    assert len(kept) == (0 if "passed" in outcome else 1)
