"""The floor: the same six-host segment with nothing around it, one thread and one batch of netlink.

No code of vipdrill's is used, so that what this measures is the kernel and hardly anything else:
make the namespaces, send one batch for the bridge and all links, one batch a host for its addresses,
and ping.  (The same in C is not measurably faster: nearly all of it is spent in system calls.)
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from ci.benchmarks.ping import ping_all

CLONE_NEWNET = 0x4000_0000
NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE = 0x1, 0x4, 0x200, 0x400
RTM_NEWLINK, RTM_NEWADDR = 16, 20
IFLA_IFNAME, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 3, 10, 18, 28
NESTED = 0x8000
RTMGRP_LINK, IFF_LOWER_UP = 0x1, 0x10000
BRIDGE_INDEX, PORT_INDEX, HOST_INDEX = 100, 1000, 10

libc = ctypes.CDLL(None, use_errno=True)


def attribute(kind: int, payload: bytes) -> bytes:
    """One netlink attribute."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def message(kind: int, body: bytes) -> bytes:
    """One request that wants its acknowledgement."""
    flags = NLM_F_REQUEST | NLM_F_ACK | (NLM_F_CREATE | NLM_F_EXCL if len(body) > 16 else 0)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body


def link(index: int, *, up: bool) -> bytes:
    """The head of a link message."""
    return struct.pack("=BxHiII", 0, 0, index, int(up), int(up))


def send(route: socket.socket, messages: list[bytes]) -> None:
    """Send a batch and read all its acknowledgements."""
    route.sendall(b"".join(messages))
    waiting = len(messages)
    while waiting:
        data, offset = route.recv(1 << 16), 0
        while offset < len(data):
            length, _, _, _, _, error = struct.unpack_from("=IHHIIi", data, offset)
            if error:
                raise OSError(-error, f"netlink: {os.strerror(-error)}")
            offset += (length + 3) & ~3
            waiting -= 1


def await_running(events: socket.socket, indexes: set[int]) -> None:
    """Wait until these links carry frames: until then a bridge drops them, and an ARP retry takes 1 s."""
    waiting = set(indexes)
    while waiting:
        data, offset = events.recv(1 << 16), 0
        while offset < len(data):
            length, kind, _, _, _, _, _, index, flags = struct.unpack_from("=IHHIIHHiI", data, offset)
            if kind == RTM_NEWLINK and flags & IFF_LOWER_UP:
                waiting.discard(index)
            offset += (length + 3) & ~3


def route_socket(groups: int = 0) -> socket.socket:
    """A netlink route socket of the thread's network namespace."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    made.bind((0, groups))
    return made


def new_namespace() -> int:
    """Move into a new network namespace; its descriptor."""
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(namespace: int) -> None:
    """Move into a network namespace."""
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def build(hosts: int) -> list[int]:
    """Namespaces, a bridge, and a link with an address for each host; the descriptors of all namespaces."""
    namespaces = [new_namespace() for _ in range(hosts + 1)]
    enter(namespaces[0])
    kind = attribute(IFLA_LINKINFO, attribute(1, b"bridge\0"))
    batch = [message(RTM_NEWLINK, link(BRIDGE_INDEX, up=True) + attribute(IFLA_IFNAME, b"lan\0") + kind)]
    for number, namespace in enumerate(namespaces[1:], 1):
        peer = (
            link(HOST_INDEX, up=False)
            + attribute(IFLA_IFNAME, b"eth0\0")
            + attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
        )
        pair = attribute(2 | NESTED, attribute(1 | NESTED, peer))
        batch.append(
            message(
                RTM_NEWLINK,
                link(PORT_INDEX + number, up=True)
                + attribute(IFLA_IFNAME, b"p%d\0" % number)
                + attribute(IFLA_MASTER, struct.pack("=I", BRIDGE_INDEX))
                + attribute(IFLA_LINKINFO | NESTED, attribute(1, b"veth\0") + pair),
            )
        )
    events = route_socket(RTMGRP_LINK)
    with route_socket() as route:
        send(route, batch)
    for number, namespace in enumerate(namespaces[1:], 1):
        enter(namespace)
        address = bytes((10, 0, number >> 8, number & 255))
        with route_socket() as route:
            send(
                route,
                [
                    message(RTM_NEWLINK, link(1, up=True)),
                    message(RTM_NEWLINK, link(HOST_INDEX, up=True)),
                    message(
                        RTM_NEWADDR,
                        struct.pack("=BBBBI", socket.AF_INET, 16, 0, 0, HOST_INDEX)
                        + attribute(2, address)
                        + attribute(1, address),
                    ),
                ],
            )
    with events:
        await_running(events, {PORT_INDEX + number for number in range(1, hosts + 1)})
    return namespaces


def build_and_ping(hosts: int) -> list[int]:
    """`build`, and then the first host pings all others."""
    namespaces = build(hosts)
    enter(namespaces[1])
    ping_all([f"10.0.{number >> 8}.{number & 255}" for number in range(2, hosts + 1)])
    return namespaces
