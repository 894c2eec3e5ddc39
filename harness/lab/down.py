"""The end of a lab, as its users bring it about: `down` never needs more than the lab's name."""

from __future__ import annotations

import os
import signal
import socket
import struct
from typing import Any

from harness.errors import TestbedError
from harness.kernel import syscalls as sc
from harness.lab.channel import LabError, connect
from harness.lab.client import Client
from harness.lab.registry import LabInfo, end_of


def end(info: LabInfo) -> dict[str, Any]:
    """Let a lab write down its result and end; what it says of itself, once all of it is gone."""
    with end_of(info), Client(info) as client:
        told: dict[str, Any] = client.ask("down")
    return told


def kill(info: LabInfo) -> None:
    """Kill a lab that may not listen any more, and wait until all of it is gone.

    Its process is the one behind its socket: no number that was written down once.
    """
    with end_of(info):
        try:
            sock = connect(info.folder / "socket")
        except OSError as error:
            raise TestbedError(f"the lab {info.name} cannot be reached ({error.strerror})") from None
        with sock:
            size = struct.calcsize("3i")
            pid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))[0]
            if not pid:
                raise TestbedError(f"the lab {info.name} is held by a process that cannot be seen from here")
            try:
                holder = sc.pidfd_open(pid)
            except OSError:
                raise LabError(f"the lab {info.name} has ended", TestbedError.exit_code) from None
            sc.pidfd_send_signal(holder, signal.SIGKILL)
            os.close(holder)
