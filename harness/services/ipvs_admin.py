"""The IPVS table as ipvsadm(8) reads and changes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import TestbedError

if TYPE_CHECKING:
    from harness.configs.keepalived_model import KeepalivedConfig
    from harness.nodes.base import Node

_METHODS = {"NAT": "--masquerading", "DR": "--gatewaying", "TUN": "--ipip"}
_PROTOCOLS = {"TCP": "--tcp-service", "UDP": "--udp-service", "SCTP": "--sctp-service"}


@dataclass(frozen=True)
class Place:
    """A member's place in a table: of which virtual server, with which method and weight."""

    service: tuple[str, ...]
    member: str
    method: str
    weight: int

    def weighing(self, weight: int) -> Place:
        """The same place with another weight."""
        return replace(self, weight=weight)


def places(config: KeepalivedConfig, addresses: set[str]) -> Iterator[Place]:
    """The places that keepalived's configuration gives a node with these addresses."""
    for virtual in config.virtual_servers:
        if virtual.fwmark:
            service: tuple[str, ...] = ("--fwmark-service", str(virtual.fwmark))
        elif virtual.address:
            service = (_PROTOCOLS[virtual.protocol], f"{virtual.address}:{virtual.port}")
        else:
            continue
        for real in virtual.real_servers:
            if real.address in addresses:
                yield Place(service, f"{real.address}:{real.port}", real.forwarding, real.weight)


def weigh(node: Node, place: Place) -> None:
    """Give a member its weight; raises TestbedError in ipvsadm's words."""
    command = ["ipvsadm", "--edit-server", *place.service, "--real-server", place.member]
    command += [_METHODS[place.method], "--weight", str(place.weight)]
    done = node.status(command)
    if not done.ok:
        raise TestbedError(f"{node.name}: {' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")


def weight(node: Node, place: Place) -> int | None:
    """A member's weight as the table has it, or None where it is not there."""
    said = node.run(["ipvsadm", "--save", "--numeric"])
    for line in said.splitlines():
        words = line.split()
        short = [word[0] + word[1:2] if word.startswith("-") else word for word in words]
        if words[:1] == ["-a"] and place.member in words and place.service[1] in words and "-w" in short:
            return int(words[short.index("-w") + 1])
    return None
