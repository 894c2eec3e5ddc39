"""Work done inside other namespaces by threads of this process.

A namespace belongs to a thread (setns(2)), so a pool of threads visits a node, does its work there
(opens a socket, writes a file, starts a process) and comes home.  A visit costs two system calls
and no process.
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
_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_plain_pool = ThreadPoolExecutor(_THREADS, "worker")
_home = -1


def _start_pool() -> ThreadPoolExecutor:
    global _pool, _home
    with _lock:
        if _pool is None:
            _home = sc.pidfd_open(os.getpid())
            # A thread may enter a mount namespace only if it shares its root directory with no other.
            _pool = ThreadPoolExecutor(_THREADS, "visitor", initializer=lambda: sc.unshare(sc.CLONE_FS))
        return _pool


def _visit(target: int, flags: int, work: Callable[[], Result]) -> Result:
    sc.setns(target, flags)
    try:
        return work()
    finally:
        sc.setns(_home, NODE)


def _visit_fresh(flags: int, work: Callable[[], Result]) -> Result:
    sc.unshare(flags)
    try:
        return work()
    finally:
        sc.setns(_home, NODE)


def submit(target: int, flags: int, work: Callable[[], Result]) -> Future[Result]:
    """Start `work` in the namespaces (`flags`) of `target`, a process or namespace descriptor."""
    return _start_pool().submit(_visit, target, flags, work)


def inside(target: int, flags: int, work: Callable[[], Result]) -> Result:
    """Do `work` in the namespaces of `target` and return what it returns; raises what it raises."""
    return submit(target, flags, work).result()


def submit_plain(work: Callable[[], Result]) -> Future[Result]:
    """Start `work` at home.

    It has a pool of its own, because it may wait for visits: waiting threads must not keep visitors out.
    """
    return _plain_pool.submit(work)


def submit_fresh(flags: int, work: Callable[[], Result]) -> Future[Result]:
    """Start `work` in new namespaces (`flags`), which live on in whatever it leaves in them."""
    return _start_pool().submit(_visit_fresh, flags, work)
