"""A supervised process in a machine: started, signalled and listened to through the machine's agent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.errors import TestbedError, WaitExpired
from harness.uml.channel import GONE, Channel, refused

Ended = Callable[["GuestProcess", int], None]


class GuestProcess:
    """A process of a machine's own kernel; see `harness.nodes.process.Process` for the verbs.

    Its output is written into its log here, as it comes, and so outlives the machine.
    """

    def __init__(self, node: str, name: str, log: Path, streams: dict[int, int], *, notifies: bool) -> None:
        """`streams` are the descriptors that its standard output (1) and error (2) are written to."""
        self.node, self.name, self.log, self.notifies = node, name, log, notifies
        self.pid = 0
        self.status: int | None = None
        self.expected_end = False
        self.on_end: Ended | None = None
        """Called by the reading thread when it has ended, with the moment (ns)."""
        self.on_over: Callable[[], None] | None = None
        """Called by the reading thread, once, when it has ended or its machine has."""
        self.events = self.commands = -1
        self._streams = streams
        self._channel: Channel | None = None
        self._changed = threading.Condition()
        self._refused: OSError | None = None
        self._notices: list[bytes] = []
        self._ended: int | None = None

    def __repr__(self) -> str:
        state = "running" if self.status is None else f"exited {self.status}"
        return f"<{self.node}/{self.name} pid {self.pid} {state}>"

    # -- what the agent says -------------------------------------------------------------------

    def start(self, channel: Channel, fields: list[bytes | str | int], timeout_s: float) -> None:
        """Have it started; returns when its program runs. Raises TestbedError if that cannot be.

        Its streams are closed then.
        """
        try:
            self._begin(channel, fields, timeout_s)
        except BaseException:
            self._close_streams()
            raise

    def _begin(self, channel: Channel, fields: list[bytes | str | int], timeout_s: float) -> None:
        self._channel = channel
        channel.begin(self._hear, "start", *fields)
        with self._changed:
            self._changed.wait_for(lambda: self.pid or self._refused or self._ended is not None, timeout_s)
        if self._refused is not None:
            raise TestbedError(f"cannot start {self.name} on {self.node}: {self._refused}")
        if not self.pid:
            raise TestbedError(f"cannot start {self.name} on {self.node}: its agent does not answer")

    def _hear(self, now: int, kind: str, fields: list[bytes]) -> None:
        over = False
        with self._changed:
            if kind == "out":
                if (fd := self._streams.get(int(fields[0]), -1)) >= 0:
                    os.write(fd, fields[1])
                return
            if kind == "started":
                self.pid = int(fields[0])
            elif kind == "error":
                self._refused = refused(fields)
            elif kind == "notify":
                self._notices.append(fields[0])
            elif over := kind in ("exit", GONE) and self._ended is None:
                self._ended = os.waitstatus_to_exitcode(int(fields[0])) if fields else -signal.SIGKILL
            self._changed.notify_all()
        if kind == "exit" and self.on_end is not None:
            self.on_end(self, now)
        if over and self.on_over is not None:
            self.on_over()

    # -- life ----------------------------------------------------------------------------------

    @property
    def ours(self) -> bool:
        """Never: the engine cannot see it but through the agent."""
        return False

    @property
    def running(self) -> bool:
        """Whether it has not been reaped yet and has not ended."""
        return self.status is None and self.reap() is None

    def reap(self, *, wait: bool = False) -> int | None:
        """Its exit status (minus the signal if killed), or None while it runs."""
        if self.status is None:
            with self._changed:
                if wait:
                    self._changed.wait_for(lambda: self._ended is not None)
                self.status = self._ended
        return self.status

    def wait_notified(self, timeout_s: float) -> str:
        """Wait until the process reports that it is ready (sd_notify(3)), and what else it then reports."""

        def told() -> list[bytes]:
            return [notice for notice in self._notices if b"READY=1" in notice.splitlines()]

        with self._changed:
            self._changed.wait_for(lambda: told() or self._ended is not None, timeout_s)
            if ready := told():
                self._notices.clear()
                return ready[-1].decode(errors="replace")
        if self._ended is not None:
            log = self.log.read_bytes()[-600:].decode(errors="replace").strip()
            raise TestbedError(f"{self.node}/{self.name} ended at its start: {log}")
        seen = b" ".join(self._notices).decode(errors="replace") or "nothing"
        raise WaitExpired(f"{self.node}/{self.name} to report readiness", timeout_s, seen)

    def close(self) -> None:
        """Write nothing to its log any more."""
        self._close_streams()

    def _close_streams(self) -> None:
        with self._changed:
            for fd in set(self._streams.values()):
                os.close(fd)
            self._streams = {}

    # -- signals -------------------------------------------------------------------------------

    def tree(self) -> list[int]:
        """This process and its descendants, parents first, as its kernel numbers them."""
        return [int(pid) for pid in self._ask("tree", self.pid)]

    def numbers_inside(self) -> list[int]:
        """The same."""
        return self.tree()

    def states(self, *, children_only: bool = False) -> set[str]:
        """The state letters (proc(5)) of the process and its descendants, of those that still are."""
        letters = self._ask("states", *self.tree()[children_only:])
        return set(letters[0].decode())

    def signal(self, number: int) -> None:
        """Signal the process itself; nothing happens if it has ended."""
        if self.running:
            self._ask("kill", self.pid, number)

    def signal_tree(self, number: int) -> None:
        """Signal the process and its descendants as if at one instant: all are stopped first."""
        if self.running:
            self._ask("signal", self.pid, number, 0)

    def signal_children(self, number: int) -> None:
        """Signal the descendants only, likewise."""
        if self.running:
            self._ask("signal", self.pid, number, 1)

    def _ask(self, verb: str, *numbers: int) -> list[bytes]:
        assert self._channel is not None
        return self._channel.ask(verb, *numbers)

    # -- what only agents of ours can ------------------------------------------------------------

    def command(self, **command: Any) -> None:
        """Never: it is no agent of ours."""
        raise TestbedError(f"{self.node}/{self.name} is no agent and cannot be told {command}")

    def close_commands(self) -> None:
        """Nothing: it is no agent of ours."""
