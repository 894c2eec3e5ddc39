"""A command run to its end in a node: started there, fed, listened to and reaped from here."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence

from harness import world
from harness.errors import TestbedError, WaitExpired
from harness.kernel import syscalls as sc
from harness.nodes.base import Completed

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb", **world.environment()}
_READ_BYTES = 65536


def default_signals() -> list[int]:
    """What a child must not inherit ignored: what Python ignores, and what nohup(1) and shells do."""
    return [
        *(signal.SIGPIPE, signal.SIGXFSZ),
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    ]


def start(
    node: str, argv: Sequence[str], environment: dict[str, str], actions: Sequence[tuple[object, ...]]
) -> int:
    """posix_spawn(3) in the calling thread's namespaces, as leader of a session; raises TestbedError."""
    path = _find(node, argv[0])
    try:
        return os.posix_spawn(
            path,
            list(argv),
            environment,
            file_actions=actions,
            setsid=True,
            setsigmask=[],
            setsigdef=default_signals(),
        )
    except OSError as error:
        raise TestbedError(f"cannot start {path} on {node}: {error.strerror}") from None


def _find(node: str, program: str) -> str:
    if "/" in program:
        return program
    for folder in PATH.split(":"):
        path = f"{folder}/{program}"
        if os.access(path, os.X_OK):
            return path
    raise TestbedError(f"node {node} has no program {program!r}")


class Command:
    """One command. `start` is for a thread in the node, everything else for who waits."""

    def __init__(self, node: str, argv: Sequence[str], stdin: bytes) -> None:
        self._node, self._argv = node, tuple(argv)
        self._out, self._out_write = os.pipe()
        self._err, self._err_write = os.pipe()
        self._feed = _input(stdin)
        self._pid = 0

    def start(self) -> int:
        """Start it in the calling thread's namespaces; its process number."""
        actions = [
            (os.POSIX_SPAWN_DUP2, self._feed, 0),
            (os.POSIX_SPAWN_DUP2, self._out_write, 1),
            (os.POSIX_SPAWN_DUP2, self._err_write, 2),
        ]
        self._pid = start(self._node, self._argv, ENVIRONMENT, actions)
        return self._pid

    def finish(self, timeout_s: float) -> Completed:
        """Wait for its end; if that does not come, kill it and its process group and raise WaitExpired.

        What it left running in the background, and what that still writes, is not waited for.
        """
        for fd in (self._out_write, self._err_write):
            os.close(fd)
        self._out_write = self._err_write = -1
        collected = {self._out: bytearray(), self._err: bytearray()}
        ended = self._listen(collected, timeout_s)
        if not ended:
            self._kill()
        status = self._reap()
        stdout, stderr = (bytes(data).decode(errors="replace") for data in collected.values())
        if not ended:
            raise WaitExpired(
                f"the end of {' '.join(self._argv)!r} on {self._node}",
                timeout_s,
                (stderr or stdout)[-200:] or "no output",
            )
        return Completed(self._argv, status, stdout, stderr)

    def close(self) -> None:
        """Leave nothing behind: a command that was not waited for is killed."""
        if self._pid:
            self._kill()
            self._reap()
        for fd in (self._out, self._err, self._out_write, self._err_write, self._feed):
            if fd >= 0:
                os.close(fd)

    def _kill(self) -> None:
        try:
            os.killpg(self._pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def _reap(self) -> int:
        pid, self._pid = self._pid, 0
        try:
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:  # the node crashed, and who crashed it was quicker
            return -signal.SIGKILL

    def _listen(self, collected: dict[int, bytearray], timeout_s: float) -> bool:
        """Read its output until it has ended; False if the time runs out first."""
        deadline = time.monotonic() + timeout_s
        try:
            process = sc.pidfd_open(self._pid)
        except ProcessLookupError:  # reaped already, see `_reap`
            return True
        poll = select.poll()
        for fd in (process, *collected):
            poll.register(fd, select.POLLIN)
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready = [fd for fd, _ in poll.poll(left * 1000)]
                if process in ready:
                    for fd, data in collected.items():
                        os.set_blocking(fd, False)
                        while _read(fd, data):
                            pass
                    return True
                for fd in ready:
                    if not _read(fd, collected[fd]):
                        poll.unregister(fd)
            return False
        finally:
            os.close(process)


def _read(fd: int, into: bytearray) -> bool:
    """Read once; False at the end of what there is."""
    try:
        data = os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return False
    into += data
    return bool(data)


def _input(data: bytes) -> int:
    """A descriptor from which `data` can be read."""
    if not data:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
