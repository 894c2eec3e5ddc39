"""The agent that ends IP-in-IP tunnels (RFC 2003) where the kernel has no module for it.

What arrives as protocol 4 is taken out of its outer header and put on one end of a pair of virtual
links in the node, so that the kernel receives it on the other, `tunl0`, as from any wire.  An open raw
socket also keeps the kernel from answering that it does not know the protocol.

Configuration, one JSON argument: `{"node", "service"}`.
"""

from __future__ import annotations

import _socket as socket
import os
import struct
import sys

from harness.eventpipe import CommandReader, EventWriter
from harness.fabric import rtnl
from harness.fabric.netlink import RouteSocket
from harness.lean_json import loads
from harness.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IPIP, _TCP, _UDP = 4, 6, 17
_INSIDE, _OUTSIDE = ("tunl0", 90), ("tunl0-in", 91)
# What a director sent in fragments, or this node's card has put together, is larger than a frame.
_MTU = 65535
_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_EPOLLIN = 1
# struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset (linux/virtio_net.h).
_OFFLOAD = struct.Struct("=BBHHHH")
_NEEDS_CHECKSUM = 1
_CHECKSUM_AT = {_TCP: 16, _UDP: 6}
_ETHERNET_BYTES = 14
_MOST_BYTES = 65535


def frame(packet: bytes, head: bytes) -> bytes | None:
    """What to put on the wire for a packet with its outer header; None if there is no IPv4 packet in it.

    The sender may have left the inner checksum to its network card, which a tunnel hides from this
    node's kernel, so it is told that the checksum is still to be made.
    """
    outer_bytes = (packet[0] & 0x0F) * 4
    inner = packet[outer_bytes:]
    if len(inner) < 20 or inner[0] >> 4 != 4:
        return None
    protocol, inner_bytes = inner[9], (inner[0] & 0x0F) * 4
    offset = _CHECKSUM_AT.get(protocol)
    if offset is None or len(inner) < inner_bytes + offset + 2:
        return _OFFLOAD.pack(0, 0, 0, 0, 0, 0) + head + inner
    start = _ETHERNET_BYTES + inner_bytes
    return _OFFLOAD.pack(_NEEDS_CHECKSUM, 0, 0, 0, start, offset) + head + inner


def _links() -> bytes:
    """Make the pair of links; the Ethernet head of what is put on it."""
    route = RouteSocket()
    try:
        route.send(rtnl.veth_here(*_INSIDE, *_OUTSIDE, _MTU, "make the end of tunnels"))
    finally:
        route.close()
    with open("/proc/sys/net/ipv4/conf/tunl0/rp_filter", "w", encoding="ascii") as switch:
        # What comes by a tunnel is answered by another way.
        switch.write("0")
    with open("/proc/sys/net/ipv4/conf/all/rp_filter", "w", encoding="ascii") as switch:
        switch.write("0")
    inside = _packets("tunl0")
    mac: bytes = inside.getsockname()[4]
    inside.close()
    return mac + bytes(6) + b"\x08\x00"


def _packets(interface: str) -> socket.socket:
    bound = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    bound.bind((interface, 0))
    return bound


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    config: dict[str, Any] = loads(sys.argv[-1])
    head = _links()
    out = _packets("tunl0-in")
    out.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    tunnels = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _IPIP)
    tunnels.setblocking(False)
    loop = Loop(EventWriter(), CommandReader(), lambda command: None)

    def arrived(mask: int) -> None:
        while True:
            try:
                packet = tunnels.recv(_MOST_BYTES)
            except BlockingIOError:
                return
            if (made := frame(packet, head)) is not None:
                out.send(made)

    loop.add(tunnels.fileno(), _EPOLLIN, arrived)
    loop.writer.emit(
        loop.now, "service", node=config["node"], service=config["service"], state="ready", pid=os.getpid()
    )
    loop.writer.flush()
    loop.run()
