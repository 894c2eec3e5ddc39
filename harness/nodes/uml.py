"""A node with a kernel of its own: a User-Mode Linux machine on the same image, with the same verbs.

For what the host's kernel has not (IPVS, netem), and for what would hit every node at once if it were
done to the host's: a panic, modules, kernel-wide settings.  A machine boots in well under a second and
takes 40 MB.  System calls in it cost about 100 us, so it is right for what its kernel does (forwarding)
and for daemons that mostly wait (keepalived, BIRD), and wrong for a proxy under load.

Whatever is done inside, an agent does (`harness/uml/agent.pl`), over a serial line, not the network.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import CommandFailed, TestbedError, UsageError, WaitExpired
from harness.fabric import addressing, rtnl
from harness.fabric.netlink import Request, RouteSocket
from harness.kernel import namespaces
from harness.nodes.base import Completed
from harness.nodes.command import ENVIRONMENT
from harness.nodes.copying import Copying
from harness.nodes.process import HostProcess, Process
from harness.observe import ipvs_table
from harness.uml.channel import Channel
from harness.uml.chassis import Chassis
from harness.uml.errand import Errand, start_fields
from harness.uml.news import News
from harness.uml.process import GuestProcess
from harness.uml.route import RouteLine

if TYPE_CHECKING:
    from testinfra.host import Host

    from harness.fabric.fabric import Port
    from harness.topology import NodeSpec

MEMORY_MB = 128
# A module in Debian's kernel, and taken for granted by every daemon.
_ALWAYS = ("ipv6",)
_READY_S = 30.0


class UmlNode(Copying):
    """A host whose kernel is its own. See `harness.nodes.base.Node` for the verbs.

    `kernel` is the kernel's image, `interfaces` the names of its links in order with their MTU, `modules`
    what its kernel loads at every boot (what is needed later is loaded then).
    """

    def __init__(
        self,
        name: str,
        rootfs: Path,
        kernel: Path,
        disk: Path,
        log_dir: Path,
        *,
        interfaces: Mapping[str, int] | None = None,
        modules: Sequence[str] = (),
        memory_mb: int = MEMORY_MB,
    ) -> None:
        self.name, self.log_dir = name, log_dir
        self._modules, self._memory_mb = tuple(modules), memory_mb
        self._interfaces = tuple(interfaces or {})
        self._indices: list[int] = []
        self.chassis = Chassis(name, kernel, rootfs, disk, log_dir, interfaces or {})
        self.machine: HostProcess | None = None
        self.frozen = False
        self._channel: Channel | None = None
        self._news: News | None = None
        self._booting: Future[None] | None = None

    def __repr__(self) -> str:
        return f"<node {self.name} with a kernel of its own, {'up' if self.alive else 'down'}>"

    @property
    def alive(self) -> bool:
        """Whether the node is booted and its machine runs."""
        return self.chassis.alive and self._channel is not None and not self._channel.closed

    @property
    def own_kernel(self) -> bool:
        """Always."""
        return True

    @property
    def init_pid(self) -> int:
        """What the node's boot can be told by: process 1 around the machine; 0 while the node is down."""
        return self.chassis.init_pid

    @property
    def netns(self) -> int:
        """The network namespace in which the far ends of its links are."""
        return self.chassis.netns

    @property
    def transport(self) -> str:
        """How frames get into it: `tap` or `raw`."""
        return self.chassis.transport

    # -- power ---------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on: a fresh kernel, the disk as it was left, nothing running."""
        self.boot_async().result()

    def boot_async(self) -> Future[None]:
        """Start to power on; the result comes when the agent serves."""
        if self.alive:
            raise TestbedError(f"node {self.name} is booted already")
        if self.chassis.alive:  # its machine has ended by itself
            self.crash()
        self._booting = namespaces.submit_plain(self._boot)
        return self._booting

    def _boot(self) -> None:
        self.chassis.boot()
        try:
            self._start_machine()
        except BaseException:
            self.chassis.release()
            self.reap()
            raise

    def _start_machine(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.machine = self.chassis.start_machine(self._memory_mb, theirs)
        hello: Future[bool] = Future()
        self._news = News(self.name, self.log_dir, hello)
        self._channel = Channel(self.name, ours, self._news.hear)
        self._news.listen(self.chassis.carrier_news(), self._set_carrier)
        try:
            said = hello.result(_READY_S)
        except Late:
            raise WaitExpired(f"{self.name} to boot", _READY_S, self._last_words()) from None
        if not said:
            raise TestbedError(f"node {self.name} did not boot: {self._last_words()}")
        self._load([*_ALWAYS, *self._modules])

    def _last_words(self) -> str:
        assert self.machine is not None
        lines = self.machine.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "its kernel said nothing"

    def _load(self, modules: Sequence[str]) -> None:
        try:
            self._line.ask("load", *modules)
        except OSError as error:
            raise TestbedError(f"the kernel of {self.name} lacks {error.filename}") from None

    def crash(self) -> None:
        """Power off without a word: the machine is gone, with its memory."""
        self.release()
        self.reap()

    def release(self) -> None:
        """Tear-down, first half: kill the machine, wait for nothing but a boot under way."""
        if self._booting is not None and not self._booting.done():
            self._booting.exception()
        self.chassis.release()

    def reap(self) -> None:
        """Tear-down, second half: wait until nothing of the machine is left."""
        self.chassis.reap()
        if self._channel is not None:
            self._channel.close()
        if self._news is not None:
            self._news.end()
        self._channel = self._news = self.machine = None
        self._indices = []
        self.frozen = False

    def panic(self) -> None:
        """Let the node's kernel panic: it ends on the spot, and says nothing but on its console."""
        machine = self.machine
        assert machine is not None
        machine.expected_end = True
        self._line.tell("set", "/proc/sysrq-trigger", "c")
        machine.reap(wait=True)
        self._line.await_end()

    def freeze(self) -> None:
        """SIGSTOP to every process of the node but the agent; its kernel goes on."""
        self._line.ask("freeze")
        self.frozen = True

    def thaw(self, spared: Collection[int] = ()) -> None:
        """SIGCONT to every process of the node but `spared`, as numbered in the node."""
        self._line.ask("thaw", *spared)
        self.frozen = False

    @property
    def _line(self) -> Channel:
        if self._channel is None:
            raise TestbedError(f"node {self.name} is down")
        return self._channel

    # -- processes -----------------------------------------------------------------------------

    def status(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command to its end and report how it went, good or bad."""
        return Errand(self.name, self._line, argv).run(ENVIRONMENT, stdin, timeout_s)

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> str:
        """Run a command that must succeed; its standard output. Raises CommandFailed."""
        done = self.status(argv, timeout_s=timeout_s, stdin=stdin)
        if not done.ok:
            raise CommandFailed(self.name, list(argv), done.status, done.stderr or done.stdout)
        return done.stdout

    def spawn(
        self, name: str, argv: Sequence[str], *, output: Path | None = None, notify: bool = False
    ) -> Process:
        """Start a long-running, supervised process; what it writes goes to its log, outside.

        `output` takes its standard output instead.  With `notify` the process is told to report its
        readiness as to systemd (sd_notify(3)), and `wait_notified` waits for it.
        """
        news = self._news
        assert news is not None
        log = self.log_dir / f"{name}.log"
        errors = _open_log(log)
        streams = {1: _open_log(output) if output else errors, 2: errors}
        notices = f"/run/notify-{name}.sock" if notify else ""
        environment = {**ENVIRONMENT, **({"NOTIFY_SOCKET": notices} if notify else {})}
        process = GuestProcess(self.name, name, log, streams, notifies=notify)
        process.on_end = news.ended
        fields = start_fields("spawn", argv, environment, notices=notices)
        process.start(self._line, fields, _READY_S)
        return process

    def spawn_on(
        self, argv: Sequence[str], streams: Sequence[int], on_over: Callable[[], None]
    ) -> GuestProcess:
        """Start a command that writes to open streams (output, error), which are its own from now on.

        It has no input.  Who is slow to take its output holds the whole node up.  `on_over` is called at
        its end, or its machine's, in another thread.
        """
        own = dict(enumerate(streams, 1))
        process = GuestProcess(self.name, argv[0], Path(os.devnull), own, notifies=False)
        process.on_over = on_over
        process.start(self._line, start_fields("spawn", argv, ENVIRONMENT), _READY_S)
        return process

    def spawn_agent(self, name: str, module: str, config: object, *, only_network: bool = False) -> Process:
        """Never: our own agents are Python on the engine's kernel. Raises UsageError."""
        raise UsageError(
            f"{self.name} has a kernel of its own, in which {name} cannot run: give the node the host's"
        )

    @cached_property
    def host(self) -> Host:
        """The node in testinfra's words (`host.file`, `host.process`, `host.socket`, `host.interface`)."""
        from harness.nodes import testinfra

        return testinfra.host(self)

    # -- files ---------------------------------------------------------------------------------

    def read(self, path: str) -> bytes:
        """A file's content; raises FileNotFoundError and the like."""
        return self._line.ask("read", path)[0]

    def write(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Put a file at its real path, making folders as needed."""
        self._line.ask("write", path, mode, data)

    def exists(self, path: str) -> bool:
        """Whether a path exists."""
        return self._line.ask("exists", path)[0] == b"1"

    def listdir(self, path: str) -> list[str]:
        """The names in a folder."""
        return [os.fsdecode(name) for name in self._line.ask("listdir", path)]

    def sysctl(self, values: dict[str, str]) -> None:
        """Set kernel parameters of the node's own kernel (`net.ipv4.ip_forward`: `1`)."""
        for key, value in values.items():
            try:
                self._line.ask("set", "/proc/sys/" + key.replace(".", "/"), value)
            except OSError as error:
                raise TestbedError(f"sysctl {key}={value} on {self.name}: {error.strerror}") from None

    # -- network -------------------------------------------------------------------------------

    def configure(self, spec: NodeSpec, ports: Sequence[Port]) -> Future[None]:
        """Start to give the node its addresses and routes; its links are there, one a port."""
        return namespaces.submit_plain(partial(self._configure, spec, ports))

    def _configure(self, spec: NodeSpec, ports: Sequence[Port]) -> None:
        self.chassis.plug(ports)
        route = self.route()
        known = {
            name: index
            for _, body in route.dump(rtnl.RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0))
            for index, name, _ in [rtnl.parse_link(body)]
        }
        self._indices = [known[f"vec{position}"] for position in range(len(ports))]
        dressed: list[Request] = [
            rtnl.dress(index, f"attach {port}", name=port.interface, mac=port.mac, mtu=port.mtu)
            for index, port in zip(self._indices, ports, strict=True)
        ]
        self.sysctl(addressing.late_sysctls(spec))
        route.send([*dressed, *addressing.requests(spec, self._indices.__getitem__)])
        self.chassis.take_frames()

    def route(self) -> RouteSocket:
        """A route socket of the node's own kernel."""
        return RouteSocket(through=RouteLine(self._line))

    def _set_carrier(self, position: int, up: bool) -> None:
        """The cable at one of its links was plugged in or pulled; its driver cannot tell, so we do."""
        if self._channel is None or position >= len(self._indices):
            return
        what = f"carrier of {self._interfaces[position]}"
        route = RouteSocket(through=RouteLine(self._channel, wait=False))
        try:
            route.begin([rtnl.set_operational(self._indices[position], up, what)])
        except TestbedError:  # it has ended meanwhile, and its cables with it
            pass

    def watch(self) -> News:
        """What tells of its addresses, links and the ends of its processes, from its boot to its end."""
        assert self._news is not None
        self._news.heard = True
        return self._news

    def tell_changes(self) -> None:
        """Have every change of a link or an address told from now on, and what there is now."""
        assert self._news is not None
        self._line.ask("watch")
        if "ip_vs" in self._modules:
            self._line.ask("poll", ipvs_table.PATH, ipvs_table.PERIOD_NS // 1_000_000)
        self._news.tell_present(self.route())

    def sync(self) -> None:
        """Return once all that has happened until now is told."""
        self._line.ask("sync")


def _open_log(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
