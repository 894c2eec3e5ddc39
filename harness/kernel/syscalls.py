"""Namespaces, mounts and process descriptors: see unshare(2), setns(2), mount(2), pidfd_open(2).

Every call raises OSError with the kernel's errno.  Calls are made through ctypes, which lets go of
the interpreter lock while the kernel works.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS = 0x0002_0000
CLONE_FS = 0x0000_0200
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_PR_SET_TIMERSLACK = 29
_SHORT_SLICE_NS = 100_000

# The same numbers on every architecture that came after the unified table; pivot_root is older.
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_PIDFD_OPEN = 434
_SYS_PIDFD_GETFD = 438
_SYS_SCHED_SETATTR = {"x86_64": 314}.get(os.uname().machine, 274)
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(os.uname().machine, 41)

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")
    return result


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    """Move the calling thread into the namespaces (`flags`) of a namespace or process descriptor."""
    _checked(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    _checked(
        _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, options.encode() or None),
        f"mount {target}",
    )


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _checked(_libc.umount2(target.encode(), flags), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    _checked(_libc.syscall(_SYS_PIVOT_ROOT, new_root.encode(), put_old.encode()), "pivot_root")


def sethostname(name: str) -> None:
    """Set the name of the calling thread's UTS namespace."""
    raw = name.encode()
    _checked(_libc.sethostname(raw, len(raw)), "sethostname")


def prctl(option: int, argument: int) -> None:
    """prctl(2)."""
    _checked(_libc.prctl(option, argument, 0, 0, 0), "prctl")


def wake_promptly() -> None:
    """Let the calling thread be woken as soon as the kernel will have it, though others are busy.

    Its timers are no longer put off by 50 us (prctl(2)), and it asks for short slices of the processor,
    for which a waking thread may take it from a running one (sched_setattr(2), Linux 6.12), both of
    which anybody may.  Kernels without the latter refuse it or take it for nothing.
    """
    prctl(_PR_SET_TIMERSLACK, 1)
    # struct sched_attr: size, policy, flags, nice, priority, runtime (ns), deadline, period.
    attributes = struct.pack("=IIQiIQQQ", 48, 0, 0, 0, 0, _SHORT_SLICE_NS, 0, 0)
    _libc.syscall(_SYS_SCHED_SETATTR, 0, attributes, 0)


def inotify_modified(path: str) -> int:
    """A descriptor that becomes readable whenever the file at `path` is written to (inotify(7))."""
    fd = _checked(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")
    in_modify = 0x2
    _checked(_libc.inotify_add_watch(fd, path.encode(), in_modify), f"inotify_add_watch {path}")
    return fd


def pidfd_open(pid: int) -> int:
    """A descriptor of a process; readable once the process has ended."""
    return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else int(_libc.syscall(_SYS_PIDFD_OPEN, pid, 0))


def pidfd_send_signal(fd: int, signal: int) -> None:
    """Signal the very process behind a descriptor: never a later one with the same number."""
    _checked(_libc.syscall(_SYS_PIDFD_SEND_SIGNAL, fd, signal, None, 0), "pidfd_send_signal")


def pidfd_getfd(fd: int, number: int) -> int:
    """A descriptor of another process, as one of our own (pidfd_getfd(2)): both are the same open file."""
    return _checked(_libc.syscall(_SYS_PIDFD_GETFD, fd, number, 0), "pidfd_getfd")
