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
    node has it: the one that should, or the one that took it over.
    """

    name = "address-removed"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("address", "", "the address, without a prefix; without one: the VIPs on the node"),
    )
    ends_with_node = True

    def _prepare(self, targets: list[Target]) -> None:
        self._taken: dict[Target, list[list[str]]] = {}
        for target in targets:
            wanted = self._wanted()
            found = [
                _described(interface["ifname"], info)
                for interface in self._addresses(target.node)
                for info in interface["addr_info"]
                if ip_address(info["local"]) in wanted and target.interface in {"", interface["ifname"]}
            ]
            if not found:
                raise UsageError(f"{target} has not the address {' or '.join(map(str, wanted))}")
            self._taken[target] = found

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

    def _act(self, target: Target) -> None:
        for words in self._taken[target]:
            self.testbed.node(target.node).run(["ip", "address", "del", words[0], *words[-2:]])

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
        for words in self._taken[target]:
            if str(ip_interface(words[0]).ip) not in owned:
                # Its daemon may put it back at this very moment, which is as good.
                self.testbed.node(target.node).run(["ip", "address", "replace", *words])


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
