"""Partitions of a segment, by a directed map: who hears whom no more (after jepsen's "grudges")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError, one_of
from harness.fabric.rules import Rule
from harness.faults.link import RuleFault
from harness.faults.parameters import Parameter
from harness.faults.target import Target, nodes_of

if TYPE_CHECKING:
    from harness.testbed import Testbed
    from harness.topology import Topology

Deaf = Mapping[str, set[str]]
"""For each node, those whose frames do not reach it."""


class Partition(RuleFault):
    """A segment falls apart: some nodes do not hear some others any more, links and carrier stay.

    `shape` says how.  halves: `left` (without it, every other node of each role) against the rest;
    bridge: the same, but the nodes `middle` hear and are heard by all; ring: each of `nodes` hears only
    those next to it, enough for a majority, so that no two see the same one; oneway: `sink` does not hear
    `source`; map: each `a~b` of `cuts` (joined by +) is a node that does not reach another.
    """

    name = "partition"
    default_target = ""
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("shape", "halves", "how", choices=("halves", "bridge", "ring", "oneway", "map")),
        Parameter("nodes", "", "the nodes that take part, joined by +; without: all on the segment"),
        Parameter("left", "", "halves, bridge: the nodes of one half"),
        Parameter("middle", "", "bridge: the nodes that reach both halves"),
        Parameter("source", "", "oneway: the nodes that are not heard"),
        Parameter("sink", "", "oneway: the nodes that do not hear them; without: all others"),
        Parameter("cuts", "", "map: a~b+c~d, where a does not reach b, and c not d"),
    )

    def __init__(
        self, testbed: Testbed, target: str = "", *, deaf: Deaf | None = None, **given: object
    ) -> None:
        super().__init__(testbed, target, **given)
        self.deaf: Deaf = deaf or {}
        """The map in force: for each node, those whose frames do not reach it."""
        self._given = deaf is not None

    @classmethod
    def check_target(cls, topology: Topology, target: str) -> None:
        """Raise UsageError for a segment that the topology has not."""
        known = [segment.name for segment in topology.segments]
        if target and target not in known:
            raise one_of("segment", target, known)

    def _aim(self) -> list[Target]:
        segments = self.testbed.fabric.segments
        segment = self.asked or segments[0]
        if segment not in segments:
            raise one_of("segment", segment, list(segments))
        return [Target("", segment=segment)]

    def _prepare(self, targets: list[Target]) -> None:
        segment = targets[0].segment
        on_segment = [port.node for port in self.testbed.fabric.ports if port.segment == segment]
        if not self._given:
            self.deaf = self._map(on_segment)
        for node in {*self.deaf, *(other for others in self.deaf.values() for other in others)}:
            if node not in on_segment:
                raise one_of(f"node on {segment}", node, on_segment)
        if not any(self.deaf.values()):
            raise UsageError(f"the fault {self.name} with {self.detail} cuts nobody off from anybody")

    def _named(self, parameter: str) -> list[str]:
        text = self.values[parameter]
        return nodes_of(self.testbed, text) if text else []

    def _map(self, on_segment: list[str]) -> Deaf:
        shape = self.values["shape"]
        nodes = self._named("nodes") or list(dict.fromkeys(on_segment))
        if shape == "ring":
            return ring(nodes)
        if shape == "oneway":
            sources = self._named("source") or nodes_of(self.testbed, "active")
            sinks = self._named("sink") or [node for node in nodes if node not in sources]
            return {sink: set(sources) - {sink} for sink in sinks}
        if shape == "map":
            return _cuts(self.values["cuts"])
        middle = self._named("middle")
        if shape == "bridge" and not middle:
            raise UsageError(f"the fault {self.name} with shape=bridge needs middle=NODE")
        rest = [node for node in nodes if node not in middle]
        left = self._named("left") or self._every_other(rest)
        return halves(left, [node for node in rest if node not in left])

    def _every_other(self, nodes: list[str]) -> list[str]:
        """The first, third... of each role, so that either half has some of all."""
        chosen: list[str] = []
        roles = [self.testbed.topology.node(node).role for node in nodes]
        for role in dict.fromkeys(roles):
            chosen += [node for node, its in zip(nodes, roles, strict=True) if its == role][::2]
        return chosen

    def _rules(self, target: Target) -> list[Rule]:
        ports = [port for port in self.testbed.fabric.ports if port.segment == target.segment]
        pairs = [
            (source, sink)
            for sink in ports
            for source in ports
            if source.node in self.deaf.get(sink.node, ())
        ]
        return [self.testbed.fabric.rules.drop_between(pairs)]

    def _hit(self) -> list[str]:
        return sorted(node for node, unheard in self.deaf.items() if unheard)

    @property
    def detail(self) -> str:
        """Its shape, and in full who hears whom no more."""
        unheard = [f"{node} hears no {'+'.join(sorted(o))}" for node, o in sorted(self.deaf.items()) if o]
        return f"shape={'map' if self._given else self.values['shape']}: {'; '.join(unheard)}"


def halves(left: list[str], right: list[str]) -> Deaf:
    """Neither of two groups hears the other."""
    return {**{node: set(right) for node in left}, **{node: set(left) for node in right}}


def ring(nodes: list[str]) -> Deaf:
    """Each node hears a majority (itself included): those next to it on the ring, and nobody else."""
    count = len(nodes)
    majority = count // 2 + 1
    deaf = {}
    for position, node in enumerate(nodes):
        first = position - majority // 2
        heard = {nodes[(first + step) % count] for step in range(majority)}
        deaf[node] = set(nodes) - heard
    return deaf


def _cuts(text: str) -> Deaf:
    deaf: dict[str, set[str]] = {}
    for cut in text.split("+"):
        source, tilde, sink = cut.partition("~")
        if not (source and tilde and sink):
            raise UsageError(f"a cut is given as a~b (a does not reach b), not {cut!r}")
        deaf.setdefault(sink, set()).add(source)
    return deaf
