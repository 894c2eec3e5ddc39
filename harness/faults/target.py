"""What a fault aims at: a node, a role, a service on a node, an interface of a node, a segment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import UsageError, one_of

if TYPE_CHECKING:
    from harness.fabric.fabric import Port
    from harness.testbed import Testbed
    from harness.topology import NodeSpec, Topology

# One node of a kind, and all nodes of a kind.
ONE = ("active", "standby", "member", "client", "router")
ALL = {"balancers": "balancer", "members": "member", "clients": "client", "routers": "router"}


@dataclass(frozen=True)
class Target:
    """A node, perhaps with a service on it or an interface of it; or a segment."""

    node: str
    service: str = ""
    interface: str = ""
    segment: str = ""

    def __str__(self) -> str:
        return (
            (self.segment or self.node)
            + (f"/{self.service}" if self.service else "")
            + (f":{self.interface}" if self.interface else "")
        )


def resolve(testbed: Testbed, text: str, default_service: Mapping[str, str]) -> list[Target]:
    """`lb1`, `lb1/haproxy`, `lb1:eth0`, `active`, `members`, `active/haproxy`, several joined by `+`.

    `default_service` gives the service to hit, by the node's role, where the text names none.
    Raises UsageError naming the known nodes, roles, services.
    """
    return _resolve(testbed.topology, testbed.active, text, default_service)


def check(topology: Topology, text: str, default_service: Mapping[str, str]) -> None:
    """Raise UsageError for a target that no testbed of this topology can have; nothing has to run."""

    def first() -> str:
        return next((node.name for node in topology.role("balancer")), topology.nodes[0].name)

    _resolve(topology, first, text, default_service)


def _resolve(
    topology: Topology, active: Callable[[], str], text: str, default_service: Mapping[str, str]
) -> list[Target]:
    found: list[Target] = []
    for part in text.split("+"):
        rest, _, interface = part.partition(":")
        place, _, service = rest.partition("/")
        for node in _nodes(topology, active, place):
            target = _complete(topology.node(node), service, interface, default_service)
            if target not in found:
                found.append(target)
    return found


def nodes_of(testbed: Testbed, text: str) -> list[str]:
    """The nodes that `text` names (`lb1+clients`); raises UsageError naming the known nodes and roles."""
    return [target.node for target in resolve(testbed, text, {})]


def ports_of(testbed: Testbed, target: Target) -> list[Port]:
    """The ports that a target means: the interface that it names, or all of the node's."""
    fabric = testbed.fabric
    return [fabric.port(target.node, target.interface)] if target.interface else fabric.ports_of(target.node)


def _complete(spec: NodeSpec, service: str, interface: str, default_service: Mapping[str, str]) -> Target:
    node = spec.name
    if interface and interface not in (known := [i.name for i in spec.interfaces]):
        raise one_of(f"interface of {node}", interface, known)
    services = [s.name for s in spec.services]
    if not service and default_service:
        service = default_service.get(spec.role, services[0] if services else "")
        if service not in services:
            raise UsageError(
                f"{node} runs no {service or 'service'}; it runs: {', '.join(services) or 'nothing'}"
            )
    if service and service not in services:
        raise one_of(f"service on {node}", service, services)
    return Target(node, service, interface)


def _nodes(topology: Topology, active: Callable[[], str], place: str) -> list[str]:
    names = [node.name for node in topology.nodes]
    if place in names:
        return [place]
    if place == "active":
        return [active()]
    if place == "standby":
        owner = active()
        found = [n.name for n in topology.role("balancer") if n.name != owner][:1]
    elif place == "member":
        found = [n.name for n in topology.role("member")][:1]
    elif place == "client":
        found = [n.name for n in topology.role("client")][:1]
    elif place == "router":
        found = [n.name for n in topology.role("router")][:1]
    elif place in ALL:
        role = ALL[place]
        found = [node.name for node in topology.nodes if node.role == role]
    else:
        raise one_of("target", place, [*ONE, *ALL, *names])
    if not found:
        raise UsageError(f"{topology.architecture} has no {place}")
    return found
