"""What a kernel says of its addresses, links and neighbours by rtnetlink(7), as events."""

from __future__ import annotations

import struct
import time

from harness.fabric import netlink, rtnl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from harness.eventpipe import EventWriter

_ON = rtnl.IFF_UP | rtnl.IFF_LOWER_UP


class KernelNews:
    """Turns one node's netlink messages into events. `flags` are those that a link in use has."""

    def __init__(self, out: EventWriter, node: str, flags: int = _ON) -> None:
        self._out, self._node, self._flags = out, node, flags
        self._names: dict[int, str] = {}
        self._up: dict[int, bool] = {}
        self._neighbours: dict[tuple[int, str], str] = {}

    def take_dump(self, questions: netlink.RouteSocket) -> None:
        """Tell what there is now, as what was there initially."""
        now = time.monotonic_ns()
        for kind, body in questions.dump(rtnl.RTM_GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
            self._message(now, kind, body, initial=True)
        for kind, body in questions.dump(rtnl.RTM_GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
            self._message(now, kind, body, initial=True)
        for kind, body in questions.dump(rtnl.RTM_GETNEIGH, struct.pack("=BxxxiHBB", 0, 0, 0, 0, 0)):
            self._message(now, kind, body, initial=True)

    def take(self, now: int, data: bytes) -> None:
        """Tell what has changed, as a datagram says that came at `now` (ns)."""
        for kind, _, _, body in netlink.messages(data):
            self._message(now, kind, body, initial=False)

    def _message(self, now: int, kind: int, body: bytes, *, initial: bool) -> None:
        extra = {"initial": True} if initial else {}
        if kind in (rtnl.RTM_NEWADDR, rtnl.RTM_DELADDR):
            index, address = rtnl.parse_address(body)
            change = "add" if kind == rtnl.RTM_NEWADDR else "del"
            name = self._names.get(index, str(index))
            self._out.emit(
                now, "address", node=self._node, interface=name, address=address, change=change, **extra
            )
        elif kind == rtnl.RTM_NEWLINK:
            index, name, flags = rtnl.parse_link(body)
            self._names[index] = name
            up = flags & self._flags == self._flags
            if self._up.get(index) != up:
                self._up[index] = up
                self._out.emit(now, "link", node=self._node, interface=name, up=up, **extra)
        elif kind in (rtnl.RTM_NEWNEIGH, rtnl.RTM_DELNEIGH):
            self._neighbour(now, body, gone=kind == rtnl.RTM_DELNEIGH, extra=extra)

    def _neighbour(self, now: int, body: bytes, *, gone: bool, extra: dict[str, bool]) -> None:
        """Tell where a neighbour is believed to be, where that has changed: mostly it is only confirmed."""
        found = rtnl.parse_neighbour(body)
        if found is None:
            return
        index, address, mac = found
        mac = "" if gone else mac
        if self._neighbours.get((index, address), "") != mac:
            self._neighbours[index, address] = mac
            name = self._names.get(index, str(index))
            fields = {"node": self._node, "interface": name, "address": address, "mac": mac or None}
            self._out.emit(now, "neighbour", **fields, **extra)
