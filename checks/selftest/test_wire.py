"""What frames mean: gratuitous ARP is told to all; a packet was too big; and which frames are looked at."""

from __future__ import annotations

import pytest

from harness.faults.arp_agent import announcement
from harness.observe.wire import CONTROL_TRAFFIC, decode

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


def too_big(code: int = 4) -> bytes:
    """A director's word to a client whose packet to the VIP did not go into the tunnel."""
    dropped = bytes.fromhex("450005dc00004000 4006 0000") + CLIENT + VIP + bytes.fromhex("c3501933 00000000")
    message = bytes([3, code]) + bytes.fromhex("0000 0000 05c8") + dropped
    packet = bytes.fromhex("45000038 00000000 4001 0000") + bytes([10, 0, 0, 11]) + CLIENT + message
    return OWNER + HEIR + bytes.fromhex("0800") + packet


def test_who_is_told_that_a_packet_is_too_big() -> None:
    assert decode(too_big()) == (
        "icmp",
        {
            "src": "10.0.0.11",
            "dst": "10.0.0.10",
            "what": "fragmentation needed",
            "mtu": 1480,
            "about": "10.0.0.10:50000 to 10.0.0.100:6451",
        },
    )
    assert decode(too_big(code=1)) is None


def seen(frame: bytes) -> bool:
    """What the classic BPF program says of a frame (bpf(4)); a load beyond its end rejects it."""
    value = at = 0
    while True:
        code, if_true, if_false, operand = CONTROL_TRAFFIC[at]
        at += 1
        if code == 0x6:
            return bool(operand)
        if code == 0x15:
            at += if_true if value == operand else if_false
            continue
        width = {0x28: 2, 0x30: 1}[code]
        if operand + width > len(frame):
            return False
        value = int.from_bytes(frame[operand : operand + width], "big")


def test_the_filter_lets_through_what_is_decoded_and_nothing_else() -> None:
    vrrp4 = OWNER + HEIR + bytes.fromhex("0800") + bytes(9) + bytes([112]) + bytes(30)
    vrrp6 = OWNER + HEIR + bytes.fromhex("86dd") + bytes(6) + bytes([112]) + bytes(50)
    advertisement = OWNER + HEIR + bytes.fromhex("86dd") + bytes(6) + bytes([58]) + bytes(33) + bytes([136])
    tcp4 = OWNER + HEIR + bytes.fromhex("0800") + bytes(9) + bytes([6]) + bytes(30)
    echo6 = OWNER + HEIR + bytes.fromhex("86dd") + bytes(6) + bytes([58]) + bytes(33) + bytes([128])
    strange = OWNER + HEIR + bytes.fromhex("88cc") + bytes(60)
    assert all(map(seen, (arp(OWNER, 1, VIP, VIP), vrrp4, too_big(), vrrp6, advertisement)))
    assert not any(map(seen, (tcp4, too_big(code=1), echo6, strange)))
