"""The bubble: private namespaces that hold a whole run, so that nothing can outlive it.

    outside   the process that the user started; it waits, and passes signals on
      └─ init     process 1 of the new PID namespace; when it dies the kernel kills all the rest
           └─ run     the same command line again: pytest or vipdrill, and below it every node

The bubble has mount and PID namespaces of its own and, for anybody but a capable root, a user
namespace.  The network namespace stays the host's: nodes always get fresh ones, and a debugger
keeps working.  If the outside process is killed, `init` gets SIGKILL from the kernel
(PR_SET_PDEATHSIG) and with it goes every process, namespace, mount and interface of the run.
See pid_namespaces(7), user_namespaces(7), mount_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harness import front_process, paths
from harness.errors import MissingCapability
from harness.image import fakeids
from harness.image.ids import IdMap, id_map
from harness.kernel import syscalls as sc

_MARK = "VIPDRILL_BUBBLE"
_SCRATCH = "VIPDRILL_SCRATCH"
_LEAVE = "VIPDRILL_BUBBLE_LEAVE"
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# What `outside` tells `init` to pass on, so that `init` can tell it from what it got itself.
_ERRANDS: dict[int, int] = {signal.SIGRTMIN + 1 + i: number for i, number in enumerate(_FORWARDED)}
_CAP_SYS_ADMIN = 21
_DESCRIPTORS = 1024


def inside() -> bool:
    """Whether this process already runs in a bubble (and not merely inherited its environment)."""
    return os.environ.get(_MARK) == _pid_namespace()


def scratch() -> Path:
    """The bubble's own tmpfs: what is written there is gone with the run."""
    return Path(os.environ[_SCRATCH])


def enter(argv: list[str] | None = None, *, detachable: bool = False) -> None:
    """Run this command line again inside a bubble and exit with its status; returns at once if inside.

    Must be called before threads exist.  `argv` is the command to run; by default this very process's.
    With `detachable` the run may `leave`.  Raises MissingCapability where the kernel refuses the namespaces.
    """
    if inside():
        return
    open_standard_streams()
    front = front_process.go_ahead() if detachable else -1
    command = argv or [sys.executable, *sys.orig_argv[1:]]
    mount_point = paths.cache_dir() / "bubble"
    mount_point.mkdir(parents=True, exist_ok=True)
    own_ids = None if _capable() else id_map()
    sys.stdout.flush()
    sys.stderr.flush()
    # Signals are taken by sigwaitinfo, so that one sent to us alone can be told from the terminal's.
    blocked = {*_FORWARDED, *_ERRANDS, signal.SIGCHLD, *({signal.SIGIO} if detachable else ())}
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, blocked) - front_process.PASSED_BY.keys()
    try:
        if own_ids is None:
            sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWPID)
        else:
            _unshare_mapped(own_ids)
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)
        raise _refused(error) from None
    report_read, report_write = os.pipe()
    left_read, left_write = os.pipe() if detachable else (-1, -1)
    init = os.fork()
    if init == 0:
        os.close(report_read)
        fake = own_ids is not None and not own_ids.complete
        _init(command, mount_point, report_write, old_mask, fake=fake, leave=left_write)
    os.close(report_write)
    if detachable:
        os.close(left_write)
    _wait(init, report_read, front, left_read)


def open_standard_streams() -> None:
    """Let no file of this process get a number from 0 to 2 because the caller had closed those."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)


def _capable() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
    return False


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _unshare_mapped(own_ids: IdMap) -> None:
    """New user, mount and PID namespaces, where this user is root.

    With subordinate ids a helper child maps them (newuidmap has to run outside); without, only
    this user's own id exists inside.
    """
    if len(own_ids.uids) == 1:
        sc.unshare(sc.CLONE_NEWUSER | sc.CLONE_NEWNS | sc.CLONE_NEWPID)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(" ".join(map(str, own_ids.uids[0])))
        Path("/proc/self/gid_map").write_text(" ".join(map(str, own_ids.gids[0])))
        return
    me = str(os.getpid())
    go_read, go_write = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(go_write)
        status = 1
        if os.read(go_read, 1):
            status = 0
            for tool, entries in (("newuidmap", own_ids.uids), ("newgidmap", own_ids.gids)):
                command = [tool, me, *(str(number) for entry in entries for number in entry)]
                status = status or subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        os._exit(1 if status else 0)
    os.close(go_read)
    try:
        sc.unshare(sc.CLONE_NEWUSER | sc.CLONE_NEWNS | sc.CLONE_NEWPID)
        os.write(go_write, b"g")
    finally:
        os.close(go_write)
        _, status = os.waitpid(helper, 0)
    if status:
        raise OSError(errno.EPERM, "newuidmap or newgidmap failed")
    os.setgid(0)
    os.setuid(0)


def _refused(error: OSError) -> MissingCapability:
    from harness.doctor import user_namespace_cure

    return MissingCapability(
        f"this machine does not let {'root' if os.getuid() == 0 else 'an ordinary user'} make the private "
        f"namespaces that a run lives in ({error.strerror})",
        user_namespace_cure(),
    )


def _init(
    command: list[str],
    mount_point: Path,
    report: int,
    mask: set[int | signal.Signals],
    *,
    fake: bool,
    leave: int,
) -> None:
    """Process 1 of the bubble: mounts, starts the run, reaps orphans, passes signals on. Never returns.

    With `fake` ids, changes of owner or user are answered but not made (`harness.image.fakeids`); `leave` is
    where a detachable run says that it leaves, or -1.
    """
    status = 125 << 8
    try:
        sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
        # Death before the prctl would go unnoticed: then nobody holds the other end any more.
        outside_alive = select.poll()
        outside_alive.register(report, 0)
        if outside_alive.poll(0):
            os._exit(1)
        sc.mount("none", "/", "", sc.MS_REC | sc.MS_PRIVATE)
        sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
        sc.mount("vipdrill", str(mount_point), "tmpfs", sc.MS_NOSUID, "mode=0711")
        environment = {**os.environ, _MARK: _pid_namespace(), _SCRATCH: str(mount_point)}
        run = os.fork()
        if run == 0:
            os.close(report)
            if leave >= 0:
                os.set_inheritable(leave, True)
                environment[_LEAVE] = str(leave)
            # Until the new program has its own handler, an interrupt ends it without a traceback.
            if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            try:
                if fake and fakeids.supported():
                    fakeids.install()
                os.execvpe(command[0], command, environment)
            except OSError as error:
                os.write(2, f"vipdrill: cannot start {command[0]}: {error.strerror}\n".encode())
            os._exit(127)
        let_go_of_streams()
        status = _reap(run)
    except OSError as error:
        os.write(2, f"vipdrill: cannot set up the run's private namespaces: {error}\n".encode())
    finally:
        os.write(report, status.to_bytes(4, "big"))
        os._exit(0)


def _reap(run: int) -> int:
    """Reap every child until the run itself ends; its wait status.

    What somebody sends to the whole process group reaches the run directly, and `outside` too, which
    passes it on; then it is here before the errand is, and the run must not get it twice.
    """
    watched = {*_FORWARDED, *_ERRANDS, signal.SIGCHLD}
    reached_the_group: dict[int, int] = dict.fromkeys(_FORWARDED, 0)
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo in _FORWARDED:
            reached_the_group[info.si_signo] += info.si_code <= 0
            continue
        if info.si_signo in _ERRANDS:
            number = _ERRANDS[info.si_signo]
            if reached_the_group[number]:
                reached_the_group[number] -= 1
            else:
                os.kill(run, number)
            continue
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return 1 << 8
            if pid == 0:
                break
            if pid == run:
                return status


def _streams(fds: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Of open descriptors what they are of: device and inode."""
    found = {}
    for fd in fds:
        with suppress(OSError):
            status = os.fstat(fd)
            found[fd] = status.st_dev, status.st_ino
    return found


# Those that this process began with: pytest keeps copies of its own, to write to while it captures.
_given = set(_streams((0, 1, 2)).values())


def let_go_of_streams() -> None:
    """Have nothing of the caller's standard streams any more: who reads a pipe waits for all that have it."""
    null = os.open(os.devnull, os.O_RDWR)
    # By number, as /proc may be another PID namespace's.
    for fd, stream in _streams(range(_DESCRIPTORS)).items():
        if fd <= 2 or stream in _given:
            os.dup2(null, fd)
    if null > 2:
        os.close(null)


def leave(status: int) -> None:
    """Let who started this detachable run go on, as if it had ended with this status; the run lives on.

    It has no terminal any more, and nobody's interrupt reaches it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    told = int(os.environ.pop(_LEAVE))
    let_go_of_streams()
    os.setsid()
    os.write(told, bytes([status]))
    os.close(told)


def _wait(init: int, report: int, front: int, left: int) -> None:
    """The outside process: pass signals on, then end as the run ended. Never returns.

    Of a detachable run, `left` is where it says that it leaves, and `front` where to pass that on.
    """
    watched: set[int] = {*_FORWARDED, signal.SIGCHLD}
    reached_the_group: dict[int, int] = dict.fromkeys(_FORWARDED, 0)
    if front >= 0:
        watched |= front_process.PASSED_BY.keys()
        watched.add(front_process.announce(left))
        front_process.die_with(front)
        let_go_of_streams()
    errand_of = {number: errand for errand, number in _ERRANDS.items()}
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo == signal.SIGIO:
            front_process.pass_on(left, front)
            continue
        if number := front_process.PASSED_BY.get(info.si_signo):
            if reached_the_group[number]:  # it was here before, and has been passed on
                reached_the_group[number] -= 1
            else:
                os.kill(init, errand_of[number])
            continue
        if info.si_signo != signal.SIGCHLD:
            if info.si_code <= 0:  # sent by a process; the terminal's own reach the run directly
                reached_the_group[info.si_signo] += front >= 0
                os.kill(init, errand_of[info.si_signo])
            continue
        pid, _ = os.waitpid(init, os.WNOHANG)
        if pid:
            break
    data = os.read(report, 4)
    status = int.from_bytes(data, "big") if len(data) == 4 else signal.SIGKILL
    if os.WIFSIGNALED(status):
        os._exit(128 + os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))
