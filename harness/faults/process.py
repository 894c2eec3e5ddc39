"""Faults of one service's processes."""

from __future__ import annotations

import signal
from typing import ClassVar

from harness.faults import cpu, stops
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target

DEFAULT_SERVICE = {"balancer": "keepalived"}
_ENDING_S = 10.0


class _Ended(Fault):
    """What ends a service; healed by starting it again, unless something else did."""

    default_service = DEFAULT_SERVICE

    def _prepare(self, targets: list[Target]) -> None:
        self._ending = self._processes(targets)

    def _heal(self, target: Target) -> None:
        running = {process.name for process in self.testbed.processes_of(target.node)}
        if self.testbed.node(target.node).alive and target.service not in running:
            self.testbed.start_service(target.node, target.service)


class Kill(_Ended):
    """All processes of a service get SIGKILL at once: nothing is cleaned up; healed by starting it again."""

    name = "kill"

    def _act(self, target: Target) -> None:
        process = self._ending[target]
        process.expected_end = True
        process.signal_tree(signal.SIGKILL)

    def _verify(self, target: Target) -> None:
        process = self._ending[target]
        if process.reap(wait=True) != -signal.SIGKILL:
            raise self._fails(f"{process} ended otherwise")


class Stop(_Ended):
    """A service is stopped as its service manager would: it may say goodbye; healed by starting it again."""

    name = "stop"

    def _act(self, target: Target) -> None:
        process = self._ending[target]
        process.expected_end = True
        self.testbed.service(target.node, target.service).stop(process)

    def _verify(self, target: Target) -> None:
        process = self._ending[target]
        self.testbed.recorder.wait(
            lambda: not process.running, _ENDING_S, f"the end of {target}", lambda: repr(process)
        )


class Hang(Fault):
    """A service's processes stop where they stand (SIGSTOP), its sockets stay open; healed by SIGCONT."""

    name = "hang"
    default_service = DEFAULT_SERVICE
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("which", "all", "all its processes, or its children only", choices=("all", "children")),
    )
    ends_with_node = True

    def _prepare(self, targets: list[Target]) -> None:
        self._hung = self._processes(targets)

    def _act(self, target: Target) -> None:
        process = self._hung[target]
        if self.holds.take(stops.running(process), self.id):
            cpu.hold(self.testbed, target.node)
        if self.values["which"] == "all":
            process.signal_tree(signal.SIGSTOP)
        else:
            process.signal_children(signal.SIGSTOP)

    def _verify(self, target: Target) -> None:
        children_only = self.values["which"] == "children"
        stops.await_stopped(self.testbed, self._hung[target], children_only=children_only)

    def _heal(self, target: Target) -> None:
        if self.holds.release(stops.running(self._hung[target]), self.id):
            cpu.hold(self.testbed, target.node)
            stops.resume(self.testbed, self._hung[target])
