"""Taking a member out for maintenance: no new connections, those that there are go on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.target import Target
from harness.properties.in_force import haproxy_at, keepalived_at
from harness.services import ipvs_admin
from harness.services.haproxy_admin import FORCED_DRAIN, admin_socket, ask, server_states

if TYPE_CHECKING:
    from harness.configs.haproxy import HaproxyConfig
    from harness.configs.keepalived_model import KeepalivedConfig
    from harness.services.ipvs_admin import Place
    from harness.testbed import Testbed


class _Way(Protocol):
    """How one balancer is told to drain one member."""

    def drain(self) -> str:
        """Tell it; what it objected, or nothing."""

    def ready(self) -> str:
        """Tell it that the member is back; what it objected, or nothing."""

    def drains(self) -> bool:
        """Whether it says that the member drains."""


class _ByHaproxy:
    """HAProxy's runtime API (management guide, section 9.3)."""

    def __init__(self, testbed: Testbed, balancer: str, socket: str, server: tuple[str, str]) -> None:
        self._testbed, self._balancer, self._socket, self._server = testbed, balancer, socket, server

    def drain(self) -> str:
        return self._set("drain")

    def ready(self) -> str:
        return self._set("ready")

    def _set(self, state: str) -> str:
        command = f"set server {'/'.join(self._server)} state {state}"
        answer = ask(self._testbed.node(self._balancer), self._socket, command)
        return f"HAProxy of {self._balancer} answered {command!r} with: {answer}" if answer else ""

    def drains(self) -> bool:
        answer = ask(self._testbed.node(self._balancer), self._socket, "show servers state")
        return bool(server_states(answer)[self._server][1] & FORCED_DRAIN)


class _ByWeight:
    """Weight 0 in the IPVS table (ipvsadm(8), --weight)."""

    def __init__(self, testbed: Testbed, balancer: str, place: Place) -> None:
        self._node, self._place = partial(testbed.node, balancer), place

    def drain(self) -> str:
        ipvs_admin.weigh(self._node(), self._place.weighing(0))
        return ""

    def ready(self) -> str:
        ipvs_admin.weigh(self._node(), self._place)
        return ""

    def drains(self) -> bool:
        return ipvs_admin.weight(self._node(), self._place) == 0


class Drain(Fault):
    """Every balancer takes a member out of rotation (HAProxy's `drain`, IPVS weight 0); healed by `ready`."""

    name = "drain"
    default_target = "member"

    def _prepare(self, targets: list[Target]) -> None:
        self._ways: dict[str, list[tuple[str, _Way]]] = {target.node: [] for target in targets}
        for balancer in (node.name for node in self.testbed.topology.role("balancer")):
            now_ns = self.testbed.recorder.timeline.span[1]
            haproxy = haproxy_at(self.testbed.recorder.timeline, balancer, now_ns)
            keepalived = keepalived_at(self.testbed.recorder.timeline, balancer, now_ns)
            for node, ways in self._ways.items():
                if haproxy is not None:
                    ways += [(balancer, way) for way in self._by_haproxy(balancer, haproxy, node)]
                elif keepalived is not None and keepalived.virtual_servers:
                    ways += [(balancer, way) for way in self._by_weight(balancer, keepalived, node)]
                else:
                    raise UsageError(
                        f"{self.name}: {balancer} runs no HAProxy and no virtual server of keepalived's "
                        "whose configuration is known, and only these can be told to drain a member while "
                        "they run"
                    )
        for node, ways in self._ways.items():
            if not ways:
                raise UsageError(f"{self.name}: {node} is no server of any balancer")

    def _addresses(self, node: str) -> set[str]:
        interfaces = self.testbed.topology.node(node).interfaces
        return {address.partition("/")[0] for i in interfaces for address in i.addresses}

    def _by_haproxy(self, balancer: str, config: HaproxyConfig, node: str) -> list[_Way]:
        """The ways by the servers, as (backend, server), that are this node."""
        path = admin_socket(config)
        if not path:
            raise UsageError(
                f"{self.name}: {config.path} of {balancer} has no `stats socket PATH level admin`"
            )
        own = self._addresses(node)
        return [
            _ByHaproxy(self.testbed, balancer, path, (proxy.name, server.name))
            for proxy in config.proxies
            for server in proxy.servers
            if server.address in own
        ]

    def _by_weight(self, balancer: str, config: KeepalivedConfig, node: str) -> list[_Way]:
        found = ipvs_admin.places(config, self._addresses(node))
        return [_ByWeight(self.testbed, balancer, place) for place in found]

    def _ways_of(self, target: Target) -> list[_Way]:
        """Those by balancers that are up."""
        return [way for balancer, way in self._ways[target.node] if self.testbed.node(balancer).alive]

    def _act(self, target: Target) -> None:
        for way in self._ways_of(target):
            if objection := way.drain():
                raise self._fails(objection)

    def _verify(self, target: Target) -> None:
        if not all(way.drains() for way in self._ways_of(target)):
            raise self._fails("a balancer does not say that it drains")

    def _heal(self, target: Target) -> None:
        for way in self._ways_of(target):
            if objection := way.ready():
                raise self._fails(objection)

    def _verify_healed(self, target: Target) -> None:
        if any(way.drains() for way in self._ways_of(target)):
            raise self._fails("a balancer still drains it")
