"""Faults of a link: the cable between a node's interface and its segment."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ClassVar

from harness.fabric.rules import Rule
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target, ports_of

_PATIENCE_S = 5.0
DIRECTION = Parameter(
    "direction", "both", "in is towards the node, out from it", choices=("in", "out", "both")
)


def _found(search: Callable[[], object]) -> bool:
    return search() is not None


class LinkDown(Fault):
    """The cable is unplugged: the interface loses its carrier, the host knows; healed by plugging it in."""

    name = "link-down"

    def _act(self, target: Target) -> None:
        self.testbed.fabric.unplug(ports_of(self.testbed, target), self.id)

    def _verify(self, target: Target) -> None:
        self._carrier(target, up=False)

    def _heal(self, target: Target) -> None:
        self.testbed.fabric.plug(ports_of(self.testbed, target), self.id)

    def _verify_healed(self, target: Target) -> None:
        if self.testbed.node(target.node).alive:
            self._carrier(target, up=True)

    def _carrier(self, target: Target, *, up: bool) -> None:
        recorder = self.testbed.recorder
        for port in ports_of(self.testbed, target):
            if up and self.testbed.fabric.unplugged(port):
                continue
            seen = partial(self._seen, port.node, port.interface, up)
            recorder.wait(seen, _PATIENCE_S, f"{port} {'up' if up else 'down'}")

    def _seen(self, node: str, interface: str, up: bool) -> bool:
        last = self.testbed.recorder.timeline.last("link", node=node, interface=interface)
        return last is not None and last.up == up


class LinkBlocked(Fault):
    """The switch's port stops forwarding, as spanning tree does: carrier stays, the host knows nothing."""

    name = "link-blocked"

    def _act(self, target: Target) -> None:
        self.testbed.fabric.silence(ports_of(self.testbed, target), self.id)

    def _verify(self, target: Target) -> None:
        fabric = self.testbed.fabric
        for port in ports_of(self.testbed, target):
            if fabric.forwards(port):
                raise self._fails(f"{port} still forwards")

    def _heal(self, target: Target) -> None:
        self.testbed.fabric.unsilence(ports_of(self.testbed, target), self.id)


class RuleFault(Fault):
    """A fault made of drop rules in the fabric, which stay in force while nodes go down and come back."""

    def __init__(self, *arguments: object, **given: object) -> None:
        super().__init__(*arguments, **given)  # type: ignore[arg-type]
        self.rules: list[Rule] = []
        """Its rules; `testbed.fabric.rules.dropped(rule)` counts what each has dropped."""

    def _rules(self, target: Target) -> list[Rule]:
        """Put the rules for a target in force."""
        raise NotImplementedError

    def _drop(self, match: str, target: Target, direction: str) -> list[Rule]:
        """Drop what matches at a target's ports."""
        made = []
        drop = self.testbed.fabric.rules.drop
        for port in ports_of(self.testbed, target):
            if direction in {"in", "both"}:
                made.append(drop(match, destination=port))
            if direction in {"out", "both"}:
                made.append(drop(match, source=port))
        return made

    @property
    def dropped(self) -> int:
        """How many frames it has dropped until now."""
        return sum(map(self.testbed.fabric.rules.dropped, self.rules))

    def _act(self, target: Target) -> None:
        self.rules += self._rules(target)

    def _verify(self, target: Target) -> None:
        for rule in self.rules:
            if not self.testbed.fabric.rules.exists(rule):
                raise self._fails(f"its rule {' '.join(rule)} is not in force")

    def _heal(self, target: Target) -> None:
        while self.rules:
            self.testbed.fabric.rules.remove(self.rules.pop())


class LinkOneWay(RuleFault):
    """Frames pass in one direction only: those in the other are lost, carrier stays."""

    name = "link-oneway"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("lost", "in", "what is lost: in, towards the node; out, from it", choices=("in", "out")),
    )

    def _rules(self, target: Target) -> list[Rule]:
        return self._drop("", target, self.values["lost"])
