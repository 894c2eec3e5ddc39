"""The start of a bubble, from the start of the command until its code runs inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from ci.benchmarks.figure import Figure, at_most, interleaved, spread
from ci.benchmarks.options import Options

INSIDE_BUBBLE = False
_INSIDE = "import time; from harness import bubble; bubble.enter(); print(time.monotonic())"
_FLOOR = "import time; print(time.monotonic())"
_PATIENCE_S = 30.0


def _until_said(argv: list[str]) -> float:
    """Milliseconds from the start of a command until the moment that it says."""
    began = time.monotonic()
    said = subprocess.run(argv, check=True, capture_output=True, text=True)
    return (float(said.stdout) - began) * 1e3


def _until_building(folder: Path) -> float:
    """Milliseconds from the start of `vipdrill run` until its engine is at work, and then it is killed."""
    command = [str(Path(sys.executable).with_name("vipdrill")), "run", "vip-l7", "--fault", "host-crash"]
    began = time.monotonic()
    run = subprocess.Popen(
        [*command, "--quiet", "--artifacts", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while time.monotonic() < began + _PATIENCE_S and run.poll() is None:
            for timeline in folder.glob("*/timeline.jsonl"):
                head = timeline.read_text().partition("\n")
                if head[1]:
                    t_ns = int(head[0].partition('"t":')[2].partition(",")[0])
                    return (t_ns / 1e9 - began) * 1e3
            time.sleep(0.002)
    finally:
        run.kill()
        complaint = run.communicate()[1].decode()
        shutil.rmtree(folder)
        folder.mkdir()
    raise RuntimeError(f"vipdrill run did not begin to build: {complaint}")


def measure(options: Options) -> list[Figure]:
    """Two interpreters and a bubble between them; then the whole command."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain, inside, command = interleaved(
            options.repeats(11),
            lambda: _until_said([sys.executable, "-c", _FLOOR]),
            lambda: _until_said([sys.executable, "-c", _INSIDE]),
            lambda: _until_building(folder),
        )
    python = "start of the interpreter"
    who = "root" if os.getuid() == 0 else "ordinary user"
    return [
        Figure(
            "bubble: from exec until code runs inside",
            median(inside),
            "ms",
            median(plain),
            python,
            at_most(150),
            f"{spread(inside)}; as {who}",
        ),
        Figure(
            "`vipdrill run`: from exec until it builds, image found",
            median(command),
            "ms",
            median(plain),
            python,
            None,
            spread(command),
        ),
    ]
