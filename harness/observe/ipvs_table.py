"""The IPVS table of a director as events: what came, went, or changed its weight since it was last read.

IPVS tells nobody of changes (its generic netlink family has no multicast group), so the table is read
every so often; an event is at most one period later than what it tells.  Standard library only.
"""

from __future__ import annotations

import _socket as socket  # what `socket` wraps, without its import of `enum` and `selectors`

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.eventpipe import EventWriter

PATH = "/proc/net/ip_vs"
OF_PROCESS = "/net/ip_vs"
"""The same, of the network namespace of a process, below its folder in `/proc`."""
PERIOD_NS = 50_000_000
"""How often the table is read."""

_LOAD_NS = 1_000_000_000
_FORWARDS = {"Masq": "NAT", "Route": "DR", "Tunnel": "TUN"}


class Entry:
    """A virtual server (`member` empty), or a member of one."""

    __slots__ = ("active", "forward", "inactive", "member", "scheduler", "service", "weight")

    def __init__(self, service: str, member: str = "") -> None:
        self.service, self.member = service, member
        self.scheduler = self.forward = ""
        self.weight = self.active = self.inactive = 0


def parse(text: str) -> dict[tuple[str, str], Entry]:
    """The table by service (`TCP 10.0.0.100:6443`, `FWM 7`) and member (`10.0.0.21:6443`)."""
    found: dict[tuple[str, str], Entry] = {}
    service = ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("  ->") and service and len(words) >= 6 and words[1] != "RemoteAddress:Port":
            entry = Entry(service, _endpoint(words[1]))
            entry.forward = _FORWARDS.get(words[2], words[2])
            entry.weight, entry.active, entry.inactive = (int(word) for word in words[3:6])
            found[service, entry.member] = entry
        elif words and words[0] in ("TCP", "UDP", "SCTP", "FWM"):
            which = str(int(words[1], 16)) if words[0] == "FWM" else _endpoint(words[1])
            service = f"{words[0]} {which}"
            entry = Entry(service)
            entry.scheduler = words[2]
            found[service, ""] = entry
    return found


def _endpoint(text: str) -> str:
    """`0A000064:192B` as 10.0.0.100:6443; an IPv6 address stands in brackets already."""
    address, _, port = text.rpartition(":")
    if not address.startswith("["):
        address = socket.inet_ntoa(bytes.fromhex(address))
    return f"{address}:{int(port, 16)}"


class IpvsTable:
    """What is known of one director's table."""

    def __init__(self, out: EventWriter, node: str) -> None:
        self._out, self._node = out, node
        self._text = ""
        self._known: dict[tuple[str, str], Entry] = {}
        self._initial = True
        self._load_told = 0

    def take(self, now: int, text: str) -> None:
        """Compare the table with the last one and tell what is new."""
        if text != self._text:
            self._text = text
            entries = parse(text)
            self._changes(now, entries)
            self._known = entries
            self._load(now)
        self._initial = False

    def _changes(self, now: int, entries: dict[tuple[str, str], Entry]) -> None:
        for key, old in self._known.items():
            if key not in entries:
                self._tell(now, old, "del")
        for key, entry in entries.items():
            before = self._known.get(key)
            if before is None:
                self._tell(now, entry, "add")
            elif before.weight != entry.weight:
                self._tell(now, entry, "weight")

    def _tell(self, now: int, entry: Entry, change: str) -> None:
        fields: dict[str, Any] = {"node": self._node, "service": entry.service, "change": change}
        if entry.member:
            fields |= {"member": entry.member, "weight": entry.weight, "forward": entry.forward}
        else:
            fields["scheduler"] = entry.scheduler
        if self._initial:
            fields["initial"] = True
        self._out.emit(now, "ipvs", **fields)

    def _load(self, now: int) -> None:
        """The members' connections, at most once a second."""
        if now - self._load_told < _LOAD_NS:
            return
        self._load_told = now
        services: dict[str, dict[str, list[int]]] = {}
        for entry in self._known.values():
            if entry.member:
                services.setdefault(entry.service, {})[entry.member] = [entry.active, entry.inactive]
        for service, members in services.items():
            self._out.emit(now, "ipvs-load", node=self._node, service=service, members=members)
