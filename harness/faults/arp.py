"""Faults of address resolution: announcements that nobody hears, and announcements that lie."""

from __future__ import annotations

from functools import partial
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError
from harness.fabric.rules import Rule
from harness.faults.base import Fault
from harness.faults.link import RuleFault
from harness.faults.parameters import Parameter
from harness.faults.target import Target, ports_of

if TYPE_CHECKING:
    from ipaddress import IPv6Address

    from harness.fabric.fabric import Port
    from harness.nodes.process import Process
    from harness.testbed import Testbed

_PATIENCE_S = 5.0
_ADDRESS = Parameter("address", "", "the address; without one: every VIP")


def _addresses(testbed: Testbed, fault: str, text: str) -> list[IPv4Address | IPv6Address]:
    try:
        given = [text] if text else [vip.address for vip in testbed.topology.vips]
        return list(dict.fromkeys(ip_address(address) for address in given))
    except ValueError:
        raise UsageError(f"address of the fault {fault} takes an IP address, not {text!r}") from None


class GarpDrop(RuleFault):
    """Gratuitous ARP (IPv6: unsolicited neighbour advertisements) for the VIP does not reach a node.

    Whoever sends it.  What a node asks for itself is answered as ever.
    """

    name = "garp-drop"
    default_target = "clients+routers"
    parameters: ClassVar[tuple[Parameter, ...]] = (_ADDRESS,)

    def _aim(self) -> list[Target]:
        if self.asked == self.default_target:
            self.asked = "+".join(
                node.name for node in self.testbed.topology.nodes if node.role in {"client", "router"}
            )
        return super()._aim()

    def _rules(self, target: Target) -> list[Rule]:
        drop = self.testbed.fabric.rules.drop
        return [
            drop(_announcement(address), destination=port)
            for port in ports_of(self.testbed, target)
            for address in _addresses(self.testbed, self.name, self.values["address"])
        ]


def _announcement(address: IPv4Address | IPv6Address) -> str:
    """What matches an announcement that nobody asked for (RFC 5227 section 3, RFC 4861 section 4.4)."""
    if address.version == 4:
        return f"arp saddr ip {address} arp daddr ip {address}"
    return f"icmpv6 type nd-neighbor-advert icmpv6 taddr {address} @th,33,1 0"


class ArpSpoof(Fault):
    """Somebody else claims the VIP: a node announces its own MAC address for it, again and again.

    Healed by silence: what neighbours have learned they keep until they learn better.
    """

    name = "arp-spoof"
    default_target = "member"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _ADDRESS,
        Parameter("every_s", 1.0, "the pause between announcements, in seconds", low=0.01, high=3600),
    )
    ends_with_node = True

    def _prepare(self, targets: list[Target]) -> None:
        found = _addresses(self.testbed, self.name, self.values["address"])
        self._claimed = [address for address in found if address.version == 4]
        if not self._claimed:
            raise UsageError(f"the fault {self.name} needs an IPv4 address to claim")
        self._liars: dict[Target, Process] = {}

    def _port(self, target: Target) -> Port:
        """The interface that it names, or the one on whose network the address is, or the first."""
        ports = ports_of(self.testbed, target)
        return ports[0]

    def _act(self, target: Target) -> None:
        port = self._port(target)
        config = {
            "interface": port.interface,
            "mac": port.mac,
            "addresses": [str(address) for address in self._claimed],
            "every_s": self.values["every_s"],
        }
        node = self.testbed.node(target.node)
        liar = node.spawn_agent(f"spoof-{self.id}", "harness.faults.arp_agent", config)
        self.testbed.recorder.attach(liar)
        self._liars[target] = liar

    def _verify(self, target: Target) -> None:
        mac = self._port(target).mac
        for address in self._claimed:
            seen = partial(self._seen, mac, str(address))
            self.testbed.recorder.wait(seen, _PATIENCE_S, f"{target} claiming {address} on the wire")

    def _seen(self, mac: str, address: str) -> bool:
        lie = self.testbed.recorder.timeline.first(
            "arp", sender_mac=mac, sender_ip=address, since=self.injected_ns
        )
        return lie is not None

    def _heal(self, target: Target) -> None:
        liar = self._liars.get(target)
        if liar is None:  # it could not be started
            return
        liar.close_commands()
        recorder = self.testbed.recorder
        recorder.wait(lambda: liar.reap() is not None, _PATIENCE_S, f"the end of {liar}")
        recorder.detach(liar)
