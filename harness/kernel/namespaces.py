"""Work done inside other namespaces by threads of this process.

A namespace belongs to a thread (setns(2)), so a pool of threads visits a node, does its work there
(opens a socket, writes a file, starts a process) and comes home.  A visit costs a few system calls
and no process.

Home is not where the process started: from a user namespace nobody may go back into the host's
network namespace.  It is a set of namespaces of the pool's own, empty, in which nothing ever runs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from harness.kernel import syscalls as sc

Result = TypeVar("Result")

NODE = sc.CLONE_NEWNS | sc.CLONE_NEWNET | sc.CLONE_NEWUTS | sc.CLONE_NEWIPC | sc.CLONE_NEWPID
# A fake server or a probe is code of ours: it sees the bubble's files but the node's network.
NODE_WITHOUT_ROOT = NODE & ~sc.CLONE_NEWNS

_THREADS = 24
# The kinds whose home is the pool's own, and the kinds whose home is the process's.
_OWN = {sc.CLONE_NEWNET: "net", sc.CLONE_NEWUTS: "uts", sc.CLONE_NEWIPC: "ipc"}
_SHARED = {sc.CLONE_NEWNS: "mnt", sc.CLONE_NEWPID: "pid"}


class _Visitors:
    """The pool of threads that visit, and the way home for each kind of namespace."""

    def __init__(self) -> None:
        _inherit_nothing()
        self._home: dict[int, int] = {}
        self._settling = threading.Lock()
        self.pool = ThreadPoolExecutor(_THREADS, "visitor", initializer=self._settle)

    def _settle(self) -> None:
        """Make this thread a visitor: at home, and with a root directory that it shares with no other."""
        sc.unshare(sc.CLONE_FS)
        with self._settling:
            if not self._home:
                sc.unshare(sc.CLONE_NEWNET | sc.CLONE_NEWUTS | sc.CLONE_NEWIPC)
                self._home = {kind: _open(f"/proc/thread-self/ns/{name}") for kind, name in _OWN.items()}
                self._home |= {kind: _open(f"/proc/self/ns/{name}") for kind, name in _SHARED.items()}
                return
        self._go_home(sum(_OWN))

    def _go_home(self, flags: int) -> None:
        for kind, fd in self._home.items():
            if flags & kind:
                sc.setns(fd, kind)

    def visit(self, target: int, flags: int, work: Callable[[], Result]) -> Result:
        """Do work in the namespaces of `target`."""
        sc.setns(target, flags)
        try:
            return work()
        finally:
            self._go_home(flags)

    def visit_fresh(self, flags: int, work: Callable[[], Result]) -> Result:
        """Do work in namespaces that did not exist before."""
        sc.unshare(flags)
        try:
            return work()
        finally:
            self._go_home(flags)


def _inherit_nothing() -> None:
    """Let no process in a node hold open what whoever started this one has left open."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            if fd > 2:
                os.set_inheritable(fd, False)
        except OSError:  # the listing's own descriptor
            pass


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


_visitors = _Visitors()
_workers = ThreadPoolExecutor(_THREADS, "worker")


def submit(target: int, flags: int, work: Callable[[], Result]) -> Future[Result]:
    """Start `work` in the namespaces (`flags`) of `target`, a process or namespace descriptor."""
    return _visitors.pool.submit(_visitors.visit, target, flags, work)


def inside(target: int, flags: int, work: Callable[[], Result]) -> Result:
    """Do `work` in the namespaces of `target` and return what it returns; raises what it raises."""
    return submit(target, flags, work).result()


def submit_plain(work: Callable[[], Result]) -> Future[Result]:
    """Start `work` beside the caller, in the process's own namespaces.

    It has threads of its own, because it may wait for visits: waiting must not keep visitors out.
    """
    return _workers.submit(work)


def submit_fresh(flags: int, work: Callable[[], Result]) -> Future[Result]:
    """Start `work` in new namespaces (`flags`), which live on in whatever it leaves in them."""
    return _visitors.pool.submit(_visitors.visit_fresh, flags, work)
