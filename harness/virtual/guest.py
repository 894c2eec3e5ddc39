"""A guest, from outside: what it is made of, started, watched, and brought to an end.

    bubble ── child with mounts of its own, its root the kernel image
                /node   everything that the bubble sees: the guest's root, by hostfs
                /log    the exchange: job, clock, output, status; what both sides write
                /tmp    where the guest's memory is, a deleted file of the bubble's tmpfs
              └─ linux.uml with the clock library preloaded, a process group of its own

Nothing of it outlives the bubble.  What reaches the guest is the same every time, so that what it does is:
its command line, environment, user limits and addresses are fixed, and paths are given in files.
"""

from __future__ import annotations

import compileall
import ctypes
import json
import mmap
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from harness import bubble
from harness.errors import TestbedError, UsageError
from harness.image.kernel import PROGRAM
from harness.kernel import syscalls as sc
from harness.virtual import glance
from harness.virtual.culprit import culprit
from harness.virtual.library import CLOCK, EAGER

# 2030-01-01 00:00:00 UTC
START_S = 1_893_456_000
MEMORY = "1G"
STALL = "VIPDRILL_STALL_S"
_STALL_S, _LOOKS = 60.0, 20
_PAGE_BYTES, _NOW_BYTES = 4096, 8
_ADDR_NO_RANDOMIZE = 0x0040000
_STACK_BYTES = 8 << 20
_ROOT = str(Path(__file__).resolve().parents[2])
_numbers = count(1)

# `lpj` spares a calibration against the clock, and so does what is left out: benchmarks of the RAID code,
# which spin until time passes by itself.  Guest programs get the same addresses every time.
_COMMAND_LINE = (
    # From 6.16 on the kernel can do without ptrace, by seccomp filters in its processes; it does if told so.
    "seccomp=on",
    f"mem={MEMORY}",
    "root=none",
    "rootfstype=hostfs",
    "rootflags=/node",
    "rw",
    "init=/proc/init",
    "lpj=10000000",
    "norandmaps",
    "quiet",
    "con=null",
    "con0=null,fd:1",
    # A device of the guest's: the page with its time (`harness.virtual.glance`).
    f"iomem={glance.NAME},/log/clock",
    "uml_dir=/tmp",
    "umid=guest",
    "initcall_blacklist=raid6_select_algo,calibrate_xor_blocks,raid6_init",
    # What the kernel does not know is for process 1's environment.
    f"LD_AUDIT=/proc/{EAGER}",
    "--",
    "-BIS",
    "/proc/start.py",
)

# The guest's process 1 begins here: the exchange lies where its own /proc will be.
_START = """import sys
sys.path[:0] = {path!r}
from harness.virtual.init import main
main()
"""


class Guest:
    """One run in virtual time. Use it in a `with` block: `wait`, and what it left is in `exchange`.

    `job` is what the guest is to do (`harness.virtual.init`), `kernel` the root filesystem of the kernel
    image, `libraries` the folder of `harness.virtual.library`, `folder` where it may write to.  `seed`
    decides everything.
    """

    def __init__(
        self, job: Mapping[str, Any], kernel: Path, libraries: Path, seed: int, folder: Path | None = None
    ) -> None:
        self.exchange = bubble.scratch() / f"bed-{os.getpid()}-guest-{next(_numbers)}"
        self._kernel, self._libraries, self._seed = kernel, libraries, seed
        self._job, self._folder = job, folder
        self.pid = 0
        self._pidfd = -1
        self._clock: mmap.mmap | None = None
        self._now_ns = 0

    @property
    def now_ns(self) -> int:
        """The present in the guest (CLOCK_MONOTONIC, ns); its last one after its end, 0 before it began."""
        if self._clock is not None:
            self._now_ns = int.from_bytes(self._clock[:_NOW_BYTES], sys.byteorder)
        return self._now_ns

    # -- life ----------------------------------------------------------------------------------

    def __enter__(self) -> Guest:
        _compile_engine()
        self._furnish()
        self.pid = os.fork()
        if self.pid == 0:
            _become_guest(self._kernel, self.exchange, self._folder, self._seed)
        self._pidfd = sc.pidfd_open(self.pid)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended by itself, or not yet begun
            sc.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._pidfd)
        if self._clock is not None:
            self._now_ns = self.now_ns
            self._clock.close()
            self._clock = None
        shutil.rmtree(self.exchange, ignore_errors=True)

    def _furnish(self) -> None:
        exchange = self.exchange
        for folder in ("root", "tmp", "folder"):
            (exchange / folder).mkdir(parents=True)
        for name in ("console", "stdout", "stderr"):
            (exchange / name).touch()
        for library in self._libraries.iterdir():
            shutil.copyfile(library, exchange / library.name)
        os.symlink(os.path.realpath(sys.executable), exchange / "init")
        path = [_ROOT, *(entry for entry in sys.path if "site-packages" in entry)]
        (exchange / "start.py").write_text(_START.format(path=path))
        job = {"python": sys.executable, "path": path, "kernel": str(self._kernel), **self._job}
        (exchange / "job.json").write_text(json.dumps(job))
        (exchange / "clock").write_bytes(bytes(_PAGE_BYTES))
        with (exchange / "clock").open("r+b") as file:
            self._clock = mmap.mmap(file.fileno(), _PAGE_BYTES)

    # -- watching ------------------------------------------------------------------------------

    def wait(self, watched: Mapping[Path, Callable[[], None]]) -> dict[str, Any]:
        """Wait for the guest's end; whenever a file of `watched` is written to, call what goes with it.

        Returns what its process 1 left as the outcome.  Raises TestbedError where there is none, or where
        virtual time stands still for a minute ($VIPDRILL_STALL_S).
        """
        notices = {sc.inotify_modified(str(path)): take for path, take in watched.items()}
        stall_s = _stall_s()
        look_s = stall_s / _LOOKS
        poll = select.poll()
        for fd in (self._pidfd, *notices):
            poll.register(fd, select.POLLIN)
        try:
            seen_ns, still_s, looked = -1, 0.0, time.monotonic()
            while True:
                ready = [fd for fd, _ in poll.poll(look_s * 1e3)]
                # While both are stopped (Ctrl-Z), it is not the guest that keeps time from going on.
                still_s += min(time.monotonic() - looked, look_s)
                looked = time.monotonic()
                if self.now_ns != seen_ns:
                    seen_ns, still_s = self.now_ns, 0.0
                elif still_s > stall_s - look_s / 2:
                    raise TestbedError(self._stalled(seen_ns, stall_s))
                for fd in ready:
                    if fd in notices:
                        os.read(fd, _PAGE_BYTES)
                        notices[fd]()
                if self._pidfd in ready:
                    break
        finally:
            for fd in notices:
                os.close(fd)
        for take in watched.values():
            take()
        return self._outcome()

    def _stalled(self, now_ns: int, stall_s: float) -> str:
        who = culprit(self.exchange / "tmp/guest/mconsole") or "something"
        return (
            f"virtual time stands still at {now_ns / 1e9:.6f} s since {stall_s:g} s: {who} in the guest "
            f"computes without ever waiting or asking for the time; on a slow machine, set {STALL} higher"
        )

    def _outcome(self) -> dict[str, Any]:
        try:
            outcome: dict[str, Any] = json.loads((self.exchange / "outcome.json").read_text())
        except (OSError, ValueError):
            said = (self.exchange / "stderr").read_text(errors="replace") + self._console()
            raise TestbedError(
                f"the guest ended without an outcome: {said[-2000:].strip() or 'no word'}"
            ) from None
        return outcome

    def _console(self) -> str:
        return (self.exchange / "console").read_text(errors="replace")


def _compile_engine() -> None:
    """Compile the engine to byte code here, if it can be kept: each guest finds the same, and writes none."""
    for folder in ("harness", "topologies"):
        compileall.compile_dir(os.path.join(_ROOT, folder), quiet=2)


def _stall_s() -> float:
    given = os.environ.get(STALL, "")
    try:
        stall_s = float(given) if given else _STALL_S
    except ValueError:
        stall_s = 0.0
    if not stall_s > 0:
        raise UsageError(f"{STALL} must be a number of seconds above 0, not {given!r}")
    return stall_s


def _become_guest(kernel: Path, exchange: Path, folder: Path | None, seed: int) -> None:
    """In the child: the mounts, the root, the limits, and then the kernel's program. Never returns."""
    try:
        os.setsid()
        libc = ctypes.CDLL(None)
        console = os.open(exchange / "console", os.O_WRONLY | os.O_APPEND)
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd, source in ((0, quiet), (1, console), (2, console)):
            os.dup2(source, fd)
        os.closerange(3, 4096)
        root = exchange / "root"
        sc.unshare(sc.CLONE_NEWNS)
        sc.mount("none", "/", "", sc.MS_REC | sc.MS_PRIVATE)
        sc.mount(str(kernel), str(root), "", sc.MS_BIND)
        sc.mount("/", str(root / "node"), "", sc.MS_BIND | sc.MS_REC)
        sc.mount("/proc", str(root / "proc"), "", sc.MS_BIND | sc.MS_REC)
        sc.mount(str(exchange), str(root / "log"), "", sc.MS_BIND)
        if folder is not None:
            sc.mount(str(folder), str(root / "log/folder"), "", sc.MS_BIND)
        sc.mount(str(exchange), str(root / "node/proc"), "", sc.MS_BIND)
        sc.mount(str(exchange / "tmp"), str(root / "tmp"), "", sc.MS_BIND)
        os.chroot(root)
        os.chdir("/")
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES, _STACK_BYTES))
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.umask(0o022)
        # The kernel and its processes take turns all the time, which costs half as much on one processor.
        # Where a process begins its life is where there was room for it.
        os.sched_setaffinity(0, {max(0, libc.sched_getcpu())})
        # What is not on the stack and in the heap at the same place every time is elsewhere in memory.
        libc.personality(_ADDR_NO_RANDOMIZE)
        environment = {
            "HOME": "/",
            "LD_PRELOAD": f"/log/{CLOCK}",
            "TMPDIR": "/tmp",
            "VIPDRILL_SEED": f"{seed % (1 << 64):020d}",
            "VIPDRILL_START_S": str(START_S),
        }
        os.execve(f"/{PROGRAM}", [f"/{PROGRAM}", *_COMMAND_LINE], environment)
    except BaseException as error:
        os.write(2, f"cannot start the guest: {error}\n".encode())
    finally:
        os._exit(1)
