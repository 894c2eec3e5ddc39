"""Places for drills on machines: one for each processor, given up with the process that has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.turns import place_for_machines

_HOLDER = """
import sys
from harness.turns import place_for_machines
with place_for_machines():
    print("has", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of its own, on a machine with two processors."""
    monkeypatch.setenv("VIPDRILL_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def holder() -> subprocess.Popen[str]:
    """Another process that has, or waits for, a place."""
    script = "import os; os.cpu_count = lambda: 2" + _HOLDER
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """Its next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_who_finds_no_place_waits_for_one_and_the_dead_need_none() -> None:
    first, second = holder(), holder()
    assert [said(first), said(second)] == ["has", "has"]
    first.kill()
    first.wait()
    with place_for_machines():
        third = holder()
        second.kill()
        second.wait()
        assert said(third) == "has"
    third.communicate("")


def test_patience_has_an_end() -> None:
    first, second = holder(), holder()
    assert [said(first), said(second)] == ["has", "has"]
    with place_for_machines(patience_s=0.01):
        pass
    first.communicate("")
    second.communicate("")
