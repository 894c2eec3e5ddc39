"""When the IPVS tables of directors on the host's kernel are read, and the reading.

Part of the observer.  A node with a kernel of its own reads its table itself (uml/agent.pl).  In real time
every PERIOD_NS.  In virtual time every read costs more than all else that happens meanwhile, so there is
no timer: keepalived writes a line to its log before it changes the table, so all are read as soon as it
has had time to; and whenever the observer is awake anyway, which shows what anybody else changed.
"""

from __future__ import annotations

import os

from harness.observe.ipvs_table import PERIOD_NS, IpvsTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from harness.eventpipe import EventWriter

SETTLED_NS = 1_000_000
"""How long after a line of keepalived's log the table is as that says (virtual time: work takes none)."""

_READ_BYTES = 1 << 16
# seq_file(9) fills a page with whole lines as long as there are any: what is this much less was all.
_LAST_BYTES = 2048


class Tables:
    """The tables that are read; `timed` is whether by the clock, else at a hint (`expect_change`)."""

    def __init__(self, out: EventWriter, *, timed: bool) -> None:
        self._out, self._timed = out, timed
        self._read: dict[str, _Table] = {}
        self._last = 0
        self._due: int | None = None

    def follow(self, now: int, node: str, path: str) -> None:
        """Read a node's table, which is a file (that may come later), from now on."""
        self._read[node] = _Table(IpvsTable(self._out, node), path)
        self._read[node].look(now)
        if self._timed and self._due is None:
            self._due = now + PERIOD_NS

    def forget(self, now: int, node: str) -> None:
        """Read it no more, but once now."""
        table = self._read.pop(node, None)
        if table is not None:
            table.look(now)
            table.close()
        if not self._read:
            self._due = None

    def expect_change(self, now: int) -> None:
        """A table is about to change."""
        if self._due is None and self._read:
            self._due = now + SETTLED_NS

    def wait_ns(self, now: int) -> int | None:
        """How long until the next reading (ns), if there is to be one."""
        return None if self._due is None else max(0, self._due - now)

    def awake(self, now: int) -> None:
        """Read what is due, or what was last read a period ago."""
        if self._read and (now - self._last >= PERIOD_NS or (self._due is not None and now >= self._due)):
            self.look(now)

    def look(self, now: int) -> None:
        """Read all."""
        self._last = now
        if self._timed:
            self._due = now + PERIOD_NS if self._read else None
        elif self._due is not None and now >= self._due:
            self._due = None
        for table in self._read.values():
            table.look(now)


class _Table:
    """One director's table as a file that stays open; it is not there before its kernel has IPVS."""

    def __init__(self, table: IpvsTable, path: str) -> None:
        self._table, self._path = table, path
        self._fd = -1

    def look(self, now: int) -> None:
        """Read it and tell what is new."""
        self._table.take(now, self._text())

    def _text(self) -> str:
        """What is in it; nothing while it is not there."""
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            text = b""
            while data := os.pread(self._fd, _READ_BYTES, len(text)):
                text += data
                if len(data) < _LAST_BYTES:
                    break
        except OSError:
            return ""
        return text.decode()

    def close(self) -> None:
        """Read no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
