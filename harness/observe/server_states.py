"""What a HAProxy says of its servers, line by line from its log: `Server POOL/NAME is DOWN, reason: …`.

Part of the observer.  The same line may come twice, as a log line and as a warning on stderr: what
changes nothing is not told again.
"""

from __future__ import annotations

import os
import time

from harness.kernel import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from harness.eventpipe import EventWriter

_READ_BYTES = 1 << 18
_LONGEST_REASON = 160


def parse(line: bytes) -> tuple[str, str, bool, str] | None:
    """A line as (pool, server, whether it is up, reason), or None if it is about something else."""
    words = line.decode("utf-8", "replace").partition("Server ")[2]
    name, _, rest = words.partition(" is ")
    pool, slash, server = name.partition("/")
    state, _, after = rest.partition(",")
    if not slash or state.split(" ")[0].strip(".") not in ("UP", "DOWN"):
        return None
    reason = after.strip().removeprefix("reason: ").partition(", check duration")[0]
    return pool, server, state.startswith("UP"), reason[:_LONGEST_REASON]


class ServerStates:
    """Follows the log of one HAProxy from `offset` on (inotify(7)); `fd` becomes readable when it grew."""

    def __init__(self, out: EventWriter, identity: str, path: str, offset: int) -> None:
        self._out = out
        self._node, _, self._service = identity.partition("/")
        self._log = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(self._log, offset, os.SEEK_SET)
        self.fd = sc.inotify_modified(path)
        self._partial = b""
        self._known: dict[tuple[str, str], bool] = {}

    def readable(self) -> None:
        """Tell what changed."""
        os.read(self.fd, 4096)
        now = time.monotonic_ns()
        *lines, self._partial = (self._partial + os.read(self._log, _READ_BYTES)).split(b"\n")
        for line in lines:
            found = parse(line) if b"Server " in line else None
            if found is None or self._known.get(found[:2], True) == found[2]:
                continue
            pool, server, up, reason = found
            self._known[found[:2]] = up
            self._out.emit(
                now,
                "health",
                node=self._node,
                service=self._service,
                pool=pool,
                server=server,
                up=up,
                reason=reason,
            )
