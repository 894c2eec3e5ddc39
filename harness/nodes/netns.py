"""A node made of namespaces: its own network, mounts, processes, host name and IPC, on an image.

The root is an overlay: the image below (shared, read only), a writable layer of the node's own on
the bubble's tmpfs above.  Process 1 is a tiny init of the image that reaps and does nothing else;
killing it makes the kernel end everything in the node.  The host's kernel is shared, so a kernel
crash cannot be had here (that takes a node with a kernel of its own).
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import world
from harness.errors import CommandFailed, TestbedError
from harness.fabric import addressing
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.kernel.waiting import readable
from harness.nodes import command
from harness.nodes.base import Completed
from harness.nodes.command import ENVIRONMENT, Command
from harness.nodes.copying import Copying
from harness.nodes.process import HostProcess, await_stop

if TYPE_CHECKING:
    from testinfra.host import Host

    from harness.fabric.fabric import Port
    from harness.topology import NodeSpec

_INIT = ("catatonit", "-P")
# Mounted by a process of the new PID namespace, as proc shows the namespace of who mounts it (proc(5)).
_MOUNT_PROC = ("mount", "-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_ROOT = str(Path(__file__).resolve().parents[2])
_READY_S = 20.0
_PIPE_BYTES = 1 << 20


class NetnsNode(Copying):
    """A host whose kernel is the engine's own. See `harness.nodes.base.Node` for the verbs."""

    def __init__(self, name: str, rootfs: Path, disk: Path, log_dir: Path) -> None:
        self.name, self.log_dir = name, log_dir
        self._rootfs, self._disk = rootfs, disk
        self._init_pid = 0
        self._init = -1
        self.netns = -1
        self.frozen = False
        self._booting: Future[None] | None = None
        self._started: list[HostProcess] = []
        self._commands: set[int] = set()
        self._visits: set[Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<node {self.name}, {'up' if self.alive else 'down'}>"

    @property
    def alive(self) -> bool:
        """Whether the node is booted and has not crashed."""
        return self._init >= 0

    @property
    def own_kernel(self) -> bool:
        """Never: it is the engine's."""
        return False

    @property
    def init_pid(self) -> int:
        """Process 1 of the node, as numbered in the bubble; 0 while the node is down."""
        return self._init_pid

    # -- power ---------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: a fresh kernel state, the disk as it was left, nothing running."""
        self.boot_async().result()

    def boot_async(self) -> Future[None]:
        """Start to power on; the result comes when init runs."""
        if self.alive:
            raise TestbedError(f"node {self.name} is booted already")
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self._booting = namespaces.submit_fresh(namespaces.NODE, self._boot)
        return self._booting

    def _boot(self) -> None:
        try:
            self._boot_here()
        except BaseException as error:
            if self._init >= 0:
                os.kill(self._init_pid, signal.SIGKILL)
                os.waitpid(self._init_pid, 0)
            self._close()
            if isinstance(error, OSError):
                raise TestbedError(f"node {self.name} did not boot: {error}") from None
            raise

    def _boot_here(self) -> None:
        self.netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        sc.sethostname(self.name)
        self._mount_root()
        self._init_pid = command.start(self.name, _INIT, ENVIRONMENT, _quiet_streams())
        self._init = sc.pidfd_open(self._init_pid)
        mounting = Command(self.name, _MOUNT_PROC, b"")
        try:
            mounting.start()
            done = mounting.finish(_READY_S)
        finally:
            mounting.close()
        if not done.ok:
            raise TestbedError(f"node {self.name} did not boot: {done.stderr.strip() or done.status}")
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")

    def _mount_root(self) -> None:
        """Mount the overlay and make it this thread's root (pivot_root(2)); the bubble's mounts go."""
        sc.mount("none", "/", "", sc.MS_REC | sc.MS_PRIVATE)
        root = str(self._disk / "root")
        mount_disk(self._rootfs, self._disk, root)
        sc.mount("dev", f"{root}/dev", "tmpfs", sc.MS_NOSUID | sc.MS_NOEXEC, "mode=0755,size=64k")
        for device in _DEVICES:
            Path(root, "dev", device).touch()
            sc.mount(f"/dev/{device}", f"{root}/dev/{device}", "", sc.MS_BIND)
        os.symlink("/proc/self/fd", f"{root}/dev/fd")
        os.mkdir(f"{root}/dev/shm")
        os.chmod(f"{root}/dev/shm", 0o1777)  # noqa: S103  # every user of a node may share memory
        sc.mount("run", f"{root}/run", "tmpfs", sc.MS_NOSUID | sc.MS_NODEV, "mode=0755")
        sc.mount("sysfs", f"{root}/sys", "sysfs", sc.MS_RDONLY | sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)
        if world.virtual():
            os.mkdir(root + world.START)
            sc.mount(world.START, root + world.START, "", sc.MS_BIND)
        self._furnish(root)
        os.chdir(root)
        # proc of the bubble stays readable until init mounts the node's own over it.
        sc.mount("/proc", f"{root}/proc", "", sc.MS_BIND | sc.MS_REC)
        sc.pivot_root(".", ".")
        sc.umount(".", sc.MNT_DETACH)
        os.chdir("/")

    def _furnish(self, root: str) -> None:
        """Mount what this kind of node has beside, below `root`, while the bubble's files are there still."""

    def crash(self) -> None:
        """Power off without a word. The fabric must have silenced the node's links before."""
        if not self.alive:
            return
        self.release()
        self.reap()

    def release(self) -> None:
        """Tear-down, first half: kill everything in the node, wait for nothing but a boot under way."""
        if self._booting is not None:
            wait([self._booting])
        if self.alive:
            sc.pidfd_send_signal(self._init, signal.SIGKILL)

    def reap(self) -> None:
        """Tear-down, second half: wait until nothing of the node is left.

        An init ends only once every process of its PID namespace has been reaped, and those that the
        engine started are the engine's to reap (pid_namespaces(7)).
        """
        if self.alive:
            # Who was interrupted while it waited for a start may not have heard that there was one.
            wait(list(self._visits))
            for process in self._started:
                process.reap(wait=True)
            self._started.clear()
            for pid in list(self._commands):
                _reap(pid)
            _reap(self._init_pid)
            namespaces.inside(self.netns, sc.CLONE_NEWNET, _forget_connections)
            self._close()

    def _close(self) -> None:
        for fd in (self._init, self.netns):
            if fd >= 0:
                os.close(fd)
        self._init = self.netns = -1
        self._init_pid = 0
        self.frozen = False

    def panic(self) -> None:
        """Never: its kernel is everybody's."""
        raise TestbedError(f"node {self.name} has no kernel of its own that could panic")

    def freeze(self) -> None:
        """SIGSTOP to every process of the node but init, in one stroke (kill(2) with pid -1)."""
        self._signal_all("STOP")
        self._inside(_await_stop_of_all)
        self.frozen = True

    def thaw(self, spared: Collection[int] = ()) -> None:
        """SIGCONT to every process of the node but `spared`, as numbered in the node."""
        if spared:
            pids = [int(entry) for entry in self.listdir("/proc") if entry.isdecimal()]
            others = [str(pid) for pid in pids if pid not in spared]
            # Some of them end meanwhile, which the shell's kill reports and nobody minds.
            self.status(["/bin/sh", "-c", f"kill -CONT {' '.join(others)}"])
        else:
            self._signal_all("CONT")
        self.frozen = False

    def _signal_all(self, name: str) -> None:
        done = self.status(["/bin/sh", "-c", f"kill -{name} -1"])
        if not done.ok and "No such process" not in done.stderr:  # nothing runs there: nothing to signal
            raise CommandFailed(self.name, list(done.argv), done.status, done.stderr)

    # -- processes -----------------------------------------------------------------------------

    def status(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command to its end and report how it went, good or bad."""
        running = Command(self.name, argv, stdin)
        pid = 0

        def start() -> int:
            pid = running.start()
            self._commands.add(pid)
            return pid

        try:
            pid = self._inside(start)
            return running.finish(timeout_s)
        finally:
            running.close()
            self._commands.discard(pid)

    def attach(self, argv: Sequence[str], streams: Sequence[int], *, terminal: str = "") -> int:
        """Start a command on somebody's open streams (stdin, stdout, stderr); its process number.

        With `terminal` (its type, as in $TERM) the one stream is a terminal, and becomes the controlling
        one of the command's session.  The caller waits for the end and then calls `detached`.
        """
        if terminal:
            # Who leads a session without a terminal gets the first that it opens (tty_ioctl(4)); the path
            # leads to the very terminal, which has no name in the node.
            opened = [(os.POSIX_SPAWN_OPEN, fd, "/proc/self/fd/0", os.O_RDWR, 0) for fd in (1, 2)]
            actions = [(os.POSIX_SPAWN_DUP2, streams[0], 0), *opened]
        else:
            actions = [(os.POSIX_SPAWN_DUP2, stream, fd) for fd, stream in enumerate(streams)]

        def start() -> int:
            environment = {**ENVIRONMENT, "TERM": _terminal_type(terminal)} if terminal else ENVIRONMENT
            pid = command.start(self.name, argv, environment, actions)
            self._commands.add(pid)
            return pid

        return self._inside(start)

    def detached(self, pid: int) -> None:
        """The command of an `attach` has been reaped."""
        self._commands.discard(pid)

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> str:
        """Run a command that must succeed; its standard output. Raises CommandFailed."""
        done = self.status(argv, timeout_s=timeout_s, stdin=stdin)
        if not done.ok:
            raise CommandFailed(self.name, list(argv), done.status, done.stderr or done.stdout)
        return done.stdout

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        output: Path | None = None,
        notify: bool = False,
        line: int = -1,
    ) -> HostProcess:
        """Start a long-running, supervised process from the node's own root; it writes to its log.

        `output` takes its standard output instead.  With `notify` the process is told to report its
        readiness as to systemd (sd_notify(3)), and `wait_notified` waits for it.  It finds the descriptor
        `line`, where one is given, as its number 3.
        """
        log = self.log_dir / f"{name}.log"
        errors = _open_log(log)
        out = _open_log(output) if output else errors
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, errors, 2),
        ]
        if line >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, line, 3))
        environment, listener = ENVIRONMENT, None
        if notify:
            path = f"/run/notify-{name}.sock"
            listener = self._inside(lambda: _notify_socket(path))
            environment = {**ENVIRONMENT, "NOTIFY_SOCKET": path}

        def start() -> HostProcess:
            pid = command.start(self.name, argv, environment, actions)
            return self._keep(HostProcess(self.name, name, pid, log, notify=listener))

        try:
            return self._inside(start)
        finally:
            for fd in {out, errors}:
                os.close(fd)

    def spawn_agent(
        self, name: str, module: str, config: object, *, only_network: bool = False
    ) -> HostProcess:
        """Start a process of ours (`module`.main) in the node's network, with the engine's files.

        With `only_network` it keeps the engine's view of processes too, and outlives the node.
        """
        log = self.log_dir / f"{name}.log"
        code = f"import sys; sys.path.insert(0, {_ROOT!r}); from {module} import main; main()"
        # In virtual time nothing may be left that the next run would find.
        kept = ["-B"] if world.virtual() else []
        argv = [sys.executable, "-I", "-S", *kept, "-c", code, json.dumps(config)]
        commands, commands_write = os.pipe()
        events, events_write = os.pipe()
        output = _open_log(log)
        _grow_pipe(events)
        actions = [
            (os.POSIX_SPAWN_DUP2, commands, 0),
            (os.POSIX_SPAWN_DUP2, events_write, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        environment = {**ENVIRONMENT, "PYTHONHASHSEED": "0", **world.environment(ours=True)}
        os.set_blocking(events, False)

        def start() -> HostProcess:
            pid = command.start(self.name, argv, environment, actions)
            process = HostProcess(self.name, name, pid, log, events, commands_write)
            return process if only_network else self._keep(process)

        try:
            if only_network:
                return namespaces.inside(self.netns, sc.CLONE_NEWNET, start)
            return self._inside(start, namespaces.NODE_WITHOUT_ROOT)
        finally:
            for fd in (commands, events_write, output):
                os.close(fd)

    def _keep(self, process: HostProcess) -> HostProcess:
        self._started.append(process)
        return process

    @cached_property
    def host(self) -> Host:
        """The node in testinfra's words (`host.file`, `host.process`, `host.socket`, `host.interface`)."""
        from harness.nodes import testinfra

        return testinfra.host(self)

    # -- network -------------------------------------------------------------------------------

    def configure(self, spec: NodeSpec, ports: Sequence[Port]) -> Future[None]:
        """Start to give the node its addresses and routes; its links are there, one a port."""
        return namespaces.submit(self.netns, sc.CLONE_NEWNET, partial(addressing.configure, spec))

    def watch(self) -> None:
        """Nothing: the engine's observer can see for itself."""

    def tell_changes(self) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""

    # -- files ---------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """A file's content; raises FileNotFoundError and the like."""
        return self._inside(Path(path).read_bytes)

    def write(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Put a file at its real path, making folders as needed."""
        raw = data.encode() if isinstance(data, str) else data

        def work() -> None:
            target = Path(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(raw)
            target.chmod(mode)

        self._inside(work)

    def exists(self, path: str) -> bool:
        """Whether a path exists."""
        return self._inside(lambda: os.path.lexists(path))

    def listdir(self, path: str) -> list[str]:
        """The names in a folder."""
        return self._inside(lambda: os.listdir(path))

    def sysctl(self, values: dict[str, str]) -> None:
        """Set kernel parameters of the node's own network namespace (`net.ipv4.ip_forward`: `1`)."""

        def work() -> None:
            for key, value in values.items():
                try:
                    Path("/proc/sys", *key.split(".")).write_text(value)
                except OSError as error:
                    raise TestbedError(f"sysctl {key}={value} on {self.name}: {error.strerror}") from None

        self._inside(work)

    def _inside(
        self, work: Callable[[], namespaces.Result], flags: int = namespaces.NODE
    ) -> namespaces.Result:
        """Do work in the node. A tear-down waits for it, so what it starts and notes will be reaped."""
        visit = namespaces.submit(self._booted(), flags, work)
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)
        try:
            return visit.result()
        except (OSError, TestbedError):
            if self.alive and readable([self._init], 0):
                raise TestbedError(f"node {self.name} is dead: its process 1 has ended") from None
            raise

    def _booted(self) -> int:
        if not self.alive:
            raise TestbedError(f"node {self.name} is down")
        return self._init


def mount_disk(lower: Path, disk: Path, at: str) -> None:
    """Mount a disk of one's own: what is in `lower` and never written to, under what is kept in `disk`."""
    upper, work = disk / "upper", disk / "work"
    for folder in (upper, work, Path(at)):
        folder.mkdir(parents=True, exist_ok=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    try:
        sc.mount("overlay", at, "overlay", sc.MS_NOSUID, options + ",userxattr")
    except OSError:
        sc.mount("overlay", at, "overlay", sc.MS_NOSUID, options)


def _forget_connections() -> None:
    """Let connections that nobody answers any more hold a dead node's network for one retry, not for minutes.

    A closed socket with unacknowledged data keeps its namespace until its retries are used up (tcp(7)).
    """
    Path("/proc/sys/net/ipv4/tcp_orphan_retries").write_text("1")


def _await_stop_of_all() -> None:
    """From inside a node: wait until every process but init has stopped."""
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            await_stop(int(name))


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:  # who waited for it was quicker
        pass


def _quiet_streams() -> list[tuple[int, int, str, int, int]]:
    return [(os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)]


def _open_log(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _terminal_type(name: str) -> str:
    """The type of a terminal if the node's image knows it (terminfo(5)), else one that every image knows."""
    folders = ("/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo")
    known = "/" not in name and any(os.path.exists(f"{folder}/{name[0]}/{name}") for folder in folders)
    return name if known else "xterm"


def _notify_socket(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    if os.path.lexists(path):
        os.unlink(path)
    listener.bind(path)
    return listener


def _grow_pipe(fd: int) -> None:
    try:
        fcntl.fcntl(fd, 1031, _PIPE_BYTES)  # F_SETPIPE_SZ
    except OSError:  # the user's share of pipe pages is used up; the agent then buffers more itself
        pass
