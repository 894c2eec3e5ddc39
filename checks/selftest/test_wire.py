"""What frames mean: gratuitous ARP is told to all."""

from __future__ import annotations

import pytest

from harness.faults.arp_agent import announcement
from harness.observe.wire import decode

OWNER, HEIR = bytes.fromhex("020000000006"), bytes.fromhex("020000000007")
VIP, CLIENT = bytes([10, 0, 0, 100]), bytes([10, 0, 0, 10])


def arp(to: bytes, op: int, sender_ip: bytes, target_ip: bytes) -> bytes:
    """A frame of the heir's (RFC 826)."""
    kinds = bytes.fromhex("0806000108000604")
    return to + HEIR + kinds + op.to_bytes(2, "big") + HEIR + sender_ip + OWNER + target_ip


@pytest.mark.parametrize(
    ("frame", "gratuitous"),
    [
        (announcement(HEIR, VIP), True),
        (arp(b"\xff" * 6, 2, VIP, VIP), True),
        # The answer of who still has the address to another's gratuitous request.
        (arp(OWNER, 2, VIP, VIP), False),
        (arp(b"\xff" * 6, 1, CLIENT, VIP), False),
        (arp(OWNER, 2, VIP, CLIENT), False),
    ],
)
def test_gratuitous_arp_is_told_to_all(frame: bytes, gratuitous: bool) -> None:
    found = decode(frame)
    assert found is not None
    kind, fields = found
    assert (kind, fields["gratuitous"]) == ("arp", gratuitous)
    assert fields["sender_mac"] == "02:00:00:00:00:07"
