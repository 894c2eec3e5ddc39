"""Filters on the way: a firewall that forgot VRRP's protocol, a cloud that lets nobody have a VIP."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import ClassVar

from harness.fabric.rules import Rule
from harness.faults.link import DIRECTION, RuleFault
from harness.faults.parameters import Parameter
from harness.faults.target import Target, ports_of


class VrrpDrop(RuleFault):
    """VRRP (IP protocol 112, IPv4 and IPv6) is dropped at a node's link, everything else passes."""

    name = "vrrp-drop"
    parameters: ClassVar[tuple[Parameter, ...]] = (DIRECTION,)

    def _rules(self, target: Target) -> list[Rule]:
        return self._drop("meta l4proto 112", target, self.values["direction"])


class PortSecurity(RuleFault):
    """The network lets a node send from its own addresses only (as clouds do): a VIP is of no use there."""

    name = "port-security"

    def _rules(self, target: Target) -> list[Rule]:
        made = []
        for port in ports_of(self.testbed, target):
            interfaces = self.testbed.topology.node(port.node).interfaces
            own = [ip_interface(a).ip for i in interfaces if i.name == port.interface for a in i.addresses]
            for version, fields in _SENDER_FIELDS.items():
                addresses = ", ".join(str(address) for address in own if address.version == version)
                for sender in fields if addresses else ():
                    match = f"{sender} != {{ {addresses} }}"
                    made.append(self.testbed.fabric.rules.drop(match, source=port))
        return made


_SENDER_FIELDS = {4: ("ip saddr", "arp saddr ip"), 6: ("ip6 saddr",)}
