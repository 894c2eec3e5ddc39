"""Stopped processes (SIGSTOP): what several faults may keep from running, and only the last lets go on."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from harness.errors import FaultNotEffective
from harness.faults.holds import holds_of
from harness.nodes.process import STOPPED

if TYPE_CHECKING:
    from harness.nodes.process import Process
    from harness.testbed import Testbed

_PATIENCE_S = 5.0


def await_stopped(testbed: Testbed, process: Process, *, children_only: bool = False) -> None:
    """Wait until a process and its descendants (or only those) have stopped; raises FaultNotEffective."""
    deadline = time.monotonic() + _PATIENCE_S
    # A process stops only when it is next scheduled, and no event tells so to anyone but its parent.
    while not (states := process.states(children_only=children_only)) <= STOPPED:
        if time.monotonic() > deadline:
            raise FaultNotEffective(f"{process} still runs (states {''.join(sorted(states))})")
        testbed.recorder.pump(0.001)


def running(process: Process) -> tuple[object, ...]:
    """What a fault holds that stops a service: these processes, not those of its next start."""
    return "running", process


def running_all(testbed: Testbed, node: str) -> tuple[object, ...]:
    """What a fault holds that stops a whole node: this boot of it, not the next one."""
    return "running", node, testbed.node(node).init_pid


def frozen(testbed: Testbed, node: str) -> bool:
    """Whether a whole node is kept from running."""
    return holds_of(testbed).held(running_all(testbed, node))


def hung_inside(testbed: Testbed, node: str) -> list[int]:
    """The processes of services that hang, as numbered in the node."""
    holds = holds_of(testbed)
    hung = [p for p in testbed.processes_of(node) if holds.held(running(p))]
    return [number for process in hung for number in process.numbers_inside()]


def thaw(testbed: Testbed, node: str, spared: list[int]) -> None:
    """Let a node's processes go on, but for `spared` and the services that hang by another fault."""
    testbed.node(node).thaw([*spared, *hung_inside(testbed, node)])


def resume(testbed: Testbed, process: Process) -> None:
    """Let a service go on, unless its whole node is frozen."""
    if not frozen(testbed, process.node):
        process.signal_tree(signal.SIGCONT)
