"""The agent of arp-spoof: announces addresses as this node's own, again and again (RFC 5227 section 3).

Configuration, one JSON argument: `{"interface", "mac", "addresses": [...], "every_s"}`.
"""

from __future__ import annotations

import _socket
import sys

from harness.eventpipe import CommandReader, EventWriter
from harness.lean_json import loads
from harness.loop import Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ARP = bytes.fromhex("0806")
# Ethernet and IPv4, a request (operation 1), as keepalived announces its addresses.
_HEAD = bytes.fromhex("0001080006040001")
_BROADCAST = b"\xff" * 6


def announcement(mac: bytes, address: bytes) -> bytes:
    """The frame that tells everybody that `address` is at `mac`."""
    return _BROADCAST + mac + _ARP + _HEAD + mac + address + bytes(6) + address


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    config: dict[str, Any] = loads(sys.argv[-1])
    mac = bytes.fromhex(config["mac"].replace(":", ""))
    frames = [announcement(mac, _socket.inet_aton(address)) for address in config["addresses"]]
    sender = _socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW)
    sender.bind((config["interface"], 0))
    loop = Loop(EventWriter(), CommandReader(), lambda command: None)
    every_ns = round(config["every_s"] * 1e9)

    def announce() -> None:
        for frame in frames:
            try:
                sender.send(frame)
            except OSError:  # the link is down for the moment
                pass
        loop.at(loop.now + every_ns, announce)

    loop.at(loop.now, announce)
    loop.run()
