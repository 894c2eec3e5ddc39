"""DNS messages (RFC 1035 section 4), as few as tell which server answered.

Who that is tells the TXT record of `id.server` in class CHAOS (RFC 4892).
"""

from __future__ import annotations

from struct import Struct, error, unpack_from

_HEAD = Struct("!HHHHHH")
_RESPONSE, _AUTHORITATIVE, _NOT_IMPLEMENTED = 0x8000, 0x0400, 4
_TXT, _CHAOS = 16, 3
_WHO = b"\x02id\x06server\x00" + Struct("!HH").pack(_TXT, _CHAOS)
# A pointer to the question's name, then type, class, time to live, length (RFC 1035 sections 4.1.3, 4.1.4).
_RECORD = Struct("!HHHIH")
_SAME_NAME = 0xC00C
MOST_BYTES = 512
"""The longest message by UDP (RFC 1035 section 4.2.1)."""


def question(number: int) -> bytes:
    """Who are you?"""
    return _HEAD.pack(number, 0, 1, 0, 0, 0) + _WHO


def answer(asked: bytes, name: str) -> bytes | None:
    """A server's answer to a message: its name where that is asked, else that it does not know how.

    None where the message is no question.
    """
    if len(asked) < _HEAD.size or asked[2] & 0x80:
        return None
    number = unpack_from("!H", asked)[0]
    if asked[_HEAD.size :] != _WHO:
        return _HEAD.pack(number, _RESPONSE | _NOT_IMPLEMENTED, 0, 0, 0, 0)
    text = name.encode()
    record = _RECORD.pack(_SAME_NAME, _TXT, _CHAOS, 0, len(text) + 1) + bytes([len(text)]) + text
    return _HEAD.pack(number, _RESPONSE | _AUTHORITATIVE, 1, 1, 0, 0) + _WHO + record


def who(message: bytes) -> tuple[int, str | None]:
    """The number of the question that a message answers, and who sent it (None: it does not say).

    Raises ValueError where it is no answer.
    """
    try:
        number, flags, _, answers, _, _ = _HEAD.unpack_from(message)
    except error:
        raise ValueError("not a DNS message") from None
    if not flags & _RESPONSE:
        raise ValueError("not an answer")
    at = _HEAD.size + len(_WHO) + _RECORD.size
    if flags & 0xF or not answers or len(message) <= at:
        return number, None
    return number, message[at + 1 : at + 1 + message[at]].decode(errors="replace")
