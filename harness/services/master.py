"""A fake master: a Kubernetes API server as a load balancer sees one. The server itself is an agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.services.base import Agent

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context


@dataclass(frozen=True)
class Master(Agent):
    """A TLS API server on one address and port; `names` are what its certificate is good for."""

    node: str
    address: str
    port: int
    names: tuple[str, ...]
    name: str = "master"

    def start(self, node: Node, context: Context) -> Process:
        """Start the agent; it tells its readiness as an event."""
        pki = context.pki()
        listener = {
            "address": self.address,
            "port": self.port,
            "tls": True,
            "cert": str(pki / "server.pem"),
            "key": str(pki / "server.key"),
        }
        return node.spawn_agent(
            self.name, "harness.services.fake_server", {"node": self.node, "listeners": [listener]}
        )

    def stop(self, process: Process) -> None:
        """As kube-apiserver stops: not ready first, serving on for a while, then draining."""
        process.command(do="shutdown")
