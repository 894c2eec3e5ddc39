"""The agent of cpu-steal and cpu-quota: stops a node's processes for some of the time (SIGSTOP, SIGCONT).

It runs in the node's PID namespace, one for each node, and keeps every claim on the node's processes: a
process is stopped while any claim on it says so.

Configuration, one JSON argument: `{"proc": PATH}`, where the node's own proc is seen.  Commands, each
answered by `{"_done": number}`; `held` are processes that somebody else stopped, never to be continued,
or "all"; they are numbered as in the node:

    {"do": "set", "id", "mode": "steal", "share": taken, "period_ns", "root": pid, "held"}
    {"do": "set", "id", "mode": "quota", "share": allowed, "period_ns", "root": pid, "held"}
    {"do": "clear", "id", "held"}       let go what only this claim had stopped, if there is one
    {"do": "hold", "held"}
"""

from __future__ import annotations

import os
import sys
from time import clock_gettime_ns

from harness.eventpipe import CommandReader, EventWriter
from harness.kernel import syscalls as sc
from harness.lean_json import dumps, loads
from harness.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIGSTOP, _SIGCONT = 19, 18
_CPUCLOCK_SCHED = 2
_LEAST_LOOK_NS = 300_000


class Claim:
    """What one fault wants of a process and its descendants, or (`root` 0) of all processes."""

    def __init__(self, agent: Agent, config: dict[str, Any]) -> None:
        self._agent = agent
        self._root: int = config["root"]
        self._share: float = config["share"]
        self._period_ns: int = config["period_ns"]
        self._began = agent.loop.now
        self._periods = 0
        self._used_before: dict[int, int] = {}
        self.stopping = self.over = False
        self.pids: set[int] = set()
        self._end = self._debt = self._budget = 0
        self.begin = self._steal if config["mode"] == "steal" else self._quota

    def _look(self) -> None:
        self.pids = self._agent.tree(self._root) if self._root else self._agent.everything()

    def _next_period(self) -> int:
        """The end of this period, without drift: periods that the agent overslept are left out."""
        self._periods = max(self._periods + 1, (self._agent.loop.now - self._began) // self._period_ns + 1)
        return self._began + self._periods * self._period_ns

    # -- stealing: the share of every period, whatever the processes do ----------------------------

    def _steal(self) -> None:
        if self.over:
            return
        self._look()
        self.stopping = True
        self._agent.apply()
        start, end = self._agent.loop.now, self._next_period()
        taken = round(self._share * (end - start))
        self._agent.loop.at(start + taken, self._release)
        self._agent.loop.at(end, self._steal)

    def _release(self) -> None:
        self.stopping = False
        self._agent.apply()

    # -- a quota: stopped once it is used up, until the period ends --------------------------------

    def _quota(self) -> None:
        if self.over:
            return
        # A running process's clock lags behind by up to a tick of the kernel; what it has had too much
        # by that is known by now, and is missing from the next period.
        quota = round(self._share * self._period_ns)
        if self._used_before:
            self._debt = max(0, self._debt + self._used() - quota)
        self._budget = max(0, quota - self._debt)
        self._look()
        self._used_before = {pid: _cpu_ns(pid) for pid in self.pids}
        self.stopping = False
        self._agent.apply()
        self._end = self._next_period()
        self._agent.loop.at(self._end, self._quota)
        self._measure()

    def _used(self) -> int:
        return sum(max(0, _cpu_ns(pid) - self._used_before.get(pid, 0)) for pid in self.pids)

    def _measure(self) -> None:
        loop = self._agent.loop
        if self.over or self.stopping or loop.now >= self._end:
            return
        self._look()
        left = self._budget - self._used()
        if left <= 0:
            self.stopping = True
            self._agent.apply()
            return
        # No sooner can it be used up than by all processors at once.
        again = loop.now + max(_LEAST_LOOK_NS, left // (os.cpu_count() or 1))
        if again < self._end:
            loop.at(again, self._measure)


class Agent:
    """All claims on one node's processes."""

    def __init__(self, proc: str) -> None:
        self.loop = Loop(EventWriter(), CommandReader(), self._command)
        self._proc = proc
        self._claims: dict[str, Claim] = {}
        self._stopped: set[int] = set()
        self._owed: set[int] = set()
        self._held: set[int] = set()
        self._all_held = False

    def everything(self) -> set[int]:
        """All processes of the node but its first and this one."""
        found = {int(entry) for entry in os.listdir(self._proc) if entry.isdecimal()}
        return found - {1, os.getpid()}

    def tree(self, root: int) -> set[int]:
        """A process and its descendants."""
        found = [root]
        for pid in found:
            try:
                with open(f"{self._proc}/{pid}/task/{pid}/children", "rb") as children:
                    found += [int(child) for child in children.read().split()]
            except OSError:
                continue
        return set(found)

    def apply(self) -> None:
        """Stop what a claim wants stopped, let go what none does."""
        wanted: set[int] = set()
        for claim in self._claims.values():
            if claim.stopping:
                wanted |= claim.pids
        for pid in wanted - self._stopped:
            _kill(pid, _SIGSTOP)
        self._owed |= self._stopped - wanted
        self._stopped = wanted
        self._continue()

    def _continue(self) -> None:
        """Let go on what nobody wants stopped any more; what is held has that owed until it is not."""
        self._owed -= self._stopped
        if not self._all_held:
            for pid in self._owed - self._held:
                _kill(pid, _SIGCONT)
            self._owed &= self._held

    def _command(self, command: dict[str, Any]) -> None:
        held = command["held"]
        self._all_held = held == "all"
        self._held = set() if self._all_held else set(held)
        self._continue()
        if command["do"] == "set":
            self._claims[command["id"]] = claim = Claim(self, command)
            claim.begin()
        elif command["do"] == "clear" and command["id"] in self._claims:
            claim = self._claims.pop(command["id"])
            claim.over = True
            self.apply()
        self.loop.writer.raw(dumps({"_done": command["number"]}).encode() + b"\n")


def _cpu_ns(pid: int) -> int:
    """The processor time that a process has used (clock_getcpuclockid(3)); 0 if it has ended."""
    try:
        return clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    sc.wake_promptly()
    agent = Agent(loads(sys.argv[-1])["proc"])
    agent.loop.writer.raw(b'{"_ready":true}\n')
    agent.loop.writer.flush()
    agent.loop.run()
