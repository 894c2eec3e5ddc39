"""What every fault does: act, be seen to act, heal exactly what it did; each moment on the timeline."""

from __future__ import annotations

import itertools
import time
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from harness.faults.target import Target, resolve

if TYPE_CHECKING:
    from harness.testbed import Testbed

_numbers = itertools.count(1)


class Fault:
    """A fault aimed at a target. Use it in a `with` block, or call `inject` and `heal`.

    A subclass implements `_act`, `_verify`, `_heal`, `_verify_healed`, and says what it feels like in
    its docstring's first line, which is what `vipdrill list` shows.
    """

    name: ClassVar[str]
    # The service a fault of a process hits when the target names only a node of this role.
    default_service: ClassVar[dict[str, str]] = {}

    def __init__(self, testbed: Testbed, target: str = "") -> None:
        self.testbed = testbed
        self.id = f"{self.name}-{next(_numbers)}"
        self.asked = target or "active"
        self.target: Target | None = None
        self.injected_ns = 0
        self.healed_ns = 0

    def inject(self) -> None:
        """Let it act. Raises FaultNotEffective if its effect cannot be seen."""
        self.target = resolve(self.testbed, self.asked, self.default_service)
        self.injected_ns = time.monotonic_ns()
        self._act(self.target)
        done = time.monotonic_ns()
        self._tell("inject", self.injected_ns)
        self._verify(self.target)
        self._tell("effective", done)

    def heal(self) -> None:
        """Undo it, and nothing else. Does nothing if it does not act."""
        if self.target is None or self.healed_ns:
            return
        self.healed_ns = time.monotonic_ns()
        self._tell("heal", self.healed_ns)
        self._heal(self.target)
        self._verify_healed(self.target)
        self._tell("healed", time.monotonic_ns())

    def _tell(self, state: str, t_ns: int) -> None:
        assert self.target is not None
        self.testbed.recorder.emit(
            "fault",
            t_ns,
            id=self.id,
            fault=self.name,
            target=str(self.target),
            state=state,
            nodes=[self.target.node],
        )

    def _act(self, target: Target) -> None:
        raise NotImplementedError

    def _verify(self, target: Target) -> None:
        raise NotImplementedError

    def _heal(self, target: Target) -> None:
        raise NotImplementedError

    def _verify_healed(self, target: Target) -> None:
        """By default, healing that raised nothing counts as done."""

    def __enter__(self) -> Fault:
        self.inject()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After Ctrl-C there is nothing left to heal for: the testbed ends with everything in it.
        if kind is None or not issubclass(kind, KeyboardInterrupt):
            self.heal()
