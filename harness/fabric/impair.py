"""Impairments of links: which mechanism does what on this kernel, how exactly, and doing it.

    loss                                   nft: each frame by a random number of the kernel's
    rate                                   tbf at the end that sends
    delay, jitter, duplication, reorder    netem where the kernel has it and the link's queue is free,
                                           else a userspace wire (`harness.fabric.wire`)

The figures of accuracy are those of docs/faults.md, measured by ci/benchmarks/impairments.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from harness.fabric.netlink import RouteSocket
from harness.fabric.queues import Direction, Queues, has_netem
from harness.fabric.wire import Shape, Wire
from harness.kernel import namespaces
from harness.kernel import syscalls as sc

if TYPE_CHECKING:
    from harness.fabric.fabric import Port
    from harness.nodes.base import Node
    from harness.testbed import Testbed

DIRECTIONS: tuple[Direction, ...] = ("in", "out")
_NETEM, _WIRE = "netem", "userspace wire"


@dataclass(frozen=True)
class Mechanism:
    """How an impairment is done here, and how exactly."""

    how: str
    accuracy: str


def impairments() -> dict[str, Mechanism]:
    """For each impairment, the mechanism in use on this machine; for `vipdrill doctor`.

    The kernel is asked in a network namespace of the kind that nodes have; where none can be made, it
    is taken to have no netem.
    """
    loss = Mechanism("nft", "exact odds for each frame, no added delay")
    rate = Mechanism("tbf", "within 1 % over a second; bursts of 4 ms")
    if _netem_in_a_namespace():
        exact = Mechanism(_NETEM, "the kernel's timers, some 10 us")
        return {"loss": loss, "rate": rate, **dict.fromkeys(_QUEUED, exact)}
    delay = Mechanism(_WIRE, WIRE_TIMING)
    return {
        "loss": loss,
        "rate": rate,
        "delay": delay,
        "jitter": Mechanism(_WIRE, f"uniform, in order; {WIRE_TIMING}"),
        "duplication": Mechanism(_WIRE, f"exact odds for each frame; {WIRE_TIMING}"),
        "reorder": Mechanism(_WIRE, f"exact odds for each frame; {WIRE_TIMING}"),
    }


_QUEUED = ("delay", "jitter", "duplication", "reorder")
WIRE_TIMING = "0.04 ms late in the median, 0.15 ms for 99 %"


@lru_cache(maxsize=1)
def _netem_in_a_namespace() -> bool:
    """Whether netem can be had in a fresh network namespace, asked in a child that then ends."""
    child = os.fork()
    if child == 0:
        answer = 1
        try:
            user = 0 if os.geteuid() == 0 else sc.CLONE_NEWUSER
            sc.unshare(user | sc.CLONE_NEWNET)
            answer = 0 if has_netem(RouteSocket()) else 1
        except OSError:
            pass
        finally:
            os._exit(answer)
    return os.waitpid(child, 0)[1] == 0


class Impairer:
    """What the faults of one testbed do to its links."""

    def __init__(self, testbed: Testbed) -> None:
        self._testbed = testbed
        self.queues = Queues(self._run)
        self._wires: dict[Port, Wire] = {}
        fabric = testbed.fabric
        fabric.reconnected.append(self.queues.reconnected)
        route = namespaces.inside(fabric.hub.netns, sc.CLONE_NEWNET, RouteSocket)
        try:
            self._netem = has_netem(route)
        finally:
            route.close()

    def _run(self, port: Port, direction: Direction, argv: Sequence[str]) -> str:
        here: Node = self._testbed.fabric.hub
        device = port.name
        if direction == "out":
            here, device = self._testbed.node(port.node), port.interface
            if not here.alive:
                return ""
        elif not self._testbed.node(port.node).alive:
            return ""
        return here.run([device if word == "DEV" else word for word in argv])

    def shape(self, port: Port, directions: Sequence[Direction], holder: str, shape: Shape) -> str:
        """Shape the frames of a port; returns the mechanism that does it."""
        if self._netem and all(self.queues.free(port, direction) for direction in directions):
            for direction in directions:
                self.queues.set_netem(port, direction, holder, shape)
            return _NETEM
        if port not in self._wires:
            testbed = self._testbed
            self._wires[port] = Wire(testbed.fabric, testbed.recorder, port, testbed.seed)
        towards, away = (shape if direction in directions else Shape() for direction in DIRECTIONS)
        self._wires[port].set(holder, towards, away)
        return _WIRE

    def clear(self, port: Port, holder: str) -> None:
        """Take a shape away."""
        by_netem = [self.queues.clear_netem(port, direction, holder) for direction in DIRECTIONS]
        if any(by_netem):
            return
        wire = self._wires[port]
        wire.clear(holder)
        if wire.idle:
            del self._wires[port]
            wire.remove()


_of: WeakKeyDictionary[Testbed, Impairer] = WeakKeyDictionary()


def impairer_of(testbed: Testbed) -> Impairer:
    """The impairer of a testbed, made when it is first asked for."""
    found = _of.get(testbed)
    if found is None:
        found = _of[testbed] = Impairer(testbed)
    return found
