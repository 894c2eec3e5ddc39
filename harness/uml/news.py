"""What a machine tells of itself, turned into events for the recorder: addresses, links, ends of processes.

One object lives from a boot to the machine's end.  It writes JSON Lines into a pipe, as an agent of ours
does, and the recorder reads it like one.  A second thread hears of the carrier of the machine's links,
which the machine's own driver cannot see.

What a machine tells may come seconds late where processors are scarce, and all at once.  So it says by its
own clock when it was; that runs as the host's, and how far apart they are the quickest of its words tells.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from harness.eventpipe import EventWriter
from harness.fabric import rtnl
from harness.fabric.addressing import FIRST_INDEX
from harness.fabric.netlink import RouteSocket, messages
from harness.kernel.waiting import readable
from harness.lean_json import dumps
from harness.observe.ipvs_table import IpvsTable
from harness.observe.kernel_news import KernelNews
from harness.uml.channel import GONE
from harness.uml.process import GuestProcess

_IN_USE = rtnl.IFF_UP | rtnl.IFF_RUNNING


class News:
    """The recorder's source of events for one machine since its boot."""

    name = "kernel"

    def __init__(self, node: str, log_dir: Path, hello: Future[bool]) -> None:
        """`hello` gets whether the agent serves, as soon as that is known."""
        self.node, self.log = node, log_dir / "machine.log"
        self._hello = hello
        self.events, self._write = os.pipe()
        fcntl.fcntl(self.events, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        os.set_blocking(self.events, False)
        self._out = EventWriter(self._write)
        self._kernel = KernelNews(self._out, node, _IN_USE)
        self._ipvs = IpvsTable(self._out, node)
        self._telling = threading.Lock()
        self._held: list[tuple[int, str, list[bytes]]] | None = None
        self._ahead_ns: int | None = None
        self._over, self._over_write = os.pipe()
        self._carrier_thread: threading.Thread | None = None
        self.heard = False
        """Whether the recorder reads it, and will close it."""

    # -- by the thread that reads the machine's line -------------------------------------------------

    def hear(self, now: int, kind: str, fields: list[bytes]) -> None:
        """What the agent says unasked."""
        if kind == "hello":
            self._when(now, fields[0])
            self._hello.set_result(True)
        elif kind in ("news", "file"):
            then = self._when(now, fields[0])
            with self._telling:
                if self._held is not None:
                    self._held.append((then, kind, fields[1:]))
                    return
                self._take(then, kind, fields[1:])
                self._out.flush()
        elif kind == GONE and not self._hello.done():
            self._hello.set_result(False)

    def _when(self, now: int, told: bytes) -> int:
        """The moment (ns) on the host's clock that a machine speaks of, by its own (CLOCK_MONOTONIC)."""
        ahead_ns = now - int(told)
        self._ahead_ns = ahead_ns if self._ahead_ns is None else min(ahead_ns, self._ahead_ns)
        return int(told) + self._ahead_ns

    def _take(self, now: int, kind: str, fields: list[bytes]) -> None:
        if kind == "file":
            self._ipvs.take(now, fields[1].decode())
        elif fields[0]:
            self._kernel.take(now, fields[0])
        else:
            self._out.emit(now, "note", text=f"netlink of {self.node} overflowed: events lost")

    def ended(self, process: GuestProcess, now: int) -> None:
        """A supervised process has ended."""
        told = {"_exited": f"{process.node}/{process.name}", "pid": process.pid, "t": now}
        with self._telling:
            self._out.raw(dumps(told).encode() + b"\n")
            self._out.flush()

    # -- by the engine -------------------------------------------------------------------------------

    def tell_present(self, route: RouteSocket) -> None:
        """Tell what addresses and links there are now, then what was heard of meanwhile."""
        with self._telling:
            self._held = []
        # The answers come by the thread that hears the news, which must not wait for this one.
        self._kernel.take_dump(route)
        with self._telling:
            held, self._held = self._held, None
            for then, kind, fields in held:
                self._take(then, kind, fields)
            self._out.flush()

    def listen(self, carrier: RouteSocket, on_change: Callable[[int, bool], None]) -> None:
        """Call `on_change` with the position of a link and whether it has carrier, at every change."""
        self._carrier_thread = threading.Thread(
            target=self._hear_carrier, args=(carrier, on_change), name=f"carrier-{self.node}", daemon=True
        )
        self._carrier_thread.start()

    def _hear_carrier(self, carrier: RouteSocket, on_change: Callable[[int, bool], None]) -> None:
        known: dict[int, bool] = {}
        while self._over not in readable([carrier.socket.fileno(), self._over]):
            for kind, _, _, body in messages(carrier.socket.recv(1 << 17)):
                index, _, flags = rtnl.parse_link(body)
                position, up = index - FIRST_INDEX, bool(flags & rtnl.IFF_LOWER_UP)
                if kind != rtnl.RTM_NEWLINK or not 0 <= position < _MOST_LINKS:
                    continue
                if known.setdefault(position, True) != up:
                    known[position] = up
                    on_change(position, up)
        carrier.close()

    def end(self) -> None:
        """The machine is gone: what was told can still be read."""
        os.close(self._over_write)
        if self._carrier_thread is not None:
            self._carrier_thread.join()
        os.close(self._over)
        with self._telling:
            self._out.flush()
            os.close(self._write)
        if not self.heard:
            self.close()

    # -- by the recorder -----------------------------------------------------------------------------

    def command(self, **command: object) -> None:
        """Nothing can be asked of it."""

    def close(self) -> None:
        """Read no more."""
        if self.events >= 0:
            os.close(self.events)
            self.events = -1


_MOST_LINKS = 64
