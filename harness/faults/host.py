"""Faults of a whole host."""

from __future__ import annotations

from typing import ClassVar

from harness.errors import UsageError
from harness.faults import cpu, stops
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target


class HostCrash(Fault):
    """The host loses its power: no packet, no reset, no farewell leaves it any more; healed by booting it."""

    name = "host-crash"

    def _act(self, target: Target) -> None:
        node, fabric = self.testbed.node(target.node), self.testbed.fabric
        self.holds.take(("power", target.node), self.id)
        # A killed process's sockets would say goodbye, which a host without power cannot.  Nobody else
        # is told: the segment keeps the neighbours' carrier.
        fabric.silence(fabric.ports_of(target.node), self.id)
        node.crash()

    def _verify(self, target: Target) -> None:
        if self.testbed.node(target.node).alive:
            raise self._fails(f"{target.node} still runs")
        self.testbed.lost(target.node)

    def _heal(self, target: Target) -> None:
        fabric = self.testbed.fabric
        fabric.unsilence(fabric.ports_of(target.node), self.id)
        if self.holds.release(("power", target.node), self.id):
            self.testbed.power_on(target.node)


class HostReboot(HostCrash):
    """The host loses its power and boots again by itself after a while; healed by booting it at once."""

    name = "host-reboot"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("after_s", 5.0, "how long it is without power, in seconds", low=0, high=3600),
    )

    def _verify(self, target: Target) -> None:
        super()._verify(target)
        due_ns = self.injected_ns + round(self.values["after_s"] * 1e9)
        self.testbed.when_due(due_ns, self.heal)


class KernelPanic(HostCrash):
    """The host's kernel panics: all stands still at once, the link stays lit; healed by booting it.

    Only a node with a kernel of its own has one that may.
    """

    name = "kernel-panic"

    def _prepare(self, targets: list[Target]) -> None:
        for target in targets:
            if not self.testbed.node(target.node).own_kernel:
                raise UsageError(
                    f"{target.node} runs on the host's kernel, which must not panic; give nodes kernels of"
                    " their own: --kernel uml"
                )

    def _act(self, target: Target) -> None:
        self.holds.take(("power", target.node), self.id)
        self.testbed.node(target.node).panic()


class Freeze(Fault):
    """Every process of the host stops where it stands, its kernel goes on; healed by letting them go on."""

    name = "freeze"
    ends_with_node = True

    def _act(self, target: Target) -> None:
        self.holds.take(stops.running_all(self.testbed, target.node), self.id)
        cpu.pause(self.testbed, target.node)
        self.testbed.node(target.node).freeze()

    def _verify(self, target: Target) -> None:
        for process in self.testbed.processes_of(target.node):
            stops.await_stopped(self.testbed, process)
        self.testbed.recorder.emit("node", node=target.node, state="frozen")

    def _heal(self, target: Target) -> None:
        if self.holds.release(stops.running_all(self.testbed, target.node), self.id):
            stops.thaw(self.testbed, target.node, cpu.pause(self.testbed, target.node))
            cpu.resume(self.testbed, target.node)
            self.testbed.recorder.emit("node", node=target.node, state="thawed")
