"""Impairments of a link: frames lost, late, doubled, out of order, or slow. See `harness.fabric.impair`."""

from __future__ import annotations

from typing import ClassVar

from harness.errors import UsageError
from harness.fabric.impair import DIRECTIONS, Impairer, impairer_of
from harness.fabric.queues import Direction
from harness.fabric.rules import Rule
from harness.fabric.wire import Shape
from harness.faults.base import Fault
from harness.faults.link import DIRECTION, RuleFault
from harness.faults.parameters import Parameter
from harness.faults.target import Target, ports_of

_MILLION = 1_000_000


def _directions(value: str) -> tuple[Direction, ...]:
    return DIRECTIONS if value == "both" else tuple(d for d in DIRECTIONS if d == value)


class Loss(RuleFault):
    """Frames are lost at random, each for itself, in one direction or both."""

    name = "loss"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("percent", 10.0, "how many are lost", low=0.0001, high=100),
        DIRECTION,
    )

    def _rules(self, target: Target) -> list[Rule]:
        self.how = "nft"
        of_a_million = round(self.values["percent"] * _MILLION / 100)
        return self._drop(f"numgen random mod {_MILLION} < {of_a_million}", target, self.values["direction"])


class _Impairment(Fault):
    """What an impairer does, until it is told to leave it."""

    @property
    def _impairer(self) -> Impairer:
        return impairer_of(self.testbed)

    def _prepare(self, targets: list[Target]) -> None:
        for target in targets:
            if not self.testbed.node(target.node).alive:
                raise UsageError(f"{target.node} is down, so its links are no more")


class _Shaped(_Impairment):
    """An impairment of the frames' times, by netem or a userspace wire."""

    def _shape(self) -> Shape:
        raise NotImplementedError

    def _act(self, target: Target) -> None:
        for port in ports_of(self.testbed, target):
            directions = _directions(self.values["direction"])
            self.how = self._impairer.shape(port, directions, self.id, self._shape())

    def _verify(self, target: Target) -> None:
        """The kernel, or the wire's agent, has confirmed it."""

    def _heal(self, target: Target) -> None:
        for port in ports_of(self.testbed, target):
            self._impairer.clear(port, self.id)

    def _verify_healed(self, target: Target) -> None:
        fabric = self.testbed.fabric
        for port in ports_of(self.testbed, target):
            usable = self.testbed.node(target.node).alive and not (
                fabric.silent(port) or fabric.unplugged(port) or port in fabric.detours
            )
            if usable and not fabric.forwards(port):
                raise self._fails(f"{port} does not forward again")


class Delay(_Shaped):
    """Every frame is late by the same time, give or take a jitter; none overtakes another."""

    name = "delay"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("ms", 50.0, "how late, in each direction", low=0, high=60_000),
        Parameter("jitter_ms", 0.0, "give or take up to so much, evenly spread", low=0, high=60_000),
        DIRECTION,
    )

    def _shape(self) -> Shape:
        return Shape(delay_ms=self.values["ms"], jitter_ms=self.values["jitter_ms"])


class Jitter(_Shaped):
    """Frames are late by times that vary, evenly spread from nothing to the most; none overtakes another."""

    name = "jitter"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("ms", 20.0, "the most, in each direction", low=0.001, high=60_000),
        DIRECTION,
    )

    def _shape(self) -> Shape:
        return Shape(delay_ms=self.values["ms"] / 2, jitter_ms=self.values["ms"] / 2)


class Duplicate(_Shaped):
    """Frames arrive twice, at random, each for itself."""

    name = "duplicate"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("percent", 10.0, "how many", low=0.0001, high=100),
        DIRECTION,
    )

    def _shape(self) -> Shape:
        return Shape(duplicate=self.values["percent"])


class Reorder(_Shaped):
    """Frames are held back at random, so that later ones pass them."""

    name = "reorder"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("percent", 10.0, "how many", low=0.0001, high=100),
        Parameter("ms", 10.0, "for how long", low=0.001, high=60_000),
        DIRECTION,
    )

    def _shape(self) -> Shape:
        return Shape(reorder=self.values["percent"], hold_ms=self.values["ms"])


class Rate(_Impairment):
    """The link carries only so much; what is too much waits up to 50 ms, then it is lost."""

    name = "rate"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("mbit", 10.0, "megabits per second, in each direction", low=0.01, high=100_000),
        DIRECTION,
    )

    def _act(self, target: Target) -> None:
        self.how = "tbf"
        for port in ports_of(self.testbed, target):
            for direction in _directions(self.values["direction"]):
                self._impairer.queues.set_rate(port, direction, self.id, self.values["mbit"] * 1e6)

    def _verify(self, target: Target) -> None:
        """The kernel has confirmed it."""

    def _heal(self, target: Target) -> None:
        for port in ports_of(self.testbed, target):
            for direction in _directions(self.values["direction"]):
                self._impairer.queues.clear_rate(port, direction, self.id)
