"""Where the wall time of a drill in virtual time goes: whose code the processors ran, from /proc (proc(5)).

outside    vipdrill itself: live view, verdicts, report
guest's kernel, guest's programs    user time of User-Mode Linux's own process, and of its processes
host's kernel    system time of both: nearly all of it is ptrace, by which the one runs the others
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_S = 0.2
_GUEST = "linux.uml"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class _Process:
    parent: int
    name: str
    user_s: float
    system_s: float
    ended_user_s: float
    ended_system_s: float


@dataclass
class Shares:
    """Seconds of processor time, as they stood when they were looked at last."""

    outside_s: float = 0.0
    kernel_s: float = 0.0
    programs_s: float = 0.0
    host_s: float = 0.0

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.outside_s + self.kernel_s + self.programs_s + self.host_s

    def percent(self) -> dict[str, float]:
        """The shares, by whose they are."""
        parts = {
            "the host's kernel, for the guest": self.host_s,
            "the guest's programs": self.programs_s,
            "the guest's kernel": self.kernel_s,
            "the half outside": self.outside_s,
        }
        return {name: 100 * seconds / (self.total_s or 1.0) for name, seconds in parts.items()}


@dataclass
class Watch:
    """Looks at a process and all below it until told to stop; use it in a `with` block around its life."""

    pid: int
    shares: Shares = field(default_factory=Shares)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._outside: dict[int, float] = {}
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        everybody = _processes()
        below = _below(everybody, self.pid)
        guests = {pid for pid in below if everybody[pid].name == _GUEST}
        for pid in below - guests:
            # A child that ended is counted by what was seen of it last.
            self._outside[pid] = everybody[pid].user_s + everybody[pid].system_s
        self.shares.outside_s = sum(self._outside.values())
        kernels = {pid for pid in guests if everybody[pid].parent not in guests}
        if not kernels:
            return
        kernel, programs = [everybody[p] for p in kernels], [everybody[p] for p in guests - kernels]
        self.shares.kernel_s = sum(p.user_s for p in kernel)
        self.shares.programs_s = sum(p.ended_user_s for p in kernel) + sum(p.user_s for p in programs)
        self.shares.host_s = sum(p.system_s + p.ended_system_s for p in kernel)
        self.shares.host_s += sum(p.system_s for p in programs)


def _processes() -> dict[int, _Process]:
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            head, _, rest = (entry / "stat").read_text().rpartition(")")
        except OSError:
            continue
        words = rest.split()
        user, system, ended_user, ended_system = (int(word) * _TICK_S for word in words[11:15])
        name = head.partition("(")[2]
        found[int(entry.name)] = _Process(int(words[1]), name, user, system, ended_user, ended_system)
    return found


def _below(everybody: dict[int, _Process], top: int) -> set[int]:
    found, new = set[int](), {top} & set(everybody)
    while new:
        found |= new
        new = {pid for pid, process in everybody.items() if process.parent in new} - found
    return found
