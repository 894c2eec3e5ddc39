"""The way to the route socket of a machine's kernel: requests go in, through the agent, answers come out."""

from __future__ import annotations

import struct

from harness.fabric.netlink import NLM_F_DUMP, messages
from harness.uml.channel import Channel

_HEADER = struct.Struct("=IHHII")


class RouteLine:
    """What a `RouteSocket` sends through instead of a socket.  Without `wait` no answer is heard."""

    def __init__(self, channel: Channel, *, wait: bool = True) -> None:
        self._channel, self._wait = channel, wait
        self._answer = b""

    def sendall(self, data: bytes) -> None:
        """Have the machine's kernel take these messages, and keep what it answers."""
        flags = [flags for _, flags, _, _ in messages(bytes(data))]
        # A dump is answered by one "done", whatever else is acknowledged by itself.
        count = 1 if any(f & NLM_F_DUMP == NLM_F_DUMP for f in flags) else len(flags)
        if self._wait:
            self._answer = self._channel.ask("netlink", bytes(data), count)[0]
        else:
            self._channel.tell("netlink", bytes(data), count)

    def recv(self, _size: int) -> bytes:
        """All that it answered."""
        answer, self._answer = self._answer, b""
        return answer

    def close(self) -> None:
        """Nothing is open."""
