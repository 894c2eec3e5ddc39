"""A node or a service without enough processor: by stopping its processes for some of the time.

An ordinary user is seldom given control groups, so an agent in the node does it (`cpu_agent`): with
SIGSTOP, which no process can refuse, and without burning any processor of the host's.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from harness.faults import stops
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target

if TYPE_CHECKING:
    from harness.nodes.process import Process
    from harness.testbed import Testbed

_PATIENCE_S = 5.0
_agents: WeakKeyDictionary[Testbed, dict[int, Process]] = WeakKeyDictionary()


def _agent(testbed: Testbed, name: str) -> Process:
    """The agent of a node since it was booted, started when it is first needed."""
    node = testbed.node(name)
    agents = _agents.setdefault(testbed, {})
    found = agents.get(node.init_pid)
    if found is None:
        config = {"proc": f"/proc/{node.init_pid}/root/proc"}
        found = agents[node.init_pid] = node.spawn_agent("cpu", "harness.faults.cpu_agent", config)
        testbed.recorder.attach(found)
        testbed.recorder.wait_ready(found)
    return found


def _tell(testbed: Testbed, name: str, **command: object) -> None:
    """Tell a node's agent something, and what of the node must stay stopped whatever it does."""
    agent = _agent(testbed, name)
    frozen = stops.frozen(testbed, name)
    if frozen:
        agent.signal(signal.SIGCONT)
    testbed.recorder.ask(agent, held="all" if frozen else stops.hung_inside(testbed, name), **command)
    if frozen:
        agent.signal(signal.SIGSTOP)


def _present(testbed: Testbed, name: str) -> Process | None:
    """The agent of a node, if it has one and is up."""
    node = testbed.node(name)
    return _agents.get(testbed, {}).get(node.init_pid) if node.alive else None


def hold(testbed: Testbed, name: str) -> None:
    """Let a node's agent, if it has one, know what hangs by another fault."""
    if _present(testbed, name) is not None and not stops.frozen(testbed, name):
        _tell(testbed, name, do="hold")


def pause(testbed: Testbed, name: str) -> list[int]:
    """Stop a node's agent, so that it stops nobody; its number in the node, if it has one.

    Who freezes a node does it from inside, and would never end if the agent stopped it while it stopped
    the agent.
    """
    agent = _present(testbed, name)
    if agent is None:
        return []
    agent.signal(signal.SIGSTOP)
    stops.await_stopped(testbed, agent)
    return agent.numbers_inside()


def resume(testbed: Testbed, name: str) -> None:
    """Let a node's agent, if it has one, go on."""
    agent = _present(testbed, name)
    if agent is not None:
        agent.signal(signal.SIGCONT)
        hold(testbed, name)


class _Cpu(Fault):
    """What the agent does until it is told to leave it; a target without a service is the whole node."""

    mode: ClassVar[str]
    ends_with_node = True

    def _share(self) -> float:
        share: float = self.values["percent"] / 100
        return share

    def _prepare(self, targets: list[Target]) -> None:
        for target in targets:
            _agent(self.testbed, target.node)
        self._roots = {target: self._root(target) for target in targets}

    def _root(self, target: Target) -> int:
        if not target.service:
            return 0
        return self.testbed.process(target.node, target.service).numbers_inside()[0]

    def _act(self, target: Target) -> None:
        self.how = "SIGSTOP"
        _tell(
            self.testbed,
            target.node,
            do="set",
            id=f"{self.id} {target}",
            mode=self.mode,
            share=self._share(),
            period_ns=round(self.values["period_ms"] * 1e6),
            root=self._roots[target],
        )

    def _verify(self, target: Target) -> None:
        """The agent has answered that it does it."""

    def _heal(self, target: Target) -> None:
        _tell(self.testbed, target.node, do="clear", id=f"{self.id} {target}")


class Steal(_Cpu):
    """The processor is somebody else's for a share of every period: steal time, as on a full hypervisor."""

    name, mode = "cpu-steal", "steal"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("percent", 90.0, "how much of each period nothing runs", low=1, high=99.9),
        Parameter("period_ms", 100.0, "the period", low=2, high=60_000),
    )


class Quota(_Cpu):
    """Once its processor time is used up, nothing runs until the period ends: a quota, as of a container."""

    name, mode = "cpu-quota", "quota"
    real_only = "in virtual time work uses no processor time, so that a quota is never used up"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("percent", 20.0, "of one processor", low=1, high=10_000),
        Parameter("period_ms", 100.0, "the period", low=10, high=60_000),
    )
