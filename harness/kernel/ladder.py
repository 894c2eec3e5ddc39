"""Which kernel each node runs on: the host's where that has what the node needs, else one of its own.

The ladder has three rungs.  The host's kernel is fastest and as real as it gets.  Where it lacks what a
node needs (`NodeSpec.needs`), the node gets a kernel of its own (User-Mode Linux).  Where that cannot be
had either, there is one sentence that says why, and what would help.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from harness import world
from harness.errors import MissingCapability, one_of
from harness.image.kernel import MACHINES
from harness.kernel import features

if TYPE_CHECKING:
    from harness.recorder import Recorder
    from harness.topology import NodeSpec, Topology

Asked = Literal["auto", "host", "uml"]


@dataclass(frozen=True)
class Choice:
    """A topology whose nodes have their kernels, and why they have them (by node, in words)."""

    topology: Topology
    reasons: dict[str, str]

    @property
    def own_kernels(self) -> bool:
        """Whether any node has a kernel of its own."""
        return any(node.kernel == "uml" for node in self.topology.nodes)

    def tell(self, recorder: Recorder) -> None:
        """Note on a timeline why nodes have kernels of their own."""
        for name, why in self.reasons.items():
            recorder.emit("note", text=f"{name} has a kernel of its own: {why}")


def choose(topology: Topology, asked: str = "auto") -> Choice:
    """Give each node of a topology its kernel; raises MissingCapability where there is none for it.

    `host` and `uml` force the nodes that need something of their kernel; where none does, `uml` means
    the balancers.  What a topology itself has decided (`NodeSpec.kernel`) stays.
    """
    if asked not in get_args(Asked):
        raise one_of("kernel", asked, list(get_args(Asked)))
    needing = [node for node in topology.nodes if node.needs]
    forced = (needing or topology.role("balancer")) if asked == "uml" else []
    reasons: dict[str, str] = {}
    nodes = []
    for node in topology.nodes:
        why = "it was asked for" if node in forced else _why_not_host(node, asked)
        if why or node.kernel == "uml":
            _require_uml(node, why)
            reasons[node.name] = why or "its topology wants it"
        nodes.append(replace(node, kernel="uml") if why else node)
    return Choice(replace(topology, nodes=tuple(nodes)), reasons)


def lacks(needs: Iterable[str]) -> list[str]:
    """Why the host's kernel does not do for what is needed, each lack in words; empty if it does."""
    return [why for name in needs if (why := features.lack(name))]


def why_no_uml() -> str:
    """Why no node can have a kernel of its own on this machine, in words; '' if one can."""
    if world.virtual():
        return "in virtual time all nodes run on the guest's kernel"
    machine = os.uname().machine
    return "" if machine in MACHINES else f"there is no User-Mode Linux for processors of the kind {machine}"


def _why_not_host(node: NodeSpec, asked: str) -> str:
    found = lacks(node.needs)
    if found and asked == "host":
        raise MissingCapability(f"{node.name} needs more: {found[0]}", "leave out --kernel host")
    return found[0] if found else ""


def _require_uml(node: NodeSpec, why: str) -> None:
    refused = why_no_uml()
    if refused:
        raise MissingCapability(
            f"{node.name} needs a kernel of its own ({why or 'its topology wants it'}), but {refused}",
            "drill it in real time"
            if world.virtual()
            else "run it on a machine whose kernel has " + (", ".join(node.needs) or "what it needs"),
        )
