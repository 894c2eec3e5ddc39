"""HAProxy, from typed parameters or from the user's own file. See haproxy(1) and its configuration manual."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigRejected

if TYPE_CHECKING:
    from harness.nodes.netns import NetnsNode
    from harness.nodes.process import Process
    from harness.services.base import Context

CONFIG = "/etc/haproxy/haproxy.cfg"
SOCKET = "/run/haproxy.sock"


@dataclass(frozen=True)
class Haproxy:
    """HAProxy with this text as its configuration."""

    text: str
    name: str = "haproxy"
    ready_line = ""

    def files(self) -> dict[str, str]:
        """Its configuration."""
        return {CONFIG: self.text}

    def validate(self, node: NetnsNode) -> None:
        """`haproxy -c`: raises ConfigRejected with its message, which names the line."""
        done = node.status(["haproxy", "-c", "-f", CONFIG])
        if not done.ok:
            raise ConfigRejected(node.name, self.name, CONFIG, done.stderr or done.stdout)

    def start(self, node: NetnsNode, context: Context) -> Process:
        """Start master and worker in the foreground, as systemd would (`-Ws` reports readiness)."""
        return node.spawn(self.name, ["haproxy", "-Ws", "-f", CONFIG, "-p", "/run/haproxy.pid"], notify=True)

    def stop(self, process: Process) -> None:
        """SIGUSR1: soft stop; it closes its listeners and ends when its connections have."""
        process.signal(signal.SIGUSR1)


@dataclass(frozen=True)
class Server:
    """A backend's server: its name and address:port."""

    name: str
    address: str


def render_tcp(
    port: int,
    servers: tuple[Server, ...],
    *,
    bind: str = "*",
    check: str = "check inter 1s fall 2 rise 2",
    health: tuple[str, ...] = (),
) -> str:
    """TCP pass-through on one port: `health` are backend lines (httpchk), `check` each server's options."""
    lines = [
        "global",
        f"    stats socket {SOCKET} level admin expose-fd listeners",
        "    log stdout format raw local0 notice",
        "    maxconn 4000",
        "defaults",
        "    mode tcp",
        "    log global",
        "    timeout connect 1s",
        "    timeout client 30s",
        "    timeout server 30s",
        "frontend api",
        f"    bind {bind}:{port}",
        "    default_backend members",
        "backend members",
        "    balance roundrobin",
        *(f"    {line}" for line in health),
        *(f"    server {server.name} {server.address} {check}".rstrip() for server in servers),
    ]
    return "\n".join(lines) + "\n"
