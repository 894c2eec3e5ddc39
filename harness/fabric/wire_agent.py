"""The agent of a userspace wire: frames between a port and its detour, late, twice, or out of order.

    node eth0 ── p1   (out of the bridge)        w1 (in the bridge instead) ── segment
                  └────── this agent ── v1 ──────┘

It sits in the fabric's network namespace and moves frames between two packet sockets (packet(7)), with
their offload headers, so that large segments and unfinished checksums pass as they are (virtio_net_hdr).
Every impairment on the port adds to the others; a frame's due time starts when the agent takes it in.

Configuration, one JSON argument: `{"port": [name, index], "detour": [name, index], "tap": [name, index],
"bridge": index, "seed"}`.  Commands, each answered by `{"_done": number}`:

    {"do": "seat"}                             take the place of the port in the bridge (again after a reboot)
    {"do": "set", "id", "in": S, "out": S}     add or replace an impairment; S is [delay, jitter, duplicate,
                                               reorder, hold]: times in ns, shares from 0 to 1
    {"do": "clear", "id"}                      remove it; frames under way keep their due times
    {"do": "leave", "join": bool}              deliver what is under way, give the port its place back
"""

from __future__ import annotations

import _socket as socket
import errno
import os
import sys
from _random import Random
from heapq import heappop, heappush
from select import EPOLLIN, epoll, select
from time import monotonic_ns

from harness.eventpipe import CommandReader, EventWriter
from harness.fabric import rtnl
from harness.fabric.netlink import RouteSocket
from harness.kernel import syscalls as sc
from harness.lean_json import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Shape = tuple[int, int, float, float, int]

_SOL_PACKET, _PACKET_VNET_HDR, _PACKET_IGNORE_OUTGOING = 263, 15, 23
_ETH_P_ALL = 0x0003
# An offload header, and the largest frame that an offload makes.
_FRAME_BYTES = 10 + 14 + 65536 + 4096
_BUFFER_BYTES = 8 << 20
_FRAMES_AT_ONCE = 64
_QUEUE_FRAMES = 100_000
_GONE = (19, 100)  # ENODEV, ENETDOWN


class Line:
    """One direction: what comes in at one socket leaves by another when it is due."""

    def __init__(self, random: Random) -> None:
        self.source: socket.socket | None = None
        self.sink: socket.socket | None = None
        self.queue: list[tuple[int, int, bytes]] = []
        self.shapes: dict[str, Shape] = {}
        self.lost = 0
        self._random = random.random
        self._last = self._number = 0

    def take(self) -> None:
        """Take frames in, and say when each is due."""
        source = self.source
        if source is None:
            return
        for _ in range(_FRAMES_AT_ONCE):
            try:
                frame = source.recv(_FRAME_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _GONE:
                    raise
                return
            now = monotonic_ns()
            if len(self.queue) >= _QUEUE_FRAMES:
                self.lost += 1
                continue
            self._schedule(now, frame)

    def _schedule(self, now: int, frame: bytes) -> None:
        due, held, copies, random = now, 0, 1, self._random
        for delay, jitter, duplicate, reorder, hold in self.shapes.values():
            due += delay
            if jitter:
                due += int((2 * random() - 1) * jitter)
            if duplicate and random() < duplicate:
                copies += 1
            if reorder and random() < reorder:
                held += hold
        # Jitter keeps the order, as a queue of varying length does: a frame waits for those before it.
        # Only what is held back is passed by others.
        due = self._last = max(due, self._last, now)
        for _ in range(copies):
            self._number += 1
            heappush(self.queue, (due + held, self._number, frame))

    def give(self, now: int) -> None:
        """Send what is due."""
        queue = self.queue
        while queue and queue[0][0] <= now:
            self._send(heappop(queue)[2])

    def drain(self) -> None:
        """Take in and send at once all that is there."""
        for _ in range(_QUEUE_FRAMES // _FRAMES_AT_ONCE):
            self.take()
            if not self.queue:
                return
            self.give(1 << 62)

    def _send(self, frame: bytes) -> None:
        if self.sink is None:
            self.lost += 1
            return
        try:
            self.sink.send(frame)
        except OSError:  # the link is down or its queue is full: as on a real wire, the frame is gone
            self.lost += 1


class Wire:
    """The agent's loop."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._writer, self._commands = EventWriter(), CommandReader()
        self._port, self._detour, self._tap = config["port"], config["detour"], config["tap"]
        self._bridge: int = config["bridge"]
        random = Random(config["seed"])
        self._out, self._in = Line(random), Line(random)
        self._netlink = RouteSocket()
        self._epoll = epoll()
        self._takers: dict[int, Line] = {}
        self._running = True
        self._epoll.register(self._commands.fd, EPOLLIN)

    def run(self) -> None:
        """Serve until told to leave, or until the engine is gone."""
        sc.wake_promptly()
        watched, lines = [self._epoll.fileno()], (self._out, self._in)
        self._writer.raw(b'{"_ready":true}\n')
        while self._running and not self._commands.closed:
            self._writer.flush()
            dues = [line.queue[0][0] for line in lines if line.queue]
            left = (min(dues) - monotonic_ns()) / 1e9 if dues else None
            if left is None or left > 0:
                select(watched, (), (), left)
            for fd, _ in self._epoll.poll(0):
                line = self._takers.get(fd)
                if line is not None:
                    line.take()
                elif fd == self._commands.fd:
                    for command in self._commands.read():
                        self._command(command)
            now = monotonic_ns()
            for line in lines:
                line.give(now)
        self._writer.drain()

    def _command(self, command: dict[str, Any]) -> None:
        do = command["do"]
        if do == "seat":
            self._seat(in_bridge=command["in_bridge"])
        elif do == "set":
            self._out.shapes[command["id"]] = tuple(command["out"])
            self._in.shapes[command["id"]] = tuple(command["in"])
        elif do == "clear":
            self._out.shapes.pop(command["id"], None)
            self._in.shapes.pop(command["id"], None)
        elif do == "leave":
            self._leave(join=command["join"])
        self._writer.raw(dumps({"_done": command["number"]}).encode() + b"\n")

    # -- taking the port's place -----------------------------------------------------------------

    def _open(self, device: list[Any], line: Line) -> socket.socket:
        """A packet socket of a device, whose frames `line` takes in."""
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        opened.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            opened.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        opened.bind((device[0], _ETH_P_ALL))
        self._epoll.register(opened.fileno(), EPOLLIN)
        self._takers[opened.fileno()] = line
        return opened

    def _close(self, opened: socket.socket | None) -> None:
        if opened is not None:
            self._takers.pop(opened.fileno(), None)
            opened.close()

    def _seat(self, *, in_bridge: bool) -> None:
        """Put the detour into the bridge instead of the port.

        The detour comes first, as taking a port out takes the kernel a while, and the bridge forgets what is
        behind the port before: it disables a port and only then forgets, and what came in between would be
        lost (net/bridge/br_if.c, del_nbp).  So a frame may arrive twice, but none is lost.
        """
        self._close(self._out.source)
        self._out.source = self._in.sink = self._open(self._port, self._out)
        if self._in.source is None:
            self._in.source = self._out.sink = self._open(self._tap, self._in)
        for line in (self._out, self._in):
            _discard(line.source)
        if in_bridge:
            self._netlink.send([rtnl.set_master(self._detour[1], self._bridge, "put the detour in")])
        self._take_out(self._port[1], f"take {self._port[0]} out")

    def _take_out(self, index: int, what: str, *, ignore: tuple[int, ...] = ()) -> None:
        self._netlink.send([rtnl.forget_port(index, what)], ignore=(*ignore, errno.EOPNOTSUPP))
        self._netlink.send([rtnl.set_master(index, 0, what)], ignore=ignore)

    def _leave(self, *, join: bool) -> None:
        """Send all that is under way at once, in its order, and put the port back.

        The port is back before the detour leaves, so that what this agent still holds can go by it: a frame
        that passes meanwhile may arrive twice, but none is lost.
        """
        try:
            for line in (self._out, self._in):
                line.drain()
            if join:
                back = rtnl.set_master(self._port[1], self._bridge, "put the port back")
                self._netlink.send([back], ignore=_GONE)
            self._out.drain()
            self._take_out(self._detour[1], "take the detour out", ignore=_GONE)
            self._in.drain()
        finally:
            self._running = False


def _discard(source: socket.socket | None) -> None:
    """Forget what came before the wire was seated: the bridge has passed it on."""
    while source is not None:
        try:
            source.recv(64)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in _GONE:
                raise


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    Wire(loads(sys.argv[-1])).run()
    os._exit(0)
