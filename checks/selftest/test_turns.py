"""Places for drills on machines, and drills alone: who waits for whom; the dead hold nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import paths
from harness.turns import alone, beside_others, place_for_machines

_HOLDER = """
import sys
from harness import turns
print("begins", flush=True)
with turns.{what}():
    print("has", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of its own, on a machine with two processors."""
    monkeypatch.setenv("VIPDRILL_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def holder(what: str = "place_for_machines") -> subprocess.Popen[str]:
    """Another process that has, or waits for, something of `harness.turns`."""
    script = "import os; os.cpu_count = lambda: 2" + _HOLDER.format(what=what)
    pipe = subprocess.PIPE
    begun = subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, text=True)
    assert said(begun) == "begins"
    return begun


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


def is_held(name: str, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether somebody has a lock file so that this kind of lock cannot be had beside it."""
    with (paths.cache_dir() / name).open() as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_who_is_to_be_alone_waits_for_all_and_all_who_come_then_wait() -> None:
    first, second = holder("beside_others"), holder("beside_others")
    assert [said(first), said(second)] == ["has", "has"]
    assert (is_held("hall.lock"), is_held("hall.lock", fcntl.LOCK_SH), is_held("gate.lock")) == (
        True,
        False,
        False,
    )
    last_chance = holder("alone")
    first.communicate("")
    second.kill()
    second.wait()
    assert said(last_chance) == "has"
    assert is_held("gate.lock")
    assert is_held("hall.lock", fcntl.LOCK_SH)
    newcomer = holder("beside_others")
    last_chance.kill()
    last_chance.wait()
    assert said(newcomer) == "has"
    newcomer.communicate("")


def test_whoever_belongs_to_it_is_let_through() -> None:
    with alone(), beside_others(patience_s=0):
        other = holder("beside_others")
    assert said(other) == "has"
    other.communicate("")


def test_without_patience_nobody_is_kept_waiting() -> None:
    first = holder("beside_others")
    assert said(first) == "has"
    with alone(patience_s=0.01):
        pass
    first.communicate("")
    second = holder("alone")
    assert said(second) == "has"
    with beside_others(patience_s=0.01):
        pass
    second.communicate("")
