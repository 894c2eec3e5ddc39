"""Taking a member out for maintenance: no new connections, those that there are go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.target import Target
from harness.properties.in_force import haproxy_at
from harness.services.haproxy_admin import FORCED_DRAIN, admin_socket, ask, server_states

if TYPE_CHECKING:
    from harness.configs.haproxy import HaproxyConfig


class Drain(Fault):
    """Every HAProxy takes a member out of rotation (runtime API), connections go on; healed by `ready`."""

    name = "drain"
    default_target = "member"

    def _prepare(self, targets: list[Target]) -> None:
        self._sockets: dict[str, str] = {}
        self._servers: dict[str, list[tuple[str, str, str]]] = {target.node: [] for target in targets}
        for balancer in (node.name for node in self.testbed.topology.role("balancer")):
            config = haproxy_at(self.testbed.recorder.timeline, balancer, self._now_ns())
            if config is None:
                raise UsageError(
                    f"{self.name}: {balancer} runs no HAProxy whose configuration is known, "
                    "and only HAProxy can be told to drain a member while it runs"
                )
            path = admin_socket(config)
            if not path:
                raise UsageError(
                    f"{self.name}: {config.path} of {balancer} has no `stats socket PATH level admin`"
                )
            self._sockets[balancer] = path
            for node in self._servers:
                self._servers[node] += [(balancer, *server) for server in self._servers_of(node, config)]
        for node, servers in self._servers.items():
            if not servers:
                raise UsageError(f"{self.name}: {node} is no server of any balancer")

    def _now_ns(self) -> int:
        return self.testbed.recorder.timeline.span[1]

    def _servers_of(self, node: str, config: HaproxyConfig) -> list[tuple[str, str]]:
        """The servers, as (backend, server), that are this node."""
        interfaces = self.testbed.topology.node(node).interfaces
        own = {address.partition("/")[0] for i in interfaces for address in i.addresses}
        return [
            (proxy.name, server.name)
            for proxy in config.proxies
            for server in proxy.servers
            if server.address in own
        ]

    def _act(self, target: Target) -> None:
        self._set(target, "drain")

    def _set(self, target: Target, state: str) -> None:
        for balancer, backend, server in self._servers[target.node]:
            if not self.testbed.node(balancer).alive:
                continue
            command = f"set server {backend}/{server} state {state}"
            answer = ask(self.testbed.node(balancer), self._sockets[balancer], command)
            if answer:
                raise self._fails(f"HAProxy of {balancer} answered {command!r} with: {answer}")

    def _drains(self, target: Target) -> list[bool]:
        """What each HAProxy that runs says of the member."""
        found = []
        for balancer, backend, server in self._servers[target.node]:
            if self.testbed.node(balancer).alive:
                answer = ask(self.testbed.node(balancer), self._sockets[balancer], "show servers state")
                _, administrative = server_states(answer)[backend, server]
                found.append(bool(administrative & FORCED_DRAIN))
        return found

    def _verify(self, target: Target) -> None:
        if not all(self._drains(target)):
            raise self._fails("a HAProxy does not say that it drains")

    def _heal(self, target: Target) -> None:
        self._set(target, "ready")

    def _verify_healed(self, target: Target) -> None:
        if any(self._drains(target)):
            raise self._fails("a HAProxy still drains it")
