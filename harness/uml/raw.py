"""The packet sockets of a machine's raw transport, put right from outside, or frames are lost in masses.

The kernel's driver opens two sockets on each device, one to receive and one to send (6.12,
arch/um/drivers/vector_user.c).  Both get every frame, also those that the machine itself sends, so its
own frames take half of the room that those for it need; and that room is the default of 208 KiB, which is
three frames as TCP makes them (64 KiB).  A process may take a descriptor of one that it may trace, and
options are of the socket.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from harness.kernel import syscalls as sc

_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_ETH_P_ALL = 0x0003
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
# Room for what a few connections have under way (net.ipv4.tcp_wmem allows each 4 MB).
ROOM_BYTES = 32 << 20
_NOTHING = struct.pack("=HBBI", 0x06, 0, 0, 0)


def put_right(pid: int) -> int:
    """Let the sockets of a machine's process take what is for them, and that only; how many there were."""
    pidfd = sc.pidfd_open(pid)
    found = 0
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if not os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                continue
            with socket.socket(fileno=sc.pidfd_getfd(pidfd, int(name))) as one:
                if one.family == socket.AF_PACKET:
                    found += 1
                    _put_right(one)
    finally:
        os.close(pidfd)
    return found


def _put_right(one: socket.socket) -> None:
    if one.getsockname()[1] != _ETH_P_ALL:
        # The one to send is never read: let it have nothing.
        program = ctypes.create_string_buffer(_NOTHING)
        one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))
        return
    one.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    try:
        one.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM_BYTES)
    except PermissionError:  # only the host's administrator: others get what the host allows (rmem_max)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM_BYTES)
