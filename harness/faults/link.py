"""Faults of a link."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from harness.fabric.fabric import Port
from harness.faults.base import Fault
from harness.faults.target import Target

_PATIENCE_S = 5.0


def _found(search: Callable[[], object]) -> bool:
    return search() is not None


class LinkDown(Fault):
    """The cable is unplugged: the interface loses its carrier, the host knows; healed by plugging it in."""

    name = "link-down"

    def _ports(self, target: Target) -> list[Port]:
        fabric = self.testbed.fabric
        return (
            [fabric.port(target.node, target.interface)] if target.interface else fabric.ports_of(target.node)
        )

    def _act(self, target: Target) -> None:
        self.testbed.fabric.unplug(self._ports(target))

    def _verify(self, target: Target) -> None:
        self._carrier(target, up=False, since_ns=self.injected_ns)

    def _heal(self, target: Target) -> None:
        self.testbed.fabric.plug(self._ports(target))

    def _verify_healed(self, target: Target) -> None:
        self._carrier(target, up=True, since_ns=self.healed_ns)

    def _carrier(self, target: Target, *, up: bool, since_ns: int) -> None:
        recorder = self.testbed.recorder
        for port in self._ports(target):
            seen = partial(
                recorder.timeline.first,
                "link",
                node=port.node,
                interface=port.interface,
                up=up,
                since=since_ns,
            )
            recorder.wait(partial(_found, seen), _PATIENCE_S, f"{port} {'up' if up else 'down'}")
