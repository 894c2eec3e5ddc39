"""Generic netlink, as far as it takes to ask whether a family is there and may be used (genetlink(7))."""

from __future__ import annotations

import os
import socket
import struct

from harness.fabric.netlink import (
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    attribute,
    attributes,
    messages,
)

_NETLINK_GENERIC, _CONTROL = 16, 16
_GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 3, 1, 2


def family(name: str) -> int:
    """The number of a family in the calling thread's network namespace; raises OSError if it is not there."""
    for _, _, _, body in ask(_CONTROL, _GET_FAMILY, attribute(_FAMILY_NAME, name)):
        for kind, value in attributes(body[4:]):
            if kind == _FAMILY_ID:
                return int(struct.unpack("=H", value[:2])[0])
    raise OSError(0, f"no {name}")


def ask(number: int, command: int, payload: bytes = b"") -> list[tuple[int, int, int, bytes]]:
    """Have a command carried out; what was answered. Raises OSError with the kernel's errno."""
    body = struct.pack("=BBH", command, 1, 0) + payload
    header = struct.pack("=IHHII", 16 + len(body), number, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
    answered: list[tuple[int, int, int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC) as line:
        line.bind((0, 0))
        line.sendall(header + body)
        while True:
            for message in messages(line.recv(1 << 16)):
                if message[0] != NLMSG_ERROR:
                    answered.append(message)
                    continue
                errno = -struct.unpack_from("=i", message[3])[0]
                if errno:
                    raise OSError(errno, os.strerror(errno))
                return answered
