"""A fake site: any server behind a balancer, at the address and ports that the balancer's file names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.services.base import Agent

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context


@dataclass(frozen=True)
class Site(Agent):
    """Answers everything on its ports; `ports` tell which of them speak TLS, `names` whose certificate."""

    node: str
    address: str
    ports: tuple[tuple[int, bool], ...]
    names: tuple[str, ...]
    health: tuple[str, ...] = ()
    name: str = "site"

    def start(self, node: Node, context: Context) -> Process:
        """Start the agent; it tells its readiness as an event."""
        pki = context.pki(*self.names)
        pair = {"cert": str(pki / "server.pem"), "key": str(pki / "server.key")}
        listeners = [
            {"address": self.address, "port": port, "tls": tls, **(pair if tls else {})}
            for port, tls in self.ports
        ]
        config = {
            "node": self.node,
            "kind": "site",
            "service": self.name,
            "health": list(self.health),
            "listeners": listeners,
        }
        return node.spawn_agent(self.name, "harness.services.fake_server", config)

    def stop(self, process: Process) -> None:
        """Not ready first, serving on for a while, then draining."""
        process.command(do="shutdown")
