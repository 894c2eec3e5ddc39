"""A drill as it was asked for, and the stage on which it is given: the real world's or the virtual one's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from harness import world
from harness.errors import UsageError, one_of

if TYPE_CHECKING:
    from harness.kernel.ladder import Choice
    from harness.session import Image, Kernel
    from harness.testbed import Testbed
    from harness.timeline import Event, Timeline
    from harness.topology import Topology

_UNITS_S = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Step:
    """A fault of a scenario, as written: so long after the steady state, for so long (to the end if None)."""

    fault: str
    at_s: float
    for_s: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be drilled. `before_s` and `after_s` are watched with nothing done, around the fault.

    `phase` is the moment of the fault in the advertisement cycle (0 to 1), where the seed is not to choose
    it; with a `sweep_step_s` it comes at every phase, one after the other.  `kernel` says whose kernel nodes
    run on (`harness.kernel.ladder`).

    Of a scenario, `watch_s` says how long the whole is watched, and its `steps` are all the faults there are.
    """

    architecture: str
    fault: str = ""
    options: dict[str, str | bool] = field(default_factory=dict)
    heal: bool = True
    seed: int = 0
    rate: float = 100.0
    before_s: float = 0.0
    after_s: float = 0.0
    sweep_step_s: float = 0.0
    phase: float | None = None
    kernel: str = "auto"
    steps: tuple[Step, ...] = ()
    watch_s: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `dataclasses.asdict` gave, by way of JSON."""
        return cls(**{**data, "steps": tuple(Step(**step) for step in data["steps"])})

    @property
    def written(self) -> list[str]:
        """Its faults, as they were written."""
        return [self.fault] if self.fault else [step.fault for step in self.steps]

    @property
    def topology(self) -> Topology:
        """The architecture with its options; raises UsageError for what cannot be."""
        import topologies

        return topologies.make(self.architecture, self.options)

    def check(self) -> None:
        """Raise UsageError for what is wrong with it, as far as nothing has to run to tell."""
        from harness import faults

        topology = self.topology
        for fault in self.written:
            faults.check(fault, topology)

    def drill(self, testbed: Testbed) -> None:
        """Carry it out on a testbed that is built."""
        from harness.drill import Drill

        drill = Drill(testbed, phase=self.phase)
        if self.watch_s:
            drill.scenario(self.steps, self.watch_s)
        elif self.sweep_step_s:
            drill.sweep(self.fault, self.sweep_step_s)
        else:
            drill.run(self.fault, heal=self.heal, before_s=self.before_s, after_s=self.after_s)


class Stage(Protocol):
    """Where a plan is carried out."""

    @property
    def timeline(self) -> Timeline:
        """What was seen until now."""

    def perform(self, take: Callable[[Event], None]) -> None:
        """Carry the plan out from build to tear-down; each event is handed to `take` as it comes."""

    def now_ns(self) -> int:
        """The present on the timeline's clock."""


class RealStage:
    """The engine builds the testbed here and now."""

    def __init__(self, plan: Plan, choice: Choice, image: Image, kernel: Kernel | None, folder: Path) -> None:
        from harness import session

        self._plan, self._choice = plan, choice
        self._testbed = session.assemble(choice, image, kernel, folder, seed=plan.seed, rate=plan.rate)

    @property
    def timeline(self) -> Timeline:
        """What was seen until now."""
        return self._testbed.recorder.timeline

    def perform(self, take: Callable[[Event], None]) -> None:
        """Build, drill, tear down."""
        self._testbed.recorder.listeners.append(take)
        self._choice.tell(self._testbed.recorder)
        with self._testbed:
            self._plan.drill(self._testbed)

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC of the host."""
        import time

        return time.monotonic_ns()


def which_world(option: str, given: str) -> bool:
    """Whether a choice of the world means the virtual one; raises UsageError if it means none."""
    if given not in (world.REAL, world.VIRTUAL):
        raise one_of(f"{option}", given, [world.REAL, world.VIRTUAL])
    return given == world.VIRTUAL


def checked_rate(rate: float) -> float:
    """A rate of new connections a second; raises UsageError for one that cannot be kept."""
    if not 0 < rate <= 2000:
        raise UsageError(f"--rate must be above 0 and at most 2000 per second, not {rate:g}")
    return rate


def checked_phase(phase: float | None) -> float | None:
    """A moment of an advertisement cycle, or None; raises UsageError for one outside of it."""
    if phase is not None and not 0 <= phase <= 1:
        raise UsageError(f"--phase is between 0 and 1 of an advertisement interval, not {phase:g}")
    return phase


def duration_s(option: str, given: str) -> float:
    """A length of time as people write it (`90`, `90s`, `15m`, `4h`, `250ms`), in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([a-z]*)", given.strip())
    if match is None or match[2] not in _UNITS_S:
        raise UsageError(f"{option}: {given!r} is no length of time; write 90, 90s, 15m, 4h or 250ms")
    return float(match[1]) * _UNITS_S[match[2]]
