"""A node as a testinfra `Host`: its commands run through `Node.status`, without ssh and without Docker.

testinfra is imported when this is, which takes a moment: only by who asks for `node.host`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from testinfra.backend.base import BaseBackend, CommandResult
from testinfra.host import Host

if TYPE_CHECKING:
    from harness.nodes.base import Node


class NodeBackend(BaseBackend):  # type: ignore[misc]  # testinfra is not marked as typed
    """Runs what testinfra asks for in a shell of the node."""

    NAME = "vipdrill"

    def __init__(self, node: Node) -> None:
        super().__init__(node.name)
        self._node = node
        self._encoding = "utf-8"

    def run(self, command: str, *args: str, **kwargs: Any) -> CommandResult:
        """Run a shell command, its arguments quoted into it, to its end."""
        line = self.get_command(command, *args)
        done = self._node.status(["/bin/sh", "-c", line])
        return self.result(done.status, self.encode(line), done.stdout, done.stderr)


def host(node: Node) -> Host:
    """The node as testinfra knows hosts."""
    backend = NodeBackend(node)
    made = Host(backend)
    backend.set_host(made)
    return made
