"""One ICMP echo to each of several addresses, from the calling thread's network namespace."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence

from harness.kernel.waiting import readable

_PATIENCE_S = 5.0


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ping_all(addresses: Sequence[str]) -> None:
    """Send an echo request to every address and wait for all the answers; raises TimeoutError."""
    head = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
    request = head[:2] + struct.pack("!H", _checksum(head)) + head[4:]
    waiting = set(addresses)
    deadline = time.monotonic() + _PATIENCE_S
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as echo:
        echo.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for address in addresses:
            echo.sendto(request, (address, 0))
        while waiting:
            if not readable([echo.fileno()], deadline - time.monotonic()):
                raise TimeoutError(f"no echo from {', '.join(sorted(waiting)[:3])}")
            answer, sender = echo.recvfrom(256)
            if answer[20] == 0:
                waiting.discard(sender[0])
