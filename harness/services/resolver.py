"""A fake DNS server, of which nothing matters but which one answers. The server itself is an agent."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.services.base import Agent

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context


@dataclass(frozen=True)
class Resolver(Agent):
    """Answers by UDP and TCP on each of its addresses, from that address, and tells its name (RFC 4892)."""

    node: str
    addresses: tuple[str, ...]
    port: int
    name: str = "resolver"

    def start(self, node: Node, context: Context) -> Process:
        """Start the agent; it tells its readiness as an event."""
        config = {
            "node": self.node,
            "service": self.name,
            "addresses": list(self.addresses),
            "port": self.port,
        }
        return node.spawn_agent(self.name, "harness.services.resolver_agent", config)

    def stop(self, process: Process) -> None:
        """SIGTERM, which ends it at once."""
        process.signal(signal.SIGTERM)
