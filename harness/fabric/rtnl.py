"""The requests of rtnetlink(7) that a fabric is made of: bridges, veth pairs, addresses, routes."""

from __future__ import annotations

import _socket as socket  # what `socket` wraps, without its import of `enum` and `selectors`
import struct

from harness.fabric.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Request, attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ipaddress

    Address = ipaddress.IPv4Interface | ipaddress.IPv6Interface

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWQDISC, RTM_DELQDISC = 36, 37

RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x4, 0x10, 0x100

IFF_UP, IFF_RUNNING, IFF_LOWER_UP = 0x1, 0x40, 0x10000
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_OPERSTATE, IFLA_LINKINFO = 1, 3, 4, 10, 16, 18
IFLA_IFALIAS, IFLA_NET_NS_FD, IFLA_AF_SPEC, IFLA_PROTINFO, IFLA_CARRIER = 20, 28, 26, 12, 33
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_BRPORT_STATE, _IFLA_BRPORT_LEARNING, _IFLA_BRPORT_FLUSH = 1, 8, 24
_IFLA_BR_FORWARD_DELAY, _IFLA_BR_STP_STATE, _IFLA_BR_MCAST_SNOOPING = 1, 5, 23
_NESTED = 0x8000

_DORMANT, _OPERATIONAL = 5, 6
BR_DISABLED, BR_LISTENING, BR_LEARNING, BR_FORWARDING, BR_BLOCKING = range(5)

IFA_ADDRESS, IFA_LOCAL = 1, 2
_IFA_F_NODAD = 0x02
_NDA_DST, _NDA_LLADDR = 1, 2
# Neighbours that have no hardware address yet, or none any more; and those that need none.
_NUD_INCOMPLETE, _NUD_FAILED, _NUD_NOARP = 0x01, 0x20, 0x40

_INFO = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_ROUTE = struct.Struct("=BBBBBBBBI")


def mac_bytes(mac: str) -> bytes:
    """`02:00:00:00:00:01` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def _info(index: int = 0, up: bool | None = None, family: int = 0) -> bytes:
    flags, change = (0, 0) if up is None else (IFF_UP if up else 0, IFF_UP)
    return _INFO.pack(family, 0, index, flags, change)


def bridge(name: str, index: int, mtu: int) -> Request:
    """Create a bridge that forwards at once: no spanning tree, no delay, no multicast snooping."""
    data = (
        attribute(_IFLA_BR_FORWARD_DELAY, 0)
        + attribute(_IFLA_BR_STP_STATE, 0)
        + attribute(_IFLA_BR_MCAST_SNOOPING, b"\0")
    )
    info = attribute(_IFLA_INFO_KIND, "bridge") + attribute(_IFLA_INFO_DATA | _NESTED, data)
    body = _info(index, up=True) + attribute(IFLA_IFNAME, name) + attribute(IFLA_MTU, mtu)
    return Request(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        body + attribute(IFLA_LINKINFO | _NESTED, info),
        f"create segment {name}",
    )


def veth_port(
    name: str,
    index: int,
    master: int,
    mtu: int,
    alias: str,
    peer: str,
    peer_index: int,
    peer_ns: int,
    peer_mac: str,
) -> Request:
    """Create a veth pair: one end a port of a bridge here, up, the other `peer` in `peer_ns`, down.

    (A veth cannot come up before its pair is complete, so the far end is for its owner to raise.)

    The two ends get different interface indexes: with equal ones the first packet can wait for
    most of a second for the kernel's link watch.
    """
    peer_body = (
        _info(peer_index)
        + attribute(IFLA_IFNAME, peer)
        + attribute(IFLA_MTU, mtu)
        + attribute(IFLA_ADDRESS, mac_bytes(peer_mac))
        + attribute(IFLA_NET_NS_FD, peer_ns)
    )
    info = attribute(_IFLA_INFO_KIND, "veth") + attribute(
        _IFLA_INFO_DATA | _NESTED, attribute(_VETH_INFO_PEER | _NESTED, peer_body)
    )
    body = (
        _info(index, up=True)
        + attribute(IFLA_IFNAME, name)
        + attribute(IFLA_MTU, mtu)
        + attribute(IFLA_MASTER, master)
        + attribute(IFLA_IFALIAS, alias)
    )
    return Request(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        body + attribute(IFLA_LINKINFO | _NESTED, info),
        f"connect {alias}",
    )


def veth_here(name: str, index: int, peer: str, peer_index: int, mtu: int, what: str) -> list[Request]:
    """Create a veth pair with both ends in this namespace, up, ports of nothing."""
    ends = [
        _info(number) + attribute(IFLA_IFNAME, end) + attribute(IFLA_MTU, mtu)
        for end, number in ((name, index), (peer, peer_index))
    ]
    info = attribute(_IFLA_INFO_KIND, "veth") + attribute(
        _IFLA_INFO_DATA | _NESTED, attribute(_VETH_INFO_PEER | _NESTED, ends[1])
    )
    create = Request(
        RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ends[0] + attribute(IFLA_LINKINFO | _NESTED, info), what
    )
    return [create, set_link(index, what, up=True), set_link(peer_index, what, up=True)]


def set_link(index: int, what: str, up: bool | None = None, mtu: int | None = None) -> Request:
    """Change a link's administrative state or MTU."""
    body = _info(index, up=up)
    if mtu is not None:
        body += attribute(IFLA_MTU, mtu)
    return Request(RTM_NEWLINK, 0, body, what)


def dress(index: int, what: str, *, name: str = "", mac: str = "", mtu: int = 0) -> Request:
    """Give a link that is down another name, address or MTU."""
    body = _info(index)
    if name:
        body += attribute(IFLA_IFNAME, name)
    if mac:
        body += attribute(IFLA_ADDRESS, mac_bytes(mac))
    if mtu:
        body += attribute(IFLA_MTU, mtu)
    return Request(RTM_NEWLINK, 0, body, what)


def set_operational(index: int, up: bool, what: str) -> Request:
    """Say of a link whose driver has no carrier to tell of whether it works (RFC 2863 section 3.1.12).

    Without, it is dormant: up by its owner's will, but not running (IFF_RUNNING of netdevice(7)).
    """
    state = _OPERATIONAL if up else _DORMANT
    return Request(RTM_NEWLINK, 0, _info(index) + attribute(IFLA_OPERSTATE, bytes([state])), what)


def set_master(index: int, master: int, what: str) -> Request:
    """Make a link a port of a bridge, or, with 0, of none; what a bridge learned of the port is forgotten."""
    return Request(RTM_NEWLINK, 0, _info(index) + attribute(IFLA_MASTER, master), what)


def traffic_control(index: int, parent: int) -> bytes:
    """The head of a message about a link's queueing discipline (struct tcmsg)."""
    return struct.pack("=BxxxiIII", 0, index, 0, parent, 0)


def forget_port(index: int, what: str) -> Request:
    """Let a bridge send to a port by flooding only: what it learned is forgotten, and it learns no more."""
    words = attribute(_IFLA_BRPORT_LEARNING, b"\0") + attribute(_IFLA_BRPORT_FLUSH, b"\1")
    protocol = attribute(IFLA_PROTINFO | _NESTED, words)
    return Request(RTM_SETLINK, 0, _info(index, family=socket.AF_BRIDGE) + protocol, what)


def delete_link(index: int, what: str) -> Request:
    """Remove a link; a veth takes its peer with it."""
    return Request(RTM_DELLINK, 0, _info(index), what)


def port_state(index: int, state: int, what: str) -> Request:
    """Set a bridge port's spanning-tree state: anything but forwarding is silent, and carrier stays."""
    protocol = attribute(IFLA_PROTINFO | _NESTED, attribute(_IFLA_BRPORT_STATE, bytes([state])))
    return Request(RTM_SETLINK, 0, _info(index, family=socket.AF_BRIDGE) + protocol, what)


def add_address(index: int, address: Address, what: str) -> Request:
    """Add an address; duplicate address detection is off, or IPv6 would wait a second."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _ADDRESS.pack(family, address.network.prefixlen, _IFA_F_NODAD, 0, index)
    body += attribute(IFA_LOCAL, address.ip.packed) + attribute(IFA_ADDRESS, address.ip.packed)
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def delete_address(index: int, address: Address, what: str) -> Request:
    """Remove an address."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _ADDRESS.pack(family, address.network.prefixlen, 0, 0, index)
    body += attribute(IFA_LOCAL, address.ip.packed) + attribute(IFA_ADDRESS, address.ip.packed)
    return Request(RTM_DELADDR, 0, body, what)


def add_route(
    destination: ipaddress.IPv4Network | ipaddress.IPv6Network,
    gateway: ipaddress.IPv4Address | ipaddress.IPv6Address,
    what: str,
) -> Request:
    """Add a route by way of a gateway to the main table."""
    family = socket.AF_INET if destination.version == 4 else socket.AF_INET6
    main_table, static, universe, unicast = 254, 4, 0, 1
    body = _ROUTE.pack(family, destination.prefixlen, 0, 0, main_table, static, universe, unicast, 0)
    if destination.prefixlen:
        body += attribute(1, destination.network_address.packed)
    body += attribute(5, gateway.packed)
    return Request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, body, what)


def parse_link(body: bytes) -> tuple[int, str, int]:
    """A link message as (index, name, flags)."""
    _, _, index, flags, _ = _INFO.unpack_from(body)
    name = ""
    for kind, value in attributes(body[16:]):
        if kind == IFLA_IFNAME:
            name = value.rstrip(b"\0").decode()
    return index, name, flags


def all_ports() -> bytes:
    """What to ask in a dump of links for the bridge's own view of its ports."""
    return _info(family=socket.AF_BRIDGE)


def parse_port(body: bytes) -> tuple[int, bool]:
    """A bridge's message of one of its ports as (index, whether it forwards frames by now).

    A port that has carrier forwards only once the kernel's link watch has been round (RFC 2863's
    operational state); until then its state is left over from before.
    """
    family, _, index, _, _ = _INFO.unpack_from(body)
    found = dict(attributes(body[16:])) if family == socket.AF_BRIDGE else {}
    port = dict(attributes(found.get(IFLA_PROTINFO, b"")))
    state, operational = port.get(_IFLA_BRPORT_STATE, b"\0"), found.get(IFLA_OPERSTATE, b"\0")
    return index, state[0] == BR_FORWARDING and operational[0] == _OPERATIONAL


def parse_address(body: bytes) -> tuple[int, str]:
    """An address message as (interface index, CIDR)."""
    family, prefix, _, _, index = _ADDRESS.unpack_from(body)
    found = dict(attributes(body[8:]))
    raw = found.get(IFA_LOCAL) or found.get(IFA_ADDRESS) or b""
    return index, f"{socket.inet_ntop(family, raw)}/{prefix}"


def parse_neighbour(body: bytes) -> tuple[int, str, str] | None:
    """A neighbour message as (interface index, address, hardware address or ''); None for a group's."""
    family, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    found = dict(attributes(body[12:]))
    raw = found.get(_NDA_DST)
    if raw is None or family not in (socket.AF_INET, socket.AF_INET6) or state & _NUD_NOARP:
        return None
    known = not state & (_NUD_INCOMPLETE | _NUD_FAILED)
    return index, socket.inet_ntop(family, raw), found.get(_NDA_LLADDR, b"").hex(":") if known else ""
