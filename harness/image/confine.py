"""Start a command in a `cell`: as root of its own namespaces, gone when this process is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from harness.errors import MissingCapability
from harness.image import cell, fakeids
from harness.image.ids import IdMap

CELL = Path(cell.__file__)
# What a Debian system's maintainer scripts expect, whoever calls; a user's PATH often lacks sbin.
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CURE = "see `vipdrill doctor`, or build as root"


class Cell(subprocess.Popen[str]):
    """A running command whose output, standard error included, is text to be read line by line."""

    def __init__(self, command: list[str], ids: IdMap, lock: int, env: Mapping[str, str]) -> None:
        """`lock` is a file descriptor that stays open as long as any process of the command lives."""
        if not ids.complete and not fakeids.supported():
            raise MissingCapability(
                f"building a node image with a single user id is not supported on {os.uname().machine}",
                'get subordinate ids by "sudo usermod --add-subuids 100000-165535'
                ' --add-subgids 100000-165535 $USER"',
            )
        # The read end goes into the cell, the write end is held here and nowhere else.
        alive, self._held = os.pipe()
        options = {**asdict(ids), "fake": not ids.complete, "alive": alive}
        try:
            super().__init__(
                [sys.executable, "-ES", str(CELL), json.dumps(options), "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # Ctrl-C is for the starter, which then ends the cell.
                start_new_session=True,
                pass_fds=(alive, lock),
                env={"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", **env},
                cwd="/",
            )
        finally:
            os.close(alive)

    def end(self) -> int:
        """Kill the command with all that it started, if it still runs, and return its status."""
        if self.poll() is None:
            self.kill()
        status = self.wait()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1
        if self.stdout:
            self.stdout.close()
        return status


def run(command: list[str], ids: IdMap, lock: int, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a short command in a cell; its status and output.  MissingCapability if there can be no cell."""
    running = Cell(command, ids, lock, env or {})
    try:
        output = running.stdout.read() if running.stdout else ""
        running.wait()
    finally:
        status = running.end()
    if status == cell.CELL_FAILED:
        raise no_cell(output)
    return status, output


def no_cell(output: str) -> MissingCapability:
    """The error for a cell that could not be made, from what it printed."""
    reasons = [line.removeprefix("cell: ") for line in output.splitlines() if line.startswith("cell: ")]
    return MissingCapability(f"no namespaces to build the node image in: {' '.join(reasons)}", CURE)
