"""A process in front of a bubble that may outlive what started it.

    front        what the user started; it passes signals on, and ends with the run or when the run leaves
      └─ outside   the process outside of the bubble, as ever; dies with the front, until the run has left

The run says over a pipe that it leaves; `outside` then leaves the terminal's session, and tells the front,
which exits with the status it is given.  See `harness.bubble`.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal

from harness.kernel import syscalls as sc

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# What the front passes each on by, so that `outside` can tell it from what it got itself.
PASSED_BY: dict[int, int] = {signal.SIGRTMIN + 11 + i: number for i, number in enumerate(_PASSED_ON)}
_BY = {number: by for by, number in PASSED_BY.items()}


def go_ahead() -> int:
    """Fork: the child returns, with where the front listens; the parent, the front, never returns."""
    listen, tell = os.pipe()
    blocked = {*_PASSED_ON, *PASSED_BY, signal.SIGCHLD, signal.SIGIO}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    child = os.fork()
    if child:
        os.close(tell)
        _stay(child, listen)
    os.close(listen)
    # What the front passes on stays blocked until the child waits for it.
    signal.pthread_sigmask(signal.SIG_SETMASK, {*mask, *PASSED_BY})
    return tell


def _stay(child: int, listen: int) -> None:
    watched = {*_PASSED_ON, signal.SIGCHLD, announce(listen)}
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo == signal.SIGIO:
            if said := _read(listen):
                os._exit(said[0])
        elif info.si_signo != signal.SIGCHLD:
            if info.si_code <= 0:  # sent by a process; the terminal's own reach all of us directly
                os.kill(child, _BY[info.si_signo])
        else:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                # What it said last may have come with its end.
                said = _read(listen)
                os._exit(said[0] if said else _exit_code(status))


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def announce(pipe: int) -> signal.Signals:
    """Have the kernel signal this process when a pipe has something to say (O_ASYNC, fcntl(2)); by what."""
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(pipe, fcntl.F_GETFL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)
    return signal.SIGIO


def die_with(front: int) -> None:
    """Let this process be killed when the front ends, also if it just has."""
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    alive = select.poll()
    alive.register(front, 0)
    if alive.poll(0):
        os._exit(1)


def pass_on(left: int, front: int) -> None:
    """The run has left: leave the terminal's session, then let the front go."""
    said = _read(left)
    if not said:
        return
    sc.prctl(sc.PR_SET_PDEATHSIG, 0)
    os.setsid()
    os.write(front, said)


def _read(pipe: int) -> bytes:
    """The exit status that a pipe has to tell, one byte, or nothing."""
    try:
        return os.read(pipe, 1)
    except BlockingIOError:
        return b""
