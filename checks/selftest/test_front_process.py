"""Signals to a run with a process in front of it (`--keep`): each reaches the run, and only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from checks.patience import SOON_S
from checks.selftest.labs import next_line

# The processes of a bubble as in `harness.bubble.enter`, without its namespaces; the run ends with how many
# signals it got.  A second one comes at once, if at all.
_BUBBLE = """
import os, signal
from harness import bubble, front_process

front = front_process.go_ahead()
blocked = {*bubble._FORWARDED, *bubble._ERRANDS, signal.SIGCHLD, signal.SIGIO}
mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked) - front_process.PASSED_BY.keys()
report, report_write = os.pipe()
left, left_write = os.pipe()
init = os.fork()
if not init:
    os.close(report)
    run = os.fork()
    if not run:
        os.write(1, b"ready\\n")
        signal.sigwait([signal.SIGINT])
        os._exit(1 + (signal.sigtimedwait([signal.SIGINT], 0.3) is not None))
    os.write(report_write, bubble._reap(run).to_bytes(4, "big"))
    os._exit(0)
os.close(report_write)
os.close(left_write)
bubble._wait(init, report, front, left)
"""


@pytest.mark.parametrize("whom", ["group", "front"])
def test_a_signal_reaches_the_run_once(whom: str) -> None:
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", _BUBBLE],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    next_line(process.stdout, "ready")
    (os.killpg if whom == "group" else os.kill)(process.pid, signal.SIGINT)
    process.communicate(timeout=SOON_S)
    assert process.returncode == 1
