"""What every service can do. A service is data until it is started on a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from harness.nodes.base import Node
    from harness.nodes.process import Process


class Context(Protocol):
    """What a service may ask of the testbed while it starts."""

    def pki(self, *names: str) -> Path:
        """The folder of the testbed's certificates, or of those for certain server names."""


class Agent:
    """What services that are agents of ours have in common: no file, and they tell their readiness."""

    ready_line = ""

    def files(self) -> dict[str, str]:
        """Nothing: its configuration goes to the agent directly."""
        return {}

    def validate(self, node: Node) -> None:
        """Nothing can be wrong with it."""


class Service(Protocol):
    """A daemon or a fake server on a node.

    `name` is what faults and logs call it; `files` are put at their real paths before `validate`.
    """

    @property
    def name(self) -> str:
        """The service's name, unique on its node."""

    @property
    def ready_line(self) -> str:
        """A pattern of the log line that tells readiness, where nothing else does; or ''."""

    def files(self) -> dict[str, str]:
        """Configuration files by their paths in the node."""

    def validate(self, node: Node) -> None:
        """Ask the service's own syntax check; raises ConfigRejected with its message."""

    def start(self, node: Node, context: Context) -> Process:
        """Start it; it need not be ready when this returns."""

    def stop(self, process: Process) -> None:
        """Ask it to end gracefully, as its service manager would."""
