"""What every fault does: act, be seen to act, heal exactly what it did; each moment on the timeline."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from harness import world
from harness.errors import FaultNotEffective, UsageError
from harness.faults.holds import Holds, holds_of
from harness.faults.parameters import Parameter, read
from harness.faults.target import Target, check, resolve

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.testbed import Testbed
    from harness.topology import Topology

_numbers = itertools.count(1)


class Fault:
    """A fault aimed at a target. Use it in a `with` block, or call `inject` and `heal`.

    A subclass implements `_act`, `_verify`, `_heal`, `_verify_healed`, each called once for every target,
    and says what it feels like in its docstring's first line, which is what `vipdrill list` shows.
    """

    name: ClassVar[str]
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    default_target: ClassVar[str] = "active"
    # The service a fault of a process hits when the target names only a node of this role.
    default_service: ClassVar[dict[str, str]] = {}
    # Whether a node's end (a crash, a reboot) undoes it, so that there is nothing left to heal.
    ends_with_node: ClassVar[bool] = False
    # Why it makes no sense, or cannot be had, in virtual time.
    real_only: ClassVar[str] = ""

    def __init__(self, testbed: Testbed, target: str = "", **given: object) -> None:
        if world.virtual():
            self.check_virtual()
        self.testbed = testbed
        self.id = f"{self.name}-{next(_numbers)}"
        self.asked = target or self.default_target
        self.values = self.values_of(given)
        self.how = ""
        """The mechanism in use, where there are several."""
        self.targets: list[Target] = []
        self.injected_ns = 0
        self.healed_ns = 0
        self._boots: dict[str, int] = {}
        self._left: list[Target] = []

    @classmethod
    def values_of(cls, given: Mapping[str, object]) -> dict[str, Any]:
        """All parameters' values, given or by default; raises UsageError for what is not allowed."""
        return read(cls.name, cls.parameters, given)

    @classmethod
    def check_target(cls, topology: Topology, target: str) -> None:
        """Raise UsageError for a target (or nothing, for the default one) that the topology cannot have."""
        check(topology, target or cls.default_target, cls.default_service)

    @classmethod
    def check_options(cls, topology: Topology, given: Mapping[str, object]) -> None:
        """Raise UsageError for what neither its parameters nor the architecture give it."""

    @classmethod
    def check_virtual(cls) -> None:
        """Raise UsageError, with the reason, if it is not for virtual time."""
        if cls.real_only:
            raise UsageError(f"{cls.name}: {cls.real_only}; drill it in real time")

    @property
    def target(self) -> Target | None:
        """The first target, None before it was injected."""
        return self.targets[0] if self.targets else None

    @property
    def holds(self) -> Holds:
        """What this testbed's faults hold together."""
        return holds_of(self.testbed)

    # -- life ----------------------------------------------------------------------------------

    def inject(self) -> None:
        """Let it act. Raises FaultNotEffective if its effect cannot be seen."""
        targets = self._aim()
        self._prepare(targets)
        self.targets = targets
        self._boots = {t.node: self.testbed.node(t.node).init_pid for t in targets if t.node}
        self.injected_ns = time.monotonic_ns()
        for target in targets:
            self._left.append(target)
            self._act(target)
        done = time.monotonic_ns()
        self._tell("inject", self.injected_ns)
        for target in targets:
            self._verify(target)
        self._tell("effective", done)

    def heal(self) -> None:
        """Undo it, and nothing else. Does nothing if it does not act.

        What raises an error half-way acts on where it was not undone yet, and can be healed again.
        """
        if not self.targets or self.healed_ns:
            return
        self.healed_ns = time.monotonic_ns()
        self._tell("heal", self.healed_ns)
        undone = []
        try:
            while self._left:
                target = self._left[0]
                if not (self.ends_with_node and self._rebooted(target)):
                    self._heal(target)
                    undone.append(target)
                self._left.pop(0)
        finally:
            if self._left:
                self.healed_ns = 0
        for target in undone:
            self._verify_healed(target)
        self._tell("healed", time.monotonic_ns())

    def _aim(self) -> list[Target]:
        return resolve(self.testbed, self.asked, self.default_service)

    def _prepare(self, targets: list[Target]) -> None:
        """Check and set up what takes time and changes nothing yet."""

    def _act(self, target: Target) -> None:
        raise NotImplementedError

    def _verify(self, target: Target) -> None:
        raise NotImplementedError

    def _heal(self, target: Target) -> None:
        raise NotImplementedError

    def _verify_healed(self, target: Target) -> None:
        """By default, healing that raised nothing counts as done."""

    # -- helpers -------------------------------------------------------------------------------

    def _rebooted(self, target: Target) -> bool:
        """Whether the node has gone down since the fault began, whatever it did afterwards."""
        return self.testbed.node(target.node).init_pid != self._boots[target.node]

    def _processes(self, targets: list[Target]) -> dict[Target, Process]:
        """The processes aimed at, as they run now; raises UsageError for one that does not."""
        return {target: self.testbed.process(target.node, target.service) for target in targets}

    def _up(self, target: Target) -> Node:
        """The target's node; raises UsageError while it is down."""
        node = self.testbed.node(target.node)
        if not node.alive:
            raise UsageError(f"{target.node} is down: heal that first, then the fault {self.name}")
        return node

    def _fails(self, why: str) -> FaultNotEffective:
        return FaultNotEffective(f"{self.name} of {'+'.join(map(str, self.targets))}: {why}")

    def _hit(self) -> list[str]:
        """The nodes it hits."""
        return list(dict.fromkeys(target.node for target in self.targets))

    @property
    def detail(self) -> str:
        """Parameters and mechanism, in words."""
        words = [f"{key}={value}" for key, value in self.values.items() if value != ""]
        return " ".join([*words, *([f"by {self.how}"] if self.how else [])])

    def _tell(self, state: str, t_ns: int) -> None:
        fields: dict[str, object] = {"nodes": self._hit()}
        if self.detail:
            fields["detail"] = self.detail
        self.testbed.recorder.emit(
            "fault",
            t_ns,
            id=self.id,
            fault=self.name,
            target="+".join(map(str, self.targets)),
            state=state,
            **fields,
        )

    def __enter__(self) -> Fault:
        self.inject()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After Ctrl-C there is nothing left to heal for: the testbed ends with everything in it.
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.heal()
