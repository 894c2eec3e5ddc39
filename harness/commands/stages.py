"""What makes the stage for a plan: all that it needs is had here, built now if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.plan import Plan, Stage
    from harness.session import Image
    from harness.topology import Topology

MakeStage = Callable[["Plan", Path], "Stage"]


def prepare(
    topology: Topology, image: Image, faults: Iterable[str], *, virtual: bool, kernel: str = "auto"
) -> MakeStage:
    """What makes the stage for a plan with some of these faults on a topology, given its artifact folder.

    Raises UsageError for a fault that is not for that world, MissingCapability where the machine lacks it.
    """
    if virtual:
        from harness.virtual.stage import VirtualStage, means

        guest_kernel, clock = means(*faults, kernel=kernel)
        return lambda plan, folder: VirtualStage(plan, image, guest_kernel, clock, folder, topology)
    from harness import session
    from harness.kernel import ladder
    from harness.plan import RealStage

    choice = ladder.choose(topology, kernel)
    own = session.kernel() if choice.own_kernels else None
    return lambda plan, folder: RealStage(plan, choice, image, own, folder)
