"""Trying something in namespaces of its own, in a child, so that nothing of the host or of us is changed."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

from harness.kernel import syscalls as sc

_PTRACE_TRACEME = 0


def in_namespaces(attempt: Callable[[], None]) -> str | None:
    """Run `attempt` in a child with namespaces of its own; why it failed, or None.

    It has mounts of its own, and as an ordinary user a user namespace where it is root, as a run has.
    """
    read, write = os.pipe()
    me, group = os.geteuid(), os.getegid()
    child = os.fork()
    if child == 0:
        reason = ""
        try:
            os.close(read)
            sc.unshare(sc.CLONE_NEWNS | (0 if me == 0 else sc.CLONE_NEWUSER))
            if me != 0:
                Path("/proc/self/setgroups").write_text("deny")
                Path("/proc/self/uid_map").write_text(f"0 {me} 1")
                Path("/proc/self/gid_map").write_text(f"0 {group} 1")
            sc.mount("none", "/", "", sc.MS_REC | sc.MS_PRIVATE)
            attempt()
        except OSError as error:
            reason = error.strerror or str(error)
        except Exception as error:
            reason = str(error)
        os.write(write, reason.encode()[:1000])
        os._exit(0)
    os.close(write)
    reason = os.read(read, 1000).decode()
    os.close(read)
    os.waitpid(child, 0)
    return reason or None


def trace_a_child(end: int) -> None:
    """Have a child traced by this process, as a machine does with its own, and end it by the signal `end`.

    Raises OSError where tracing is refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        refused = libc.ptrace(_PTRACE_TRACEME, 0, None, None) != 0
        os._exit(ctypes.get_errno() or errno.EPERM) if refused else os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(child, os.WUNTRACED)
    if os.WIFEXITED(status):
        raise OSError(os.WEXITSTATUS(status), os.strerror(os.WEXITSTATUS(status)))
    os.kill(child, end)
    os.waitpid(child, 0)
