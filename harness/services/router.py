"""A fake router: an OpenShift ingress router as a load balancer sees one. The server itself is an agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.services.base import Agent

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context

HTTPS_PORT, HTTP_PORT, HEALTH_PORT = 443, 80, 1936


@dataclass(frozen=True)
class Router(Agent):
    """TLS by SNI on 443, plain HTTP on 80, health on 1936, all on one address.

    `hosts` are its applications: host and insecureEdgeTerminationPolicy ("allow" or "redirect").  Each has
    a certificate of its own; any other name gets that for `default_name`.
    """

    node: str
    address: str
    hosts: Mapping[str, str]
    default_name: str
    name: str = "router"

    def start(self, node: Node, context: Context) -> Process:
        """Start the agent; it tells its readiness as an event."""

        def pair(name: str) -> dict[str, str]:
            folder = context.pki(name)
            return {"cert": str(folder / "server.pem"), "key": str(folder / "server.key")}

        listeners: list[dict[str, Any]] = [
            {
                "port": HTTPS_PORT,
                "tls": True,
                **pair(self.default_name),
                "names": {host: pair(host) for host in self.hosts},
            },
            {"port": HTTP_PORT, "tls": False},
            {"port": HEALTH_PORT, "tls": False, "purpose": "health"},
        ]
        config = {
            "node": self.node,
            "kind": "router",
            "service": self.name,
            "hosts": dict(self.hosts),
            "listeners": [{"address": self.address, **listener} for listener in listeners],
        }
        return node.spawn_agent(self.name, "harness.services.fake_server", config)

    def stop(self, process: Process) -> None:
        """As a router's pod ends: not ready first, serving on for a while, then draining."""
        process.command(do="shutdown")
