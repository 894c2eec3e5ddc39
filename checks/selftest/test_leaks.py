"""However a run ends, nothing of it is left: no process, namespace, mount, interface or stray file.

VIPDRILL_LEAK_RUNS says how many runs are killed (default 6).
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import paths
from harness.kernel.syscalls import pidfd_open
from harness.timeline import Timeline

RUNS = int(os.environ.get("VIPDRILL_LEAK_RUNS", "6"))
_LONGEST_DRILL_S = 4.5
_PATIENCE_S = 20.0
_KINDS = ("net", "mnt", "pid")


@dataclass
class Drill:
    """A `vipdrill run` as its own process group, in a bubble of its own."""

    process: subprocess.Popen[bytes]
    artifacts: Path

    def wait_for(self, seconds: float) -> None:
        """Let it run for so long, or to its end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def descendants(self) -> list[int]:
        """It and every process below it at this moment."""
        return descendants(self.process.pid)

    def timelines(self) -> list[Path]:
        """The timelines that it has left."""
        return list(self.artifacts.glob("*/timeline.jsonl"))

    def await_first_event(self) -> None:
        """Wait until its timeline has an event: before that there is nothing to be kept."""
        deadline = time.monotonic() + _PATIENCE_S
        while not any(path.stat().st_size for path in self.timelines()):
            assert time.monotonic() < deadline, f"no event within {_PATIENCE_S:g} s"
            self.wait_for(0.01)


@pytest.fixture
def drill(tmp_path: Path) -> Iterator[Drill]:
    """A drill that has just been started."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("VIPDRILL_") or key in ("VIPDRILL_CACHE",)
    }
    command = [sys.executable, "-m", "harness", "run", "vip-l7", "--fault", "host-crash"]
    process = subprocess.Popen(
        [*command, "--rate", "20", "--artifacts", str(tmp_path)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    yield Drill(process, tmp_path)
    process.kill()
    process.wait()


def descendants(pid: int) -> list[int]:
    """A process and every process below it at this moment, parents first."""
    found = [pid]
    for parent in found:
        try:
            text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found += [int(child) for child in text.split()]
    return found


class Traces:
    """What could be left of a drill: its processes and their namespaces, and what the outside looks like.

    The namespaces are held open, as the kernel would give the name of one that is gone to a new one.
    `cache` is where the drill's bubble has its mount point.
    """

    def __init__(self, pids: list[int], cache: Path | None = None) -> None:
        self._cache = cache or paths.cache_dir()
        self._pidfds = {}
        self._namespaces: dict[str, int] = {}
        ours = {os.readlink(f"/proc/self/ns/{kind}") for kind in _KINDS}
        for pid in pids:
            try:
                self._pidfds[pid] = pidfd_open(pid)
                for kind in _KINDS:
                    self._hold(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY), ours)
            except OSError:
                continue
        self._outside = _outside(self._cache)

    def _hold(self, fd: int, ours: set[str]) -> None:
        name = os.readlink(f"/proc/self/fd/{fd}")
        if name in ours or name in self._namespaces:
            os.close(fd)
        else:
            self._namespaces[name] = fd

    def must_vanish(self) -> None:
        """Wait for the end of every process, those included that were born into their namespaces since."""
        for pid, fd in self._pidfds.items():
            _await_end(pid, fd)
        for pid in _in_namespaces(set(self._namespaces)):
            try:
                _await_end(pid, pidfd_open(pid))
            except ProcessLookupError:
                continue
        assert _in_namespaces(set(self._namespaces)) == []
        assert _outside(self._cache) == self._outside

    def close(self) -> None:
        """Let go of the namespaces."""
        for fd in self._namespaces.values():
            os.close(fd)


def _await_end(pid: int, pidfd: int) -> None:
    assert select.select([pidfd], [], [], _PATIENCE_S)[0], f"process {pid} outlived its run"
    os.close(pidfd)


def _outside(cache: Path) -> tuple[str, list[str], list[str]]:
    mounts = Path("/proc/self/mounts").read_text()
    interfaces = sorted(os.listdir("/sys/class/net"))
    scratch = cache / "bubble"
    # Ours is mounted there while the suite itself runs in a bubble; only its own folders may be in it.
    stray = sorted(name.name for name in scratch.iterdir() if not name.name.startswith("bed-"))
    return mounts, interfaces, stray


def _in_namespaces(namespaces: set[str]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if {os.readlink(entry / "ns" / kind) for kind in _KINDS} & namespaces:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _moment(run: int) -> float:
    return random.Random(f"leaks {run}").uniform(0.05, _LONGEST_DRILL_S)


@pytest.mark.parametrize("run", range(RUNS))
def test_a_killed_run_leaves_nothing(drill: Drill, run: int) -> None:
    drill.wait_for(_moment(run))
    pids = drill.descendants()
    traces = Traces(pids)
    # In turn: what the user started, process 1 of the bubble, the run itself.
    victim = pids[min(run % 3, len(pids) - 1)]
    os.kill(victim, signal.SIGKILL)
    drill.process.communicate(timeout=_PATIENCE_S)
    traces.must_vanish()
    traces.close()
    for path in drill.timelines():
        Timeline.load(path, on_bad_line=lambda number, reason: None)


@pytest.mark.parametrize("run", range(max(2, RUNS // 3)))
@pytest.mark.parametrize("whom", ["group", "outside"])
def test_an_interrupted_run_keeps_what_it_saw(drill: Drill, run: int, whom: str) -> None:
    drill.await_first_event()
    drill.wait_for(_moment(run) / 2)
    traces = Traces(drill.descendants())
    (os.killpg if whom == "group" else os.kill)(drill.process.pid, signal.SIGINT)
    _, errors = drill.process.communicate(timeout=_PATIENCE_S)
    assert drill.process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    traces.must_vanish()
    traces.close()
    (path,) = drill.timelines()
    assert len(Timeline.load(path)) > 0
    assert (path.parent / "result.json").exists()
