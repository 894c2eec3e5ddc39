"""VRRPv2's simple password goes in clear over the wire; in a capture that is kept it is overwritten.

RFC 2338 section 5.3.10: authentication type 1, the last eight bytes of the advertisement.  The
checksum is made anew, so that no tool takes the packet for damaged.
"""

from __future__ import annotations

import struct

_VRRP, _SIMPLE = 112, 1
_HEADER, _SECRET = 8, 8
_HIDDEN = b"hidden\0\0"


def without_password(frame: bytes) -> bytes:
    """The frame, or one with the password of a VRRPv2 advertisement overwritten."""
    if len(frame) < 34 or frame[12:14] != b"\x08\x00" or frame[23] != _VRRP:
        return frame
    begin = 14 + 4 * (frame[14] & 0x0F)
    end = 14 + int(struct.unpack_from("!H", frame, 16)[0])
    advert = frame[begin:end]
    if len(advert) < _HEADER + _SECRET or advert[0] >> 4 != 2 or advert[4] != _SIMPLE:
        return frame
    if not any(advert[-_SECRET:]):
        return frame
    bare = advert[:6] + b"\0\0" + advert[_HEADER:-_SECRET] + _HIDDEN
    hidden = bare[:6] + struct.pack("!H", _checksum(bare)) + bare[_HEADER:]
    return frame[:begin] + hidden + frame[end:]


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = int(sum(struct.unpack(f"!{len(data) // 2}H", data)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
