"""What a fault aims at: a node, a role, a service on a node, an interface of a node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import TestbedError, UsageError, one_of

if TYPE_CHECKING:
    from harness.testbed import Testbed

_ROLES = ("active", "standby", "member")


@dataclass(frozen=True)
class Target:
    """A node, perhaps with a service on it or an interface of it."""

    node: str
    service: str = ""
    interface: str = ""

    def __str__(self) -> str:
        return (
            self.node
            + (f"/{self.service}" if self.service else "")
            + (f":{self.interface}" if self.interface else "")
        )


def resolve(testbed: Testbed, text: str, default_service: dict[str, str]) -> Target:
    """`lb1`, `lb1/haproxy`, `lb1:eth0`, `active`, `standby`, `member`, `active/haproxy`.

    `default_service` gives the service to hit, by the node's role, where the text names none.
    Raises UsageError naming the known nodes, roles, services.
    """
    rest, _, interface = text.partition(":")
    place, _, service = rest.partition("/")
    node = _node(testbed, place)
    spec = testbed.topology.node(node)
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


def _node(testbed: Testbed, place: str) -> str:
    if place == "active":
        return testbed.active()
    if place == "standby":
        active = testbed.active()
        others = [n.name for n in testbed.topology.role("balancer") if n.name != active]
        if not others:
            raise TestbedError("there is no standby balancer: the topology has only one")
        return others[0]
    if place == "member":
        return testbed.topology.role("member")[0].name
    names = [node.name for node in testbed.topology.nodes]
    if place not in names:
        raise one_of("target", place, [*_ROLES, *names])
    return place
