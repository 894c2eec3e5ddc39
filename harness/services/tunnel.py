"""The end of IP-in-IP tunnels on a member (RFC 2003): what directors forward with TUN arrives there."""

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
class Tunnel(Agent):
    """Takes packets of any tunnel out of their outer header; answers do not go by the tunnel.

    A kernel with the module ipip does it by `tunl0`; many have it not, so an agent does it here, for
    every kernel alike.
    """

    name: str = "tunnel"

    def start(self, node: Node, context: Context) -> Process:
        """Start the agent; it tells its readiness as an event."""
        config = {"node": node.name, "service": self.name}
        return node.spawn_agent(self.name, "harness.services.tunnel_agent", config)

    def stop(self, process: Process) -> None:
        """SIGTERM."""
        process.signal(signal.SIGTERM)
