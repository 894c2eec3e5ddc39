"""The source ports of a client's connections: each as late as possible again.

A balancer that forwards packets knows a connection by its addresses and ports for minutes after it has
ended (the time-outs of `ipvsadm --list --timeout`), and passes one that comes from the same port again
to the same member, be it drained or dead (Documentation/networking/ipvs-sysctl.rst: conn_reuse_mode).
Linux may choose the port of a closed connection again within seconds, so a client that leaves the
choice to it now and then asks an old entry, and not the balancer as it is now.

A client with a few ports only asks old entries on purpose.
"""

from __future__ import annotations

import _socket
import errno
import time

_RANGE_FILE = "/proc/sys/net/ipv4/ip_local_port_range"
_DEFAULT_RANGE = (32768, 60999)
# One port for each of these (ns): a client that is started anew goes on about where it was.
_STEP_NS = 10_000_000
# How many ports may be taken before the kernel is left to find a free one.
_TRIES = 16


# Below the kernel's own range, so that nobody else has one of them.
_FEW_FROM = 20001


class Ports:
    """Ports of the kernel's own range (ip(7), ip_local_port_range), or a few others, in a circle."""

    def __init__(self, few: int = 0) -> None:
        self._low, high = (_FEW_FROM, _FEW_FROM + few - 1) if few else _range()
        self._count = high - self._low + 1
        self._next = time.monotonic_ns() // _STEP_NS % self._count

    def bind(self, sock: _socket.socket, address: str) -> None:
        """Give a socket the next free port of an address; none where all of the next ones are taken.

        Raises OSError where the address is none of this host's.
        """
        for _ in range(_TRIES):
            port = self._low + self._next
            self._next = (self._next + 1) % self._count
            try:
                sock.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        sock.bind((address, 0))


def _range() -> tuple[int, int]:
    try:
        with open(_RANGE_FILE, "rb", buffering=0) as file:
            low, high = (int(word) for word in file.read(64).split())
    except (OSError, ValueError):
        return _DEFAULT_RANGE
    return low, high
