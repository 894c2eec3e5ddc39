"""Drills as processes of their own, some side by side; each leaves its artifact folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import INTERRUPTED, UsageError
from harness.late_runs import lateness
from harness.report import result
from harness.timeline import Timeline

Result = dict[str, Any]
# The worst first, as in docs/result.md; what each makes `run` exit with.
EXIT = {"fail": 1, "unknown": 4, "limitation": 5, "pass": 0}
_JOBS_PER_CPU = 3


@dataclass(frozen=True)
class Child:
    """One drill: what it is called, the words after `vipdrill`, the folder that it fills."""

    name: str
    words: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Ended:
    """How a drill ended: with a result, or broken, with what it said."""

    child: Child
    result: Result | None
    said: str = ""
    void: str = ""
    """Why its verdict says nothing, so that it is run again."""


def side_by_side(given: int, *, virtual: bool = False) -> int:
    """How many drills run at once; 0 takes what this machine can without their disturbing each other.

    Drills of virtual time never wait, so one keeps a processor busy.
    """
    if given < 0:
        raise UsageError(f"--jobs takes 1 or more, not {given}")
    return given or (1 if virtual else _JOBS_PER_CPU) * (os.cpu_count() or 1)


def worst(results: Sequence[Result]) -> str:
    """The verdict that some results amount to."""
    return next((name for name in EXIT if any(r["verdict"] == name for r in results)), "unknown")


def run_all(
    children: Sequence[Child], jobs: int, tell: Callable[[Ended], None], *, most_runs: int = 1
) -> tuple[list[Ended], bool]:
    """Run them, and tell of each as it ends; all in their order, and whether somebody interrupted them.

    A drill that is void (`harness.late_runs`) is run `most_runs` times at most, the last time alone, after
    the others, and told of each time; the folder of one that does not count gets `-void` and a number
    appended to its name.
    """
    running = _Running()
    ended: list[Ended] = []
    void: Counter[Child] = Counter()
    waiting, pending = list(children), set[Future[Ended | None]]()
    last_chances: list[Child] = []
    with ThreadPoolExecutor(min(jobs, len(children))) as pool:
        while waiting or pending or last_chances:
            try:
                if not (waiting or pending):
                    waiting.append(last_chances.pop(0))
                while waiting:
                    pending.add(pool.submit(_run, waiting[0], running))
                    del waiting[0]
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    pending.remove(future)
                    if (one := future.result()) is None:
                        continue
                    if void[one.child] + 1 < most_runs and not running.interrupted and (why := _void(one)):
                        void[one.child] += 1
                        _put_aside(one.child.folder, void[one.child])
                        last_run = void[one.child] + 1 == most_runs
                        (last_chances if last_run else waiting).append(one.child)
                        one = replace(one, void=why)
                    else:
                        ended.append(one)
                    tell(one)
            except KeyboardInterrupt:
                running.interrupt()
                waiting.clear()
                last_chances.clear()
            except BaseException:  # nobody reads any more, or the disk is full: nothing new begins
                running.interrupt()
                raise
    return sorted(ended, key=lambda one: children.index(one.child)), running.interrupted


def _put_aside(folder: Path, number: int) -> None:
    """Keep what a void drill left, but not as a result: nobody is to count it."""
    (folder / result.NAME).rename(folder / result.VOID)
    folder.rename(folder.with_name(f"{folder.name}-void{number}"))


def _void(one: Ended) -> str:
    """Why a drill is void; nothing if it is not."""
    if one.result is None or one.result["verdict"] != "unknown":
        return ""
    return lateness(Timeline.load(one.child.folder / "timeline.jsonl"))


class _Running:
    """The processes that run now; after an interruption there are no new ones."""

    def __init__(self) -> None:
        self.interrupted = False
        self._processes: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()

    def start(self, argv: Sequence[str]) -> subprocess.Popen[str] | None:
        """Start one, in a session of its own, which no signal of the terminal reaches."""
        with self._lock:
            if self.interrupted:
                return None
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._processes.add(process)
            return process

    def ended(self, process: subprocess.Popen[str]) -> None:
        """It is gone."""
        with self._lock:
            self._processes.discard(process)

    def interrupt(self) -> None:
        """Pass an interruption on to all of them."""
        with self._lock:
            self.interrupted = True
            for process in self._processes:
                process.send_signal(signal.SIGINT)


def _run(child: Child, running: _Running) -> Ended | None:
    """One drill; None if it was interrupted, or not begun any more."""
    words = [sys.executable, "-m", "harness", *child.words, "--folder", str(child.folder), "--quiet"]
    try:
        child.folder.mkdir(parents=True, exist_ok=True)
        process = running.start(words)
    except OSError as error:
        return Ended(child, None, f"it could not be begun: {error}")
    if process is None:
        child.folder.rmdir()
        return None
    _, said = process.communicate()
    running.ended(process)
    if process.returncode in EXIT.values():
        # Python itself ends with 1 as well, where an interruption comes while it begins.
        try:
            return Ended(child, json.loads((child.folder / result.NAME).read_text(encoding="utf-8")))
        except FileNotFoundError:
            pass
    if running.interrupted or process.returncode == INTERRUPTED:
        return None
    return Ended(child, None, said.strip() or f"exit code {process.returncode}")
