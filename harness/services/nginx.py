"""Nginx as a stream (TCP) proxy, from typed parameters or from the user's own file. See nginx(8)."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigRejected

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context

CONFIG = "/etc/nginx/nginx.conf"
_STAYS_IN_FOREGROUND = re.compile(r"^\s*daemon\s+off\s*;", re.MULTILINE)


@dataclass(frozen=True)
class Nginx:
    """Nginx with this text as its configuration."""

    text: str
    name: str = "nginx"

    # It reports nothing to a service manager; this is what its master says (level notice) once all
    # listening sockets are open (ngx_init_cycle comes before ngx_start_worker_processes).
    ready_line = "start worker process"

    def files(self) -> dict[str, str]:
        """Its configuration."""
        return {CONFIG: self.text}

    def validate(self, node: Node) -> None:
        """`nginx -t`: raises ConfigRejected with its message, which names file and line."""
        done = node.status(["nginx", "-t", "-q", *self._arguments()])
        if not done.ok:
            raise ConfigRejected(node.name, self.name, CONFIG, done.stderr or done.stdout)

    def start(self, node: Node, context: Context) -> Process:
        """Start in the foreground; whatever log files the configuration names, notices go to the log too."""
        return node.spawn(self.name, ["nginx", *self._arguments()])

    def _arguments(self) -> list[str]:
        # Given twice, `daemon` would be refused; `error_log` may be given many times.
        daemon = "" if _STAYS_IN_FOREGROUND.search(self.text) else "daemon off; "
        return ["-c", CONFIG, "-g", f"{daemon}error_log stderr notice;"]

    def stop(self, process: Process) -> None:
        """SIGQUIT: graceful; it closes its listeners and ends when its connections have."""
        process.signal(signal.SIGQUIT)

    def reload(self, process: Process) -> None:
        """SIGHUP: new workers on the new configuration, the old ones end when their connections have."""
        process.signal(signal.SIGHUP)
