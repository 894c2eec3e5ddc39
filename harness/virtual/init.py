"""Process 1 of a guest: makes it a machine that a testbed can be built in, does its job, powers it off.

It starts with the exchange at /proc (`harness.virtual.guest`), in the guest's root, which is the
host's file system.  The order is fixed, and the job begins at a fixed instant of virtual time, so that how
the guest got there, which it may do in different ways on different machines, is forgotten by then.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import sys
import threading
import time
import traceback
from pathlib import Path

from harness import world
from harness.kernel import syscalls as sc
from harness.virtual import glance

BASE = "/run/vipdrill"
MODULES = "usr/lib/uml/modules"
EXCHANGE, SCRATCH = f"{BASE}/exchange", f"{BASE}/scratch"
FOLDER = f"{EXCHANGE}/folder"
_MODULES = ("veth", "bridge", "overlay")
# What iptables-legacy(8) would load by modprobe(8), which a node cannot: no kernel asks for it.
# Newer kernels lack it.
_IF_THERE = ("ip_tables",)
_BEGIN_NS = 1_000_000_000
_SYS_FINIT_MODULE = 313
_RB_POWER_OFF = 0x4321FEDC
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
    world.MARK: world.VIRTUAL,
}
# Of a thread. All of it is there from its start (`eager.c`), and the usual 8 MiB would cost much.
_STACK_BYTES = 512 << 10

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    """Never returns: the guest is powered off."""
    try:
        job: dict[str, Any] = json.loads(Path("/proc/job.json").read_text())
        _mount(job)
        _speak()
        _tell(_do(job))
    except BaseException:
        traceback.print_exc()
        _tell({"status": 1, "error": {"text": traceback.format_exc(), "exit_code": 3}})
    finally:
        ctypes.CDLL(None).reboot(_RB_POWER_OFF)


def _mount(job: dict[str, Any]) -> None:
    sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    sc.mount("sys", "/sys", "sysfs", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
    sc.mount("run", "/run", "tmpfs", sc.MS_NOSUID)
    for folder in (EXCHANGE, SCRATCH):
        os.makedirs(folder)
    sc.mount("none", EXCHANGE, "hostfs", 0, "/log")
    sc.mount("vipdrill", SCRATCH, "tmpfs", sc.MS_NOSUID)
    for folder, kind in (("/dev/shm", "tmpfs"), ("/dev/pts", "devpts")):
        os.makedirs(folder, exist_ok=True)
        sc.mount(kind, folder, kind)
    _furnish_start()
    _load_modules(Path(job["kernel"], MODULES, os.uname().release))
    _let_modules_come(job)


def _furnish_start() -> None:
    """What every program is started with, where it is found in nodes too."""
    os.mkdir(world.START)
    for path in (world.EAGER, world.GLANCE, world.FRUGAL):
        shutil.copyfile(f"{EXCHANGE}/{os.path.basename(path)}", path)
    glance.make_known(world.CLOCK)


def _let_modules_come(job: dict[str, Any]) -> None:
    """Have modules loaded when somebody wants them, by the tools of the kernel's image."""
    for name, target in (
        ("sh", f"{job['kernel']}/usr/bin/busybox"),
        ("insmod", f"{job['kernel']}/usr/bin/busybox"),
        ("awk", f"{job['kernel']}/usr/bin/busybox"),
        ("modules", f"{job['kernel']}/{MODULES}/{os.uname().release}"),
    ):
        os.symlink(target, f"{BASE}/{name}")
    modprobe = Path(BASE, "modprobe")
    modprobe.write_bytes(Path(__file__).with_name("modprobe.sh").read_bytes())
    modprobe.chmod(0o755)
    Path("/proc/sys/kernel/modprobe").write_text(str(modprobe))


def _load_modules(folder: Path) -> None:
    """Those that every testbed needs."""
    needs: dict[str, list[str]] = {}
    for line in (folder / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path.rpartition("/")[2].removesuffix(".ko")] = [path, *rest.split()]
    libc = ctypes.CDLL(None, use_errno=True)
    loaded: set[str] = set()
    for name in (*_MODULES, *(name for name in _IF_THERE if name in needs)):
        for path in reversed(needs[name]):
            if path in loaded:
                continue
            loaded.add(path)
            fd = os.open(folder / path, os.O_RDONLY | os.O_CLOEXEC)
            if libc.syscall(_SYS_FINIT_MODULE, fd, b"", 0):
                raise OSError(ctypes.get_errno(), f"module {path}: {os.strerror(ctypes.get_errno())}")
            os.close(fd)


def _speak() -> None:
    """Standard output and error are files of the exchange, which are read while they grow."""
    for fd, name in ((0, "/dev/null"), (1, f"{EXCHANGE}/stdout"), (2, f"{EXCHANGE}/stderr")):
        opened = os.open(name, os.O_RDONLY if fd == 0 else os.O_WRONLY | os.O_APPEND)
        if opened != fd:
            os.dup2(opened, fd)
            os.close(opened)
        os.set_inheritable(fd, True)
    for name, fd in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(fd, "r" if fd == 0 else "w", buffering=1, closefd=False))  # noqa: SIM115


def _do(job: dict[str, Any]) -> dict[str, Any]:
    """Start the job, and reap whatever ends, until the job does."""
    # Without a limit, or who gives up root's rights could get no more memory (`eager.c`).
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    bubble = {"VIPDRILL_BUBBLE": os.readlink("/proc/self/ns/pid"), "VIPDRILL_SCRATCH": SCRATCH}
    os.environ.clear()
    os.environ.update({**job.get("environment", {}), **_ENVIRONMENT, **bubble})
    os.environ.update(world.environment(ours=True))
    sys.executable = job["python"]
    work = os.fork()
    if work == 0:
        _work(job)
    while True:
        pid, status = os.wait()
        if pid == work:
            return {"status": os.waitstatus_to_exitcode(status)}


def _work(job: dict[str, Any]) -> None:
    status = 1
    try:
        os.setsid()
        if "command" in job:
            os.chdir(job["directory"])
            _begin()
            os.execv(job["command"][0], job["command"])
        from harness.virtual import work

        small_stacks()
        status = work.run(job, _begin)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def small_stacks() -> None:
    """Let threads that this process will start have small stacks."""
    threading.stack_size(_STACK_BYTES)


def _begin() -> None:
    """Wait for the instant at which every job begins."""
    while (left := _BEGIN_NS - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


def _tell(outcome: dict[str, Any]) -> None:
    part = Path(EXCHANGE, "outcome.part")
    told = Path(EXCHANGE, "error.json")
    if told.exists():
        outcome["error"] = json.loads(told.read_text())
    part.write_text(json.dumps(outcome))
    part.rename(Path(EXCHANGE, "outcome.json"))
