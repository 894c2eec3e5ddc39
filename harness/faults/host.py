"""Faults of a whole host."""

from __future__ import annotations

import os
import time

from harness.errors import FaultNotEffective
from harness.faults.base import Fault
from harness.faults.target import Target

_PATIENCE_S = 5.0
_STOPPED = {"T", "t", "Z", "X", ""}


class HostCrash(Fault):
    """The host loses its power: no packet, no reset, no farewell leaves it any more; healed by booting it."""

    name = "host-crash"

    def _act(self, target: Target) -> None:
        node, fabric = self.testbed.node(target.node), self.testbed.fabric
        # A killed process's sockets would say goodbye, which a host without power cannot.
        fabric.silence(fabric.ports_of(target.node))
        node.crash()

    def _verify(self, target: Target) -> None:
        if self.testbed.node(target.node).alive:
            raise FaultNotEffective(f"{self.name}: {target} still runs")
        self.testbed.lost(target.node)

    def _heal(self, target: Target) -> None:
        self.testbed.power_on(target.node)


class Freeze(Fault):
    """Every process of the host stops where it stands, its kernel goes on; healed by letting them go on."""

    name = "freeze"

    def _act(self, target: Target) -> None:
        self.testbed.node(target.node).freeze()

    def _verify(self, target: Target) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        for process in self.testbed.processes_of(target.node):
            # A process stops only when it is next scheduled, and no event tells so to anyone but its parent.
            while not (states := {_state(pid) for pid in process.tree()}) <= _STOPPED:
                if time.monotonic() > deadline:
                    raise FaultNotEffective(f"{self.name}: {process} still runs (states {sorted(states)})")
                self.testbed.recorder.pump(0.001)
        self.testbed.recorder.emit("node", node=target.node, state="frozen")

    def _heal(self, target: Target) -> None:
        self.testbed.node(target.node).thaw()
        self.testbed.recorder.emit("node", node=target.node, state="thawed")


def _state(pid: int) -> str:
    """The state letter of a process (proc(5)), or '' if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return os.fsdecode(stat.read().rpartition(b")")[2].split()[0])
    except FileNotFoundError:
        return ""
