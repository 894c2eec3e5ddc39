"""Who keeps virtual time from going on: asked of the guest's kernel by its management console.

The console is a datagram socket that the kernel serves even while a process computes (the kernel's
documentation, virt/uml/user_mode_linux_howto_v2).  To be asked only of a guest that is about to be ended.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from pathlib import Path

_MAGIC, _VERSION, _DATA_BYTES = 0xCAFEBABE, 2, 512
_HEAD = struct.Struct("=iii")  # of an answer: error, whether more comes, length
# All tasks (sysrq).  Debian's 6.12 falls over its own backtrace at that, and names whom it interrupted.
_QUESTION = b"sysrq t"
_WHO = re.compile(r"PID: (?P<pid>\d+) Comm: (?P<name>\S+)|task:(?P<runs>\S+)\s+state:R.*?pid:(?P<its>\d+)")
_PATIENCE_S = 10.0


def culprit(console: Path) -> str:
    """The process that has the guest's processor, as `sh (844)`; an empty string if that is not told."""
    try:
        folder = os.open(console.parent, os.O_PATH | os.O_DIRECTORY)
    except OSError:  # the guest has not come so far
        return ""
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        asking.bind("\0vipdrill-" + os.urandom(8).hex())
        request = struct.pack("=III", _MAGIC, _VERSION, len(_QUESTION)) + _QUESTION.ljust(_DATA_BYTES, b"\0")
        # By the folder's descriptor, as the address of a socket has room for a short path only.
        asking.sendto(request, f"/proc/self/fd/{folder}/{console.name}")
        return _listen(asking)
    except OSError:
        return ""
    finally:
        asking.close()
        os.close(folder)


def _listen(asking: socket.socket) -> str:
    said, deadline = "", time.monotonic() + _PATIENCE_S
    while (left := deadline - time.monotonic()) > 0:
        asking.settimeout(left)
        try:
            answer = asking.recv(_HEAD.size + _DATA_BYTES * 16)
        except TimeoutError:
            break
        said += answer[_HEAD.size :].decode(errors="replace")
        if match := _WHO.search(said):
            return f"{match['name'] or match['runs']} ({match['pid'] or match['its']})"
    return ""
