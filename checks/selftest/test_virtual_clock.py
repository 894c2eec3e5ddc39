"""The clock of virtual time, without a guest: preloaded into an ordinary program, it does the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import faults, paths
from harness.errors import MissingCapability, UsageError
from harness.plan import duration_s, which_world
from harness.virtual import library
from harness.virtual.stage import means

needs_clock = pytest.mark.skipif(library.lacks() is not None, reason=str(library.lacks()))


def look(code: str, seed: int = 7, start_s: int = 1000) -> str:
    """What a program prints that has the clock instead of the machine's."""
    environment = {
        "LD_PRELOAD": str(library.ensure() / library.CLOCK),
        "VIPDRILL_SEED": f"{seed:020d}",
        "VIPDRILL_START_S": str(start_s),
        "PYTHONHASHSEED": "0",
    }
    command = [sys.executable, "-IS", "-c", f"import os, time; {code}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@needs_clock
def test_time_moves_by_a_look_and_by_nothing_else() -> None:
    """Twice the same program tells the same times, a microsecond for each look."""
    code = "print([time.monotonic_ns() for _ in range(3)])"
    first, second = look(code), look(code)
    assert first == second
    a, b, c = map(int, first.strip("[]\n").split(","))
    assert (b - a, c - b) == (1000, 1000)


@needs_clock
def test_real_time_begins_at_the_given_date() -> None:
    assert int(look("print(time.time_ns() // 10**9)", start_s=1_893_456_000)) == 1_893_456_000


@needs_clock
def test_the_seed_decides_the_random_bytes() -> None:
    # By the C library, as the kernel's program asks; Python's own call does not pass there.
    code = "import ctypes; b = bytes(32); ctypes.CDLL(None).getrandom(b, 32, 0); print(b.hex())"
    assert look(code, seed=7) == look(code, seed=7)
    assert look(code, seed=7) != look(code, seed=8)


@needs_clock
def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIPDRILL_CACHE", str(tmp_path))
    made = library.ensure()
    monkeypatch.setattr(library.subprocess, "run", None)
    assert library.ensure() == made
    assert os.listdir(tmp_path / "clock") == [made.name]


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIPDRILL_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingCapability, match="install gcc"):
        library.ensure()


def test_on_another_processor_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MACHINES", ("pdp11",))
    with pytest.raises(MissingCapability, match="pdp11"):
        library.ensure()
    assert paths.cache_dir()


@pytest.mark.parametrize("name", ["cpu-quota", "conntrack-full"])
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(UsageError, match="drill it in real time"):
        means("host-crash", f"{name}:lb1")


def test_kernels_of_their_own_are_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="the guest's kernel"):
        means("host-crash", kernel="uml")


def test_other_faults_are_not_refused() -> None:
    faults.find("host-crash").check_virtual()


@pytest.mark.parametrize(
    ("written", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("4h", 14400), ("250ms", 0.25)]
)
def test_lengths_of_time_as_people_write_them(written: str, seconds: float) -> None:
    assert duration_s("--before", written) == seconds


@pytest.mark.parametrize("written", ["", "-1", "soon", "4 weeks", "1e9h"])
def test_other_words_are_no_length_of_time(written: str) -> None:
    with pytest.raises(UsageError, match="--before"):
        duration_s("--before", written)


def test_there_are_two_worlds() -> None:
    assert which_world("--time", "virtual")
    assert not which_world("--time", "real")
    with pytest.raises(UsageError, match="virtual"):
        which_world("--time", "imaginary")
