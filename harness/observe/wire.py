"""Decode the control traffic of a segment: VRRP, ARP, IPv6 neighbour advertisements, packets too big.

Pure functions from an Ethernet frame to the fields of a timeline event. Standard library only.
"""

from __future__ import annotations

import _socket as socket  # what `socket` wraps, without its import of `enum` and `selectors`
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
_IPPROTO_VRRP, _IPPROTO_ICMPV6, _NEIGHBOUR_ADVERTISEMENT = 112, 58, 136
# ICMP type 3 (destination unreachable), code 4 (fragmentation needed and DF set): RFC 792, RFC 1191.
_IPPROTO_ICMP, _TOO_BIG = 1, 0x0304
_TCP, _UDP = 6, 17
# Set in the first byte of an Ethernet address that is for several or for all (IEEE 802, I/G bit).
_GROUP = 1

# Classic BPF (bpf(4)) on an Ethernet frame: ARP, or IPv4 protocol 112, or ICMP's word that a
# packet is too big, or IPv6 next header 112, or ICMPv6 type 136.  Each tuple is (code, jump if true, jump if
# false, operand).
CONTROL_TRAFFIC = (
    (0x28, 0, 0, 12),
    (0x15, 12, 0, ETH_P_ARP),
    (0x15, 0, 5, ETH_P_IP),
    (0x30, 0, 0, 23),
    (0x15, 9, 0, _IPPROTO_VRRP),
    (0x15, 0, 9, _IPPROTO_ICMP),
    (0x28, 0, 0, 34),
    (0x15, 6, 7, _TOO_BIG),
    (0x15, 0, 6, ETH_P_IPV6),
    (0x30, 0, 0, 20),
    (0x15, 3, 0, _IPPROTO_VRRP),
    (0x15, 0, 3, _IPPROTO_ICMPV6),
    (0x30, 0, 0, 54),
    (0x15, 0, 1, _NEIGHBOUR_ADVERTISEMENT),
    (0x6, 0, 0, 0xFFFF),
    (0x6, 0, 0, 0),
)


def mac_text(raw: bytes) -> str:
    """Six bytes as `02:00:00:00:00:01`."""
    return raw.hex(":")


def source_mac(frame: bytes) -> str:
    """Who sent the frame, by its Ethernet header."""
    return mac_text(frame[6:12])


def decode(frame: bytes) -> tuple[str, dict[str, Any]] | None:
    """The event kind and fields that a frame stands for, or None for any other traffic."""
    if len(frame) < 14:
        return None
    kind = struct.unpack_from("!H", frame, 12)[0]
    try:
        if kind == ETH_P_ARP:
            return "arp", _arp(frame)
        if kind == ETH_P_IP and frame[23] == _IPPROTO_VRRP:
            return "vrrp", _vrrp4(frame[14:])
        if kind == ETH_P_IP and frame[23] == _IPPROTO_ICMP:
            return "icmp", _too_big(frame[14:])
        if kind == ETH_P_IPV6 and frame[20] == _IPPROTO_VRRP:
            return "vrrp", _vrrp6(frame[14:])
        if kind == ETH_P_IPV6 and frame[20] == _IPPROTO_ICMPV6 and frame[54] == _NEIGHBOUR_ADVERTISEMENT:
            return "arp", _neighbour_advertisement(frame)
    except (struct.error, IndexError, ValueError):
        return None
    return None


def _arp(frame: bytes) -> dict[str, Any]:
    """RFC 826; gratuitous as in RFC 5227 and keepalived: sender and target address are the same, told to all.

    Whoever still has the address answers such a request, and has both the same as well, but tells the
    sender alone.
    """
    op = struct.unpack_from("!H", frame, 20)[0]
    sender_ip, target_ip = socket.inet_ntoa(frame[28:32]), socket.inet_ntoa(frame[38:42])
    return {
        "op": {1: "request", 2: "reply"}.get(op, str(op)),
        "sender_mac": mac_text(frame[22:28]),
        "sender_ip": sender_ip,
        "target_ip": target_ip,
        "gratuitous": sender_ip == target_ip and bool(frame[0] & _GROUP),
    }


def _too_big(packet: bytes) -> dict[str, Any]:
    """What a router says of a packet that its next link does not take, and of which (RFC 1191 section 4)."""
    message = packet[(packet[0] & 15) * 4 :]
    if struct.unpack_from("!H", message)[0] != _TOO_BIG:
        raise ValueError("another ICMP message")
    dropped = message[8:]
    ports = struct.unpack_from("!HH", dropped, (dropped[0] & 15) * 4) if dropped[9] in (_TCP, _UDP) else ()
    source, destination = socket.inet_ntoa(dropped[12:16]), socket.inet_ntoa(dropped[16:20])
    if ports:
        source, destination = f"{source}:{ports[0]}", f"{destination}:{ports[1]}"
    return {
        "src": socket.inet_ntoa(packet[12:16]),
        "dst": socket.inet_ntoa(packet[16:20]),
        "what": "fragmentation needed",
        "mtu": struct.unpack_from("!H", message, 6)[0],
        "about": f"{source} to {destination}",
    }


def _neighbour_advertisement(frame: bytes) -> dict[str, Any]:
    """RFC 4861 section 4.4; unsolicited (what a takeover sends) counts as gratuitous."""
    target = socket.inet_ntop(socket.AF_INET6, frame[62:78])
    link_layer = frame[80:86] if len(frame) >= 86 and frame[78] == 2 else frame[6:12]
    solicited = bool(frame[58] & 0x40)
    return {
        "op": "na",
        "sender_mac": mac_text(link_layer),
        "sender_ip": target,
        "target_ip": target,
        "gratuitous": not solicited,
    }


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that contains a right one."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _vrrp4(packet: bytes) -> dict[str, Any]:
    header = (packet[0] & 15) * 4
    length = struct.unpack_from("!H", packet, 2)[0]
    pseudo = packet[12:20] + struct.pack("!HH", _IPPROTO_VRRP, length - header)
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    return _vrrp(packet[header:length], source, destination, packet[8], pseudo, 4)


def _vrrp6(packet: bytes) -> dict[str, Any]:
    length = struct.unpack_from("!H", packet, 4)[0]
    pseudo = packet[8:40] + struct.pack("!II", length, _IPPROTO_VRRP)
    source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
    destination = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    return _vrrp(packet[40 : 40 + length], source, destination, packet[7], pseudo, 16)


def _vrrp(body: bytes, source: str, destination: str, ttl: int, pseudo: bytes, width: int) -> dict[str, Any]:
    """RFC 9568 section 5.2 (version 3), RFC 3768 section 5.3 (version 2)."""
    version = body[0] >> 4
    count = body[3]
    family = socket.AF_INET if width == 4 else socket.AF_INET6
    end = 8 + count * width
    fields: dict[str, Any] = {
        "src": source,
        "dst": destination,
        "vrid": body[1],
        "version": version,
        "priority": body[2],
        "interval_cs": body[5] * 100 if version == 2 else struct.unpack_from("!H", body, 4)[0] & 0x0FFF,
        "addresses": [socket.inet_ntop(family, body[i : i + width]) for i in range(8, end, width)],
        "ttl": ttl,
    }
    bad = _why_discard(body, version, ttl, pseudo, end)
    if bad:
        fields["bad"] = bad
    return fields


def _why_discard(body: bytes, version: int, ttl: int, pseudo: bytes, end: int) -> str | None:
    """What RFC 9568 section 7.1 makes a receiver discard, as far as the packet alone shows it."""
    if body[0] & 15 != 1:
        return f"type {body[0] & 15}"
    if version not in (2, 3):
        return f"version {version}"
    if ttl != 255:
        return f"ttl {ttl}"
    if len(body) < end:
        return "truncated"
    # Over IPv4 the field has been read two ways: with the pseudo-header and without (keepalived's
    # v3_checksum_as_v2), so only a sum that is wrong both ways is wrong for every receiver.
    if _checksum(body) and _checksum(pseudo + body):
        return "checksum"
    return None
