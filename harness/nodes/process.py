"""A supervised, long-running process in a node: what any can do, and one on the engine's own kernel."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Protocol

from harness.errors import TestbedError, WaitExpired
from harness.kernel import syscalls as sc
from harness.kernel.waiting import readable


class Process(Protocol):
    """A process that the engine started and answers for, wherever it runs.

    `pid` is its number in the PID namespace that the engine sees, or in its own kernel's; `status` is its
    exit status (minus the signal if killed) once it was reaped.  `events` and `commands` are the pipes of
    an agent, -1 otherwise.
    """

    node: str
    name: str
    pid: int
    log: Path
    events: int
    commands: int
    status: int | None
    expected_end: bool

    @property
    def notifies(self) -> bool:
        """Whether it reports its readiness as to systemd, see `wait_notified`."""

    @property
    def ours(self) -> bool:
        """Whether it runs on the engine's own kernel, where the engine can see it as any other."""

    @property
    def running(self) -> bool:
        """Whether it has not been reaped yet and has not ended."""

    def reap(self, *, wait: bool = False) -> int | None:
        """Its exit status (minus the signal if killed), or None while it runs."""

    def tree(self) -> list[int]:
        """This process and its descendants, parents first."""

    def states(self, *, children_only: bool = False) -> set[str]:
        """The state letters (proc(5)) of the process and its descendants, of those that still are."""

    def numbers_inside(self) -> list[int]:
        """The numbers of the process and its descendants as the node itself counts."""

    def signal(self, number: int) -> None:
        """Signal the process itself; nothing happens if it has ended."""

    def signal_tree(self, number: int) -> None:
        """Signal the process and its descendants as if at one instant: all are stopped first."""

    def signal_children(self, number: int) -> None:
        """Signal the descendants only, likewise."""

    def command(self, **command: Any) -> None:
        """Tell an agent to do something; raises TestbedError if it is gone."""

    def close_commands(self) -> None:
        """Tell an agent to end once it has said all it knows."""

    def wait_notified(self, timeout_s: float) -> str:
        """Wait until the process reports that it is ready (sd_notify(3)), and what else it then reports.

        Raises TestbedError if it ends.
        """

    def close(self) -> None:
        """Close the pipes to the process."""


class HostProcess:
    """A process on the engine's own kernel.

    `pid` is the number in the bubble's PID namespace; the process is a child of the engine, so the
    number stays its own until `reap`.  `events` and `commands` are the pipes of an agent, -1 otherwise.
    """

    def __init__(
        self,
        node: str,
        name: str,
        pid: int,
        log: Path,
        events: int = -1,
        commands: int = -1,
        notify: socket.socket | None = None,
    ) -> None:
        self.node, self.name, self.pid, self.log = node, name, pid, log
        self.events, self.commands, self.notify = events, commands, notify
        self.pidfd = sc.pidfd_open(pid)
        self.status: int | None = None
        self.expected_end = False

    def __repr__(self) -> str:
        state = "running" if self.status is None else f"exited {self.status}"
        return f"<{self.node}/{self.name} pid {self.pid} {state}>"

    @property
    def notifies(self) -> bool:
        """Whether it reports its readiness as to systemd."""
        return self.notify is not None

    @property
    def ours(self) -> bool:
        """Always."""
        return True

    @property
    def running(self) -> bool:
        """Whether it has not been reaped yet and has not ended."""
        return self.status is None and self.reap() is None

    def reap(self, *, wait: bool = False) -> int | None:
        """Its exit status (minus the signal if killed), or None while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, 0 if wait else os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                os.close(self.pidfd)
        return self.status

    def tree(self) -> list[int]:
        """This process and its descendants, parents first."""
        found = [self.pid]
        for pid in found:
            try:
                text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            except FileNotFoundError:
                continue
            found += [int(child) for child in text.split()]
        return found

    def states(self, *, children_only: bool = False) -> set[str]:
        """The state letters (proc(5)) of the process and its descendants, of those that still are."""
        return {letter for pid in self.tree()[children_only:] if (letter := state(pid))}

    def numbers_inside(self) -> list[int]:
        """The numbers of the process and its descendants as the node itself counts."""
        return [number_inside(pid) for pid in self.tree()]

    def signal(self, number: int) -> None:
        """Signal the process itself; nothing happens if it has ended."""
        if self.status is None:
            try:
                sc.pidfd_send_signal(self.pidfd, number)
            except ProcessLookupError:
                pass

    def signal_tree(self, number: int) -> None:
        """Signal the process and its descendants as if at one instant: all are stopped first."""
        self._signal_tree(number, 0)

    def signal_children(self, number: int) -> None:
        """Signal the descendants only, likewise."""
        self._signal_tree(number, 1)

    def _signal_tree(self, number: int, first: int) -> None:
        if self.status is not None:
            return
        if number == signal.SIGCONT:
            for pid in self.tree()[first:]:
                _kill(pid, number)
            return
        stopped: list[int] = []
        # A stopped parent can neither start nor mourn a child, so the set is final when it stops growing.
        while fresh := [pid for pid in self.tree()[first:] if pid not in stopped]:
            for pid in fresh:
                _kill(pid, signal.SIGSTOP)
            for pid in fresh:
                await_stop(pid)
            stopped += fresh
        if number != signal.SIGSTOP:
            for pid in reversed(stopped):
                _kill(pid, number)
        if number == signal.SIGKILL:
            # Until they have ended they keep what they have open, such as the lock of a daemon's PID file.
            for pid in stopped:
                _await_state(pid, ENDED, 1.0)
        if number not in (signal.SIGSTOP, signal.SIGKILL):
            for pid in reversed(stopped):
                _kill(pid, signal.SIGCONT)

    def command(self, **command: Any) -> None:
        """Tell an agent to do something; raises TestbedError if it is gone."""
        try:
            os.write(self.commands, json.dumps(command).encode() + b"\n")
        except OSError:
            raise TestbedError(f"{self.node}/{self.name} is gone and cannot be told {command}") from None

    def close_commands(self) -> None:
        """Tell an agent to end once it has said all it knows."""
        if self.commands >= 0:
            os.close(self.commands)
            self.commands = -1

    def wait_notified(self, timeout_s: float) -> str:
        """Wait until the process reports that it is ready (sd_notify(3)), and what else it then reports."""
        assert self.notify is not None
        deadline = time.monotonic() + timeout_s
        seen = "nothing"
        while "READY=1" not in seen.splitlines():
            left = max(0.0, deadline - time.monotonic())
            # Whoever reaped it has closed the descriptor that would tell of its end.
            alive = [] if self.status is not None else [self.pidfd]
            ready = readable([self.notify.fileno(), *alive], left if alive else 0)
            if self.notify.fileno() in ready:
                seen = self.notify.recv(4096).decode(errors="replace")
            elif ready or not alive:
                log = self.log.read_bytes()[-600:].decode(errors="replace").strip()
                raise TestbedError(f"{self.node}/{self.name} ended at its start: {log}")
            else:
                raise WaitExpired(f"{self.node}/{self.name} to report readiness", timeout_s, seen)
        return seen

    def close(self) -> None:
        """Close the pipes to the process."""
        self.close_commands()
        if self.events >= 0:
            os.close(self.events)
            self.events = -1
        if self.notify is not None:
            self.notify.close()
            self.notify = None


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def await_stop(pid: int, timeout_s: float = 1.0) -> None:
    """Wait until a process that was sent SIGSTOP has stopped; kill(2) returns before it has.

    Nobody but its parent is told when that is.  A process that the kernel keeps busy for longer
    cannot do anything of its own either.
    """
    _await_state(pid, STOPPED, timeout_s)


def _await_state(pid: int, states: set[str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if state(pid) in states:
            return
        os.sched_yield()


ENDED = {"Z", "X", ""}
"""The states of a process that has nothing open any more."""
STOPPED = {"T", "t", *ENDED}
"""The states in which a process does nothing of its own."""


def state(pid: int) -> str:
    """The state letter of a process (proc(5)), or '' if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return os.fsdecode(stat.read().rpartition(b")")[2].split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return ""


def number_inside(pid: int) -> int:
    """A process's number in its own PID namespace (the last of NSpid, proc(5)); 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"NSpid:"):
                    return int(line.split()[-1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
