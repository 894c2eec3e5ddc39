"""HAProxy, from typed parameters or from the user's own file. See haproxy(1) and its configuration manual."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigRejected

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context

CONFIG = "/etc/haproxy/haproxy.cfg"
SOCKET = "/run/haproxy.sock"
_PIDS = "/run/haproxy.pid"
_START = ("haproxy", "-Ws", "-f", CONFIG, "-p", _PIDS)


@dataclass(frozen=True)
class Haproxy:
    """HAProxy with this text as its configuration."""

    text: str
    name: str = "haproxy"
    ready_line = ""
    logs_servers = True

    def files(self) -> dict[str, str]:
        """Its configuration."""
        return {CONFIG: self.text}

    def validate(self, node: Node) -> None:
        """`haproxy -c`: raises ConfigRejected with its message, which names the line."""
        done = node.status(["haproxy", "-c", "-f", CONFIG])
        if not done.ok:
            raise ConfigRejected(node.name, self.name, CONFIG, done.stderr or done.stdout)

    def start(self, node: Node, context: Context) -> Process:
        """Start master and worker in the foreground, as systemd would (`-Ws` reports readiness)."""
        return node.spawn(self.name, _START, notify=True)

    def replace(self, node: Node, context: Context) -> Process:
        """Start anew beside the one that runs, which is told to finish (`-sf`); sockets are not handed over.

        What service scripts did before there was a master (management guide, section 4).
        """
        old = node.read(_PIDS).decode().split()
        return node.spawn(self.name, [*_START, "-sf", *old], notify=True)

    def stop(self, process: Process) -> None:
        """SIGTERM, as by its systemd unit: it ends at once, with its connections."""
        process.signal(signal.SIGTERM)

    def reload(self, process: Process) -> None:
        """SIGUSR2: the master starts a worker on the new configuration and hands the listeners over."""
        process.signal(signal.SIGUSR2)
