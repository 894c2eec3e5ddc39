"""A command run to its end in a machine, through the machine's agent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence

from harness.errors import TestbedError, WaitExpired
from harness.nodes.base import Completed
from harness.uml.channel import GONE, Channel, Field, refused


def start_fields(
    kind: str, argv: Sequence[str], environment: dict[str, str], *, stdin: bytes = b"", notices: str = ""
) -> list[Field]:
    """The fields of the request that starts a program: `run` to its end, or `spawn` as a service."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    return [kind, notices, stdin, len(settings), *settings, *argv]


class Errand:
    """One command: what it said until now, and how it ended."""

    def __init__(self, node: str, channel: Channel, argv: Sequence[str]) -> None:
        self._node, self._channel, self._argv = node, channel, tuple(argv)
        self._changed = threading.Condition()
        self._output = {1: bytearray(), 2: bytearray()}
        self._pid = 0
        self._status: int | None = None
        self._error: Exception | None = None

    def run(self, environment: dict[str, str], stdin: bytes, timeout_s: float) -> Completed:
        """Start it and wait for its end; if that does not come, kill its process group, raise WaitExpired."""
        fields = start_fields("run", self._argv, environment, stdin=stdin)
        number = self._channel.begin(self._hear, "start", *fields)
        try:
            with self._changed:
                ended = self._changed.wait_for(self._over, timeout_s)
            if not ended and self._pid:
                self._channel.ask("kill", -self._pid, int(signal.SIGKILL))
        except BaseException:
            if self._pid and not self._over() and not self._channel.closed:
                self._channel.tell("kill", -self._pid, int(signal.SIGKILL))
            raise
        finally:
            self._channel.forget(number)
        if self._error is not None:
            raise self._error
        stdout, stderr = (bytes(data).decode(errors="replace") for data in self._output.values())
        # Once killed it has a status as well.
        if not ended or self._status is None:
            command = " ".join(self._argv)
            seen = (stderr or stdout)[-200:] or "no output"
            raise WaitExpired(f"the end of {command!r} on {self._node}", timeout_s, seen)
        return Completed(self._argv, self._status, stdout, stderr)

    def _over(self) -> bool:
        return self._status is not None or self._error is not None

    def _hear(self, _: int, kind: str, fields: list[bytes]) -> None:
        with self._changed:
            if kind == "out":
                self._output[int(fields[0])] += fields[1]
            elif kind == "started":
                self._pid = int(fields[0])
            elif kind == "error":
                self._error = self._explain(refused(fields))
            elif kind == "exit":
                self._status = os.waitstatus_to_exitcode(int(fields[0]))
            elif kind == GONE:
                self._error = TestbedError(f"node {self._node} is dead: its machine has ended")
            self._changed.notify_all()

    def _explain(self, error: OSError) -> TestbedError:
        program = self._argv[0]
        if isinstance(error, FileNotFoundError) and "/" not in program:
            return TestbedError(f"node {self._node} has no program {program!r}")
        return TestbedError(f"cannot start {program} on {self._node}: {error.strerror}")
