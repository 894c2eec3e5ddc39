"""When a testbed is really gone: not when its tear-down returns, but when the kernel has freed it.

A network namespace whose last process has ended is freed by the kernel in its own time.  A veth pair
with one end in it tells when: the other end, in a namespace of the witness's own, goes with it.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from harness.fabric import rtnl
from harness.fabric.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, RouteSocket, attribute, messages
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.kernel.waiting import readable

if TYPE_CHECKING:
    from harness.testbed import Testbed

_PATIENCE_S = 5.0


class Leftovers:
    """Watches a testbed's network namespaces go; made before the tear-down begins."""

    def __init__(self, netns: list[int]) -> None:
        self._home, (self._route, self._events) = namespaces.submit_fresh(
            sc.CLONE_NEWNET, _own_namespace
        ).result()
        self._waiting = set(range(10, 10 + len(netns)))
        pairs = [_pair(number, fd) for number, fd in enumerate(netns, 10)]
        self._route.send(pairs)

    @classmethod
    def of(cls, bed: Testbed) -> Leftovers:
        """Those of a testbed that is built."""
        return cls([node.netns for node in (bed.hub, *bed.nodes.values()) if node.alive])

    @property
    def left(self) -> int:
        """How many namespaces are not freed."""
        return len(self._waiting)

    def wait(self) -> float:
        """Wait until every namespace is freed, or patience is lost; that moment (time.perf_counter).

        A TCP socket that its process has left, and whose peer is dead, keeps its namespace for a while:
        `left` counts such namespaces.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while self._waiting:
            if not readable([self._events.socket.fileno()], deadline - time.monotonic()):
                break
            for kind, _, _, body in messages(self._events.socket.recv(1 << 17)):
                if kind == rtnl.RTM_DELLINK:
                    self._waiting.discard(rtnl.parse_link(body)[0])
        gone = time.perf_counter()
        self._route.close()
        self._events.close()
        os.close(self._home)
        return gone


def processes() -> set[int]:
    """The numbers of all processes of the bubble."""
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}


def _own_namespace() -> tuple[int, tuple[RouteSocket, RouteSocket]]:
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return fd, (RouteSocket(), RouteSocket(rtnl.RTMGRP_LINK))


def _pair(number: int, netns: int) -> Request:
    """A veth pair from here into a namespace, both ends down."""
    head = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    peer = head + attribute(rtnl.IFLA_IFNAME, "witness") + attribute(rtnl.IFLA_NET_NS_FD, netns)
    nested = 0x8000
    kind = attribute(1, "veth") + attribute(2 | nested, attribute(1 | nested, peer))
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, number, 0, 0)
    body += attribute(rtnl.IFLA_IFNAME, f"w{number}") + attribute(rtnl.IFLA_LINKINFO | nested, kind)
    return Request(rtnl.RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"watch namespace {number}")
