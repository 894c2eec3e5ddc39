"""Stopped processes (SIGSTOP): what several faults may keep from running, and only the last lets go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import FaultNotEffective
from harness.faults.holds import holds_of

if TYPE_CHECKING:
    from harness.nodes.process import Process
    from harness.testbed import Testbed

_PATIENCE_S = 5.0
_STOPPED = {"T", "t", "Z", "X", ""}


def await_stopped(testbed: Testbed, process: Process, pids: Iterable[int] | None = None) -> None:
    """Wait until a process and its descendants (or `pids`) have stopped; raises FaultNotEffective."""
    deadline = time.monotonic() + _PATIENCE_S
    # A process stops only when it is next scheduled, and no event tells so to anyone but its parent.
    while not (states := {state(pid) for pid in (pids or process.tree())}) <= _STOPPED:
        if time.monotonic() > deadline:
            raise FaultNotEffective(f"{process} still runs (states {''.join(sorted(states))})")
        testbed.recorder.pump(0.001)


def state(pid: int) -> str:
    """The state letter of a process (proc(5)), or '' if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return os.fsdecode(stat.read().rpartition(b")")[2].split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return ""


def frozen(testbed: Testbed, node: str) -> bool:
    """Whether a whole node is kept from running."""
    return holds_of(testbed).held(("running", node))


def hung_inside(testbed: Testbed, node: str) -> list[int]:
    """The processes of services that hang, as numbered in the node."""
    holds = holds_of(testbed)
    hung = [p for p in testbed.processes_of(node) if holds.held(("running", node, p.name))]
    return [number_inside(pid) for process in hung for pid in process.tree()]


def thaw(testbed: Testbed, node: str, spared: list[int]) -> None:
    """Let a node's processes go on, but for `spared` and the services that hang by another fault."""
    host, kept = testbed.node(node), [*spared, *hung_inside(testbed, node)]
    if not kept:
        host.thaw()
        return
    pids = [int(entry) for entry in host.listdir("/proc") if entry.isdecimal()]
    others = [str(pid) for pid in pids if pid not in kept]
    # Some of them end meanwhile, which the shell's kill reports and nobody minds.
    host.status(["/bin/sh", "-c", f"kill -CONT {' '.join(others)}"])
    host.frozen = False


def resume(testbed: Testbed, process: Process) -> None:
    """Let a service go on, unless its whole node is frozen."""
    if not frozen(testbed, process.node):
        process.signal_tree(signal.SIGCONT)


def number_inside(pid: int) -> int:
    """A process's number in its own PID namespace (the last of NSpid, proc(5)); 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"NSpid:"):
                    return int(line.split()[-1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
