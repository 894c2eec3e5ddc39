"""Addresses taken away behind the back of who put them there."""

from __future__ import annotations

import json
from functools import partial
from ipaddress import ip_address, ip_interface
from typing import Any, ClassVar

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target

_PATIENCE_S = 5.0


class AddressRemoved(Fault):
    """An address vanishes from its interface, as by a network manager; healed by giving it back.

    Without `address` it is every VIP that the node has.  It is given back as it was, unless by then some
    node has it: the one that should, or the one that took it over.  So is what the kernel takes along: the
    other addresses of a subnet with its first one (ip-sysctl.rst, `promote_secondaries`), and an interface's
    routes with its last address.
    """

    name = "address-removed"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("address", "", "the address, without a prefix; without one: the VIPs on the node"),
    )
    ends_with_node = True

    def _prepare(self, targets: list[Target]) -> None:
        self._taken: dict[Target, list[list[str]]] = {}
        self._before: dict[Target, tuple[list[list[str]], list[list[str]]]] = {}
        wanted = self._wanted()
        for target in targets:
            before = self._described(target.node)
            found = [
                words
                for words in before
                if ip_interface(words[0]).ip in wanted and target.interface in {"", words[-1]}
            ]
            if not found:
                raise UsageError(f"{target} has not the address {' or '.join(map(str, wanted))}")
            self._taken[target] = found
            self._before[target] = before, self._routes(target)
        self._lost = dict(self._taken)
        self._lost_routes: dict[Target, list[list[str]]] = {}

    def _wanted(self) -> set[Any]:
        text = self.values["address"]
        try:
            return {ip_address(text)} if text else {ip_address(v.address) for v in self.testbed.topology.vips}
        except ValueError:
            raise UsageError(f"address of the fault {self.name} takes an IP address, not {text!r}") from None

    def _addresses(self, node: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.testbed.node(node).run(["ip", "-json", "address", "show"])
        )
        return found

    def _described(self, node: str) -> list[list[str]]:
        return [
            _described(interface["ifname"], info)
            for interface in self._addresses(node)
            for info in interface["addr_info"]
        ]

    def _routes(self, target: Target) -> list[list[str]]:
        """The IPv4 routes by the interfaces concerned, but for those that come with an address."""
        found: list[list[str]] = []
        for interface in dict.fromkeys(words[-1] for words in self._taken[target]):
            told = self.testbed.node(target.node).run(["ip", "-4", "route", "show", "dev", interface])
            routes = [line.split() for line in told.splitlines() if "proto kernel" not in line]
            found += [[word for word in r if word != "linkdown"] + ["dev", interface] for r in routes]
        # First those by which the others' gateways may be reached.
        return sorted(found, key=lambda words: "via" in words)

    def _act(self, target: Target) -> None:
        taken, (addresses, routes) = self._taken[target], self._before[target]
        for number, words in enumerate(taken):
            # By now it may have gone with one before it.
            if number == 0 or words in self._described(target.node):
                self.testbed.node(target.node).run(["ip", "address", "del", words[0], *words[-2:]])
        left, routes_left = self._described(target.node), self._routes(target)
        self._lost[target] = [words for words in addresses if words in taken or words not in left]
        self._lost_routes[target] = [words for words in routes if words not in routes_left]

    def _verify(self, target: Target) -> None:
        # Whoever put it there may have put it back already, so what is looked for is that it went.
        for words in self._taken[target]:
            told = partial(self._told, target.node, words[0])
            self.testbed.recorder.wait(told, _PATIENCE_S, f"{words[0]} gone from {target.node}")

    def _told(self, node: str, address: str) -> bool:
        timeline = self.testbed.recorder.timeline
        gone = timeline.first("address", node=node, address=address, change="del", since=self.injected_ns)
        return gone is not None

    def _heal(self, target: Target) -> None:
        owned = {
            info["local"]
            for name, node in self.testbed.nodes.items()
            if node.alive
            for interface in self._addresses(name)
            for info in interface["addr_info"]
        }
        node = self.testbed.node(target.node)
        for words in self._lost[target]:
            if str(ip_interface(words[0]).ip) not in owned:
                # Its daemon may put it back at this very moment, which is as good.
                node.run(["ip", "address", "replace", *words])
        there = self._routes(target)
        for words in self._lost_routes.get(target, []):
            if words not in there:
                node.run(["ip", "route", "append", *words])


def _described(interface: str, info: dict[str, Any]) -> list[str]:
    """What ip-address(8) needs to make this address again; the address first, the device last."""
    words = [f"{info['local']}/{info['prefixlen']}"]
    for key in ("broadcast", "label"):
        # A label that is the interface's own name is none (and IPv6 has none at all).
        if key in info and info[key] != interface:
            words += [key, info[key]]
    words += ["scope", info["scope"]]
    if info["family"] == "inet6":
        words.append("nodad")
    return [*words, "dev", interface]
