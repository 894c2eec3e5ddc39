"""What any node can do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from testinfra.host import Host

    from harness.nodes.process import Process


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

    @property
    def host(self) -> Host:
        """The node in testinfra's words, its commands run through `status`."""

    @property
    def alive(self) -> bool:
        """Whether the node is booted and has not crashed."""

    def boot(self) -> None:
        """Power on: a fresh kernel state, the disk as it was left, nothing running."""

    def crash(self) -> None:
        """Power off without a word: nothing is flushed, closed or announced."""

    def freeze(self) -> None:
        """Stop every process of the node where it stands; the kernel below goes on."""

    def thaw(self) -> None:
        """Let a frozen node's processes go on."""

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
