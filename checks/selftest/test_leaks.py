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
        """Every process below it at this moment."""
        found = [self.process.pid]
        for pid in found:
            try:
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except OSError:
                continue
            found += [int(child) for child in text.split()]
        return found

    def timelines(self) -> list[Path]:
        """The timelines that it has left."""
        return list(self.artifacts.glob("*/timeline.jsonl"))


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


class Traces:
    """What could be left of a drill: its processes and their namespaces, and what the outside looks like."""

    def __init__(self, pids: list[int]) -> None:
        self._pidfds = {}
        self._namespaces: set[str] = set()
        for pid in pids:
            try:
                self._pidfds[pid] = pidfd_open(pid)
                self._namespaces |= {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "mnt", "pid")}
            except OSError:
                continue
        self._namespaces -= {os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "mnt", "pid")}
        self._outside = _outside()

    def must_vanish(self) -> None:
        """Wait for the end of every process; then no process may be in one of their namespaces."""
        for pid, fd in self._pidfds.items():
            assert select.select([fd], [], [], _PATIENCE_S)[0], f"process {pid} outlived its run"
            os.close(fd)
        assert _in_namespaces(self._namespaces) == []
        assert _outside() == self._outside


def _outside() -> tuple[str, list[str], list[str]]:
    mounts = Path("/proc/self/mounts").read_text()
    interfaces = sorted(os.listdir("/sys/class/net"))
    scratch = paths.cache_dir() / "bubble"
    # Ours is mounted there while the suite itself runs in a bubble; only its own folders may be in it.
    stray = sorted(name.name for name in scratch.iterdir() if not name.name.startswith("bed-"))
    return mounts, interfaces, stray


def _in_namespaces(namespaces: set[str]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if {os.readlink(entry / "ns" / kind) for kind in ("net", "mnt", "pid")} & namespaces:
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
    drill.process.communicate()
    traces.must_vanish()
    for path in drill.timelines():
        Timeline.load(path, on_bad_line=lambda number, reason: None)


@pytest.mark.parametrize("run", range(max(2, RUNS // 3)))
@pytest.mark.parametrize("whom", ["group", "outside"])
def test_an_interrupted_run_keeps_what_it_saw(drill: Drill, run: int, whom: str) -> None:
    drill.wait_for(1.2 + _moment(run) / 3)
    traces = Traces(drill.descendants())
    (os.killpg if whom == "group" else os.kill)(drill.process.pid, signal.SIGINT)
    _, errors = drill.process.communicate()
    assert drill.process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    traces.must_vanish()
    (path,) = drill.timelines()
    assert len(Timeline.load(path)) > 0
    assert (path.parent / "result.json").exists()
