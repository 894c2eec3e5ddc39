"""Who is where: segments, the balancers' own addresses, members, a client on every segment with a VIP.

unicast_src_ip, unicast_peer, the prefixes of virtual addresses and the servers' addresses say most of it;
what nothing says is assumed, and told.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from harness.errors import UsageError
from harness.lb.estate import Estate, literal
from harness.lb.settings import Settings

Address = IPv4Address | IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Port = tuple[str, str]
"""A node and its interface."""

_USUAL_PREFIX = {4: 24, 6: 64}


@dataclass(eq=False)
class Wire:
    """A segment: the balancers' interfaces on it, its networks, and what is taken of them."""

    name: str
    ports: list[Port]
    networks: list[Network] = field(default_factory=list)
    carries_vips: bool = False

    def network_of(self, address: str) -> Network | None:
        """Its network that an address belongs to."""
        found = ipaddress.ip_address(address)
        return next((n for n in self.networks if n.version == found.version and found in n), None)


@dataclass
class Plan:
    """The whole network. `own` are CIDRs of balancers' interfaces; `members` name, CIDR, segment by address.

    `routed` are segments behind the router, which the balancers have no interface on.
    """

    wires: list[Wire]
    own: dict[Port, list[str]] = field(default_factory=dict)
    members: dict[str, tuple[str, str, Wire]] = field(default_factory=dict)
    routed: list[Wire] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    _taken: set[Address] = field(default_factory=set)

    def wire_of(self, port: Port) -> Wire:
        """The segment of an interface."""
        return next(wire for wire in self.wires if port in wire.ports)

    def free(self, network: Network) -> str:
        """An address of a network that nobody has, from its upper end, in CIDR form; it is taken then."""
        for number in range(network.num_addresses - 2, 0, -1):
            if network[number] not in self._taken:
                self._taken.add(network[number])
                return f"{network[number]}/{network.prefixlen}"
        raise UsageError(f"no address is free in {network}: a testbed needs some for clients and routers")

    def take(self, address: str) -> None:
        """Let nobody else have an address."""
        self._taken.add(ipaddress.ip_address(address))


def lay_out(estate: Estate, settings: Settings) -> Plan:
    """The network of these balancers; raises UsageError where there cannot be one."""
    plan = Plan(_wires(estate))
    for address in _mentioned(estate, settings):
        plan.take(address)
    for wire in plan.wires:
        wire.networks = _networks(wire, estate, settings, plan)
    for wire in plan.wires:
        _own_addresses(wire, estate, settings, plan)
    _members(estate, plan)
    return plan


def _mentioned(estate: Estate, settings: Settings) -> Iterator[str]:
    """Every address that the files speak of: none of them may become somebody else's."""
    yield from (address.address for address, _ in estate.addresses())
    for speaker in estate.speakers:
        yield from (
            a for a in (speaker.instance.source_address, *speaker.instance.unicast_peers) if literal(a)
        )
    for front in estate.fronts:
        yield from (b.address for b in front.backends if literal(b.address))
    for interfaces in settings.interfaces.values():
        yield from (cidr.partition("/")[0] for cidr in interfaces.values())


# -- segments ---------------------------------------------------------------------------------------


def _wires(estate: Estate) -> list[Wire]:
    """Interfaces that speak for one virtual router share a segment; others of one name are taken to."""
    ports: dict[Port, set[object]] = {}
    for speaker in estate.speakers:
        instance = speaker.instance
        if not instance.interface:
            raise UsageError(f"{instance.where}: vrrp_instance {instance.name} names no interface")
        key = ("vrrp", instance.vrid, instance.family)
        ports.setdefault((speaker.node, instance.interface), set()).add(key)
        others = [t.name for t in instance.tracks if t.kind == "interface"]
        others += [a.device for a in instance.addresses if a.device]
        for name in others:
            if name != "lo" and (speaker.node, name) not in ports:
                ports[speaker.node, name] = {("name", name)}
    groups: list[tuple[set[object], list[Port]]] = []
    for port, keys in ports.items():
        touched = [group for group in groups if group[0] & keys]
        merged = (set(keys).union(*(g[0] for g in touched)), [*(p for g in touched for p in g[1]), port])
        groups = [group for group in groups if group not in touched] + [merged]
    names = ["lan", *(f"lan{number}" for number in range(2, len(groups) + 1))]
    return [Wire(name, members) for name, (_, members) in zip(names, groups, strict=False)]


def _networks(wire: Wire, estate: Estate, settings: Settings, plan: Plan) -> list[Network]:
    """The networks of a segment, one for each family that is spoken there."""
    found: list[Network] = []
    bare: list[str] = []
    for node, name in wire.ports:
        if given := settings.interfaces.get(node, {}).get(name):
            found.append(ipaddress.ip_interface(given).network)
    for address, speaker in estate.addresses():
        if (speaker.node, address.device or speaker.instance.interface) in wire.ports:
            wire.carries_vips = True
            whole = 32 if address.family == 4 else 128
            if address.prefix < whole:
                found.append(ipaddress.ip_interface(str(address)).network)
            else:
                bare.append(address.address)
    bare += [
        s.instance.source_address
        for s in estate.speakers
        if s.instance.source_address and (s.node, s.instance.interface) in wire.ports
    ]
    networks = list(dict.fromkeys(found))
    for text in bare:
        known = ipaddress.ip_address(text)
        if not any(n.version == known.version and known in n for n in networks):
            guess = ipaddress.ip_interface(f"{text}/{_USUAL_PREFIX[known.version]}").network
            networks.append(guess)
            plan.assumed.append(f"{wire.name} is {guess}, as nothing tells the prefix of {text}")
    return networks


# -- balancers --------------------------------------------------------------------------------------


def _own_addresses(wire: Wire, estate: Estate, settings: Settings, plan: Plan) -> None:
    for port in wire.ports:
        node, name = port
        if given := settings.interfaces.get(node, {}).get(name):
            plan.own.setdefault(port, []).append(given)
    for network in wire.networks:
        lacking = [p for p in wire.ports if not _has(plan, p, network.version)]
        for port in list(lacking):
            if source := _source(estate, port, network):
                plan.own.setdefault(port, []).append(f"{source}/{network.prefixlen}")
                lacking.remove(port)
        peers = _peers(estate, wire, network, plan)
        for port in lacking:
            if peers:
                cidr = f"{peers.pop(0)}/{network.prefixlen}"
                if peers or len(lacking) > 1:
                    plan.assumed.append(f"{port[0]}:{port[1]} has {cidr}, one of its peers' unicast_peer")
            else:
                cidr = plan.free(network)
                plan.assumed.append(f"{port[0]}:{port[1]} has {cidr}, as no unicast_src_ip tells")
            plan.own.setdefault(port, []).append(cidr)


def _has(plan: Plan, port: Port, family: int) -> bool:
    return any(ipaddress.ip_interface(cidr).version == family for cidr in plan.own.get(port, ()))


def _source(estate: Estate, port: Port, network: Network) -> str:
    for speaker in estate.speakers:
        if (speaker.node, speaker.instance.interface) == port and (source := speaker.instance.source_address):
            address = ipaddress.ip_address(source)
            if address.version == network.version and address in network:
                return source
    return ""


def _peers(estate: Estate, wire: Wire, network: Network, plan: Plan) -> list[str]:
    """The addresses of unicast_peer that no balancer of this segment has yet."""
    had = {cidr.partition("/")[0] for port in wire.ports for cidr in plan.own.get(port, ())}
    peers = [
        peer
        for s in estate.speakers
        if (s.node, s.instance.interface) in wire.ports
        for peer in s.instance.unicast_peers
        if literal(peer) and ipaddress.ip_address(peer) in network
    ]
    return [peer for peer in dict.fromkeys(peers) if peer not in had]


# -- members ----------------------------------------------------------------------------------------


def _members(estate: Estate, plan: Plan) -> None:
    ours = {cidr.partition("/")[0] for cidrs in plan.own.values() for cidr in cidrs}
    ours |= {address.address for address, _ in estate.addresses()}
    names = set(estate.nodes)
    for front in estate.fronts:
        for backend in front.backends:
            address = backend.address
            if address in plan.members or address in ours or not address or "/" in address:
                continue
            if literal(address) and ipaddress.ip_address(address).is_loopback:
                continue
            wire, cidr = _place(plan, address)
            name = _name(backend.name if literal(address) else address, names, len(plan.members) + 1)
            names.add(name)
            plan.members[address] = (name, cidr, wire)


def _place(plan: Plan, address: str) -> tuple[Wire, str]:
    """The segment of a member and its address there; a new segment behind a router, where there is none."""
    if not literal(address):
        home = next((wire for wire in plan.wires if wire.networks), None)
        if home is None:
            raise UsageError(
                f"the server {address} has no address, and no network is known to give it one of"
            )
        cidr = plan.free(home.networks[0])
        plan.assumed.append(f"{address} resolves to {cidr.partition('/')[0]}")
        return home, cidr
    for wire in [*plan.wires, *plan.routed]:
        if network := wire.network_of(address):
            return wire, f"{address}/{network.prefixlen}"
    family = ipaddress.ip_address(address).version
    network = ipaddress.ip_interface(f"{address}/{_USUAL_PREFIX[family]}").network
    wire = Wire(f"far{len(plan.routed) + 1}", [], [network])
    plan.routed.append(wire)
    plan.assumed.append(f"{network} is behind a router, as no balancer is known to have an interface there")
    return wire, f"{address}/{network.prefixlen}"


def _name(wished: str, taken: set[str], number: int) -> str:
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in wished).strip("-.")[:60]
    return safe if safe and safe not in taken else f"member{number}"
