"""Virtual time: how soon it is ready, how much faster than real it runs, and whether it repeats itself."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ci.benchmarks import worlds
from ci.benchmarks.figure import Figure, at_least, at_most, spread
from ci.benchmarks.options import Options
from ci.benchmarks.where import Shares, Watch
from harness.timeline import Timeline

INSIDE_BUBBLE = False
_COMMAND = (
    str(Path(sys.executable).with_name("vipdrill")),
    *("run", "vip-l7", "--fault", "host-crash", "--time", "virtual"),
)
# Checks every 2 s, a client a second; checks every 10 s, a client every 10 s: see docs/virtual-time.md.
_CALM = ("--advert-int", "1", "--rate")
TEN_MINUTES = (*_CALM, "1", "--before", "5m", "--after", "5m", "--inter", "2", "--script-interval", "2")
FOUR_HOURS = (*_CALM, "0.1", "--before", "2h", "--after", "2h", "--inter", "10", "--track", "none")
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Run:
    """One run: wall time, the time that passed in it, a digest of its timeline and captures, and its work."""

    wall_s: float
    virtual_s: float
    digest: str
    shares: Shares

    @property
    def speed(self) -> float:
        """How many times faster than real time."""
        return self.virtual_s / self.wall_s


def drill(*more: str) -> Run:
    """A host crash with seed 7."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        run = subprocess.Popen(
            [*_COMMAND, *more, "--seed", "7", "--quiet", "--artifacts", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with Watch(run.pid) as watch:
            _, said = run.communicate()
        wall_s = time.monotonic() - began
        if run.returncode not in (0, 1, 4, 5):
            raise RuntimeError(f"vipdrill run --time virtual ended with {run.returncode}: {said}")
        (timeline,) = Path(folder).glob("*/timeline.jsonl")
        first_ns, last_ns = Timeline.load(timeline).span
        digest = hashlib.sha256(timeline.read_bytes())
        for capture in sorted(timeline.parent.glob("captures/*")):
            digest.update(capture.read_bytes())
        return Run(wall_s, (last_ns - first_ns) / 1e9, digest.hexdigest(), watch.shares)


def _until_building() -> float:
    """Seconds from the start of the command until its guest's engine is at work, and then it is killed."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        run = subprocess.Popen(
            [*_COMMAND, "--quiet", "--artifacts", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            while time.monotonic() < began + _PATIENCE_S and run.poll() is None:
                if any(path.stat().st_size for path in Path(folder).glob("*/timeline.jsonl")):
                    return time.monotonic() - began
                time.sleep(0.002)
        finally:
            run.kill()
            complaint = run.communicate()[1].decode()
    raise RuntimeError(f"vipdrill run --time virtual did not begin to build: {complaint}")


def measure(options: Options) -> list[Figure]:
    """The start, short drills, and long ones."""
    starts = [_until_building() for _ in range(options.repeats(5))]
    short = [drill() for _ in range(options.repeats(20))]
    alike = max(sum(run.digest == other.digest for other in short) for run in short)
    ten_minutes = drill(*TEN_MINUTES)
    figures = [
        Figure(
            "virtual time: from exec until the engine builds",
            median(starts),
            "s",
            target=at_most(5),
            note=spread(starts),
        ),
        Figure(
            "virtual time: a whole drill of vip-l7",
            median(run.wall_s for run in short),
            "s",
            note=f"{spread([run.wall_s for run in short])}; {short[0].virtual_s:.1f} s of virtual time",
        ),
        Figure(
            "virtual time: repeats that are byte-identical",
            alike / len(short) * 100,
            "%",
            target=at_least(100),
            note=f"{alike} of {len(short)}, timeline and captures",
        ),
        _speed("10 minutes, checks every 2 s", ten_minutes, 10),
    ]
    if options.scale >= 1:
        figures.append(_speed("4 hours, checks every 10 s, one failover", drill(*FOUR_HOURS), 60))
    figures += [
        Figure(f"virtual time: the 10 minutes' processor time, {name}", percent, "%")
        for name, percent in ten_minutes.shares.percent().items()
    ]
    return [*figures, *worlds.measure(options)]


def _speed(what: str, run: Run, least: float) -> Figure:
    note = f"{run.virtual_s:.0f} s in {run.wall_s:.1f} s, {run.shares.total_s:.1f} s of processor time"
    return Figure(f"virtual time: {what}, times real time", run.speed, "x", target=at_least(least), note=note)
