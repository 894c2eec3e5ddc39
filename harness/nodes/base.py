"""What any node can do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from testinfra.host import Host

    from harness.fabric.fabric import Port
    from harness.nodes.process import Process
    from harness.recorder import Teller
    from harness.topology import NodeSpec


@dataclass(frozen=True)
class Completed:
    """A command that has ended: its exit status (minus the signal if killed) and its output."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.status == 0


class Node(Protocol):
    """A host: files, processes, signals, power. Verbs never touch the network (the fabric does)."""

    name: str
    log_dir: Path
    frozen: bool
    """Whether its processes are kept from running by `freeze`."""

    @property
    def own_kernel(self) -> bool:
        """Whether its kernel is another than the engine's."""

    @property
    def init_pid(self) -> int:
        """The process that is there from a boot to the node's end, so that boots can be told; 0 if down."""

    @property
    def netns(self) -> int:
        """The network namespace, of the engine's kernel, in which the fabric puts the ends of its links."""

    @property
    def host(self) -> Host:
        """The node in testinfra's words, its commands run through `status`."""

    @property
    def alive(self) -> bool:
        """Whether the node is booted and has not crashed."""

    def boot(self) -> None:
        """Power on: a fresh kernel state, the disk as it was left, nothing running."""

    def boot_async(self) -> Future[None]:
        """Start to power on; the result comes when the node can be used."""

    def crash(self) -> None:
        """Power off without a word: nothing is flushed, closed or announced."""

    def release(self) -> None:
        """Tear-down, first half: kill everything in the node, wait for nothing but a boot under way."""

    def reap(self) -> None:
        """Tear-down, second half: wait until nothing of the node is left."""

    def panic(self) -> None:
        """Let the node's own kernel panic; raises TestbedError where the kernel is not the node's."""

    def freeze(self) -> None:
        """Stop every process of the node where it stands; the kernel below goes on."""

    def thaw(self, spared: Collection[int] = ()) -> None:
        """Let a frozen node's processes go on, but for `spared`, as numbered in the node."""

    def status(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> Completed:
        """Run a command to its end and report how it went, good or bad."""

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: bytes = b"") -> str:
        """Run a command that must succeed; its standard output. Raises CommandFailed."""

    def spawn(
        self, name: str, argv: Sequence[str], *, output: Path | None = None, notify: bool = False
    ) -> Process:
        """Start a long-running, supervised process from the node's own root; it writes to its log."""

    def spawn_agent(self, name: str, module: str, config: object, *, only_network: bool = False) -> Process:
        """Start a process of ours (`module`.main) in the node's network, with the engine's files."""

    def read(self, path: str) -> bytes:
        """A file's content."""

    def write(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Put a file at its real path, making folders as needed."""

    def exists(self, path: str) -> bool:
        """Whether a path exists."""

    def listdir(self, path: str) -> list[str]:
        """The names in a folder."""

    def copy_in(self, source: Path, path: str) -> None:
        """Put a file or a whole folder at a path of the node, with its permissions."""

    def copy_out(self, path: str, destination: Path) -> None:
        """Fetch a file or a whole folder from the node."""

    def sysctl(self, values: dict[str, str]) -> None:
        """Set kernel parameters of the node's network (`net.ipv4.ip_forward`: `1`)."""

    def configure(self, spec: NodeSpec, ports: Sequence[Port]) -> Future[None]:
        """Start to give the node its addresses and routes; its links are there, one a port."""

    def watch(self) -> Teller | None:
        """What tells of the node since its boot, where the engine cannot see for itself."""

    def tell_changes(self) -> None:
        """Have that tell of every change of a link or an address, beginning with what there is."""

    def sync(self) -> None:
        """Return once it has told all that has happened until now."""
