"""What is the case right now, kept up to date from the events as they arrive.

For waits, targets and the live view only: verdicts are made from the whole timeline afterwards.
"""

from __future__ import annotations

from harness.timeline import Event


class Situation:
    """The present owners, addresses and clients' fortunes of a running testbed."""

    def __init__(self) -> None:
        self.owner_of: dict[int, str] = {}
        """Who announced each VRID last."""
        self.owner_since: dict[int, int] = {}
        self.last_advert: dict[int, Event] = {}
        self.adverts = 0
        self.announcers: set[str] = set()
        """Who ever announced a VRID."""
        self.told_by: dict[str, str] = {}
        """Who told all neighbours last that an address is its own (gratuitous ARP)."""
        self.holders: dict[str, set[str]] = {}
        """Which nodes have each address (without its prefix length)."""
        self.streak: dict[str, int] = {}
        """How many new connections each client has got answered in a row, in the order of their due times."""
        self.answered: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        self._last_loss_due: dict[str, int] = {}

    def take(self, event: Event) -> None:
        """Take an event into account."""
        if event.kind == "vrrp":
            self._advert(event)
        elif event.kind == "probe" and event.stream == "new":
            self._probe(event)
        elif event.kind == "address":
            self._address(event)
        elif event.kind == "arp" and event.gratuitous:
            self.told_by[event.sender_ip] = event.node
        elif event.kind == "node" and event.state == "crashed":
            for nodes in self.holders.values():
                nodes.discard(event.node)

    def _advert(self, event: Event) -> None:
        self.adverts += 1
        if event.priority == 0 or event.get("bad"):
            return
        vrid = event.vrid
        self.announcers.add(event.node)
        if self.owner_of.get(vrid) != event.node:
            self.owner_of[vrid] = event.node
            self.owner_since[vrid] = event.t
        self.last_advert[vrid] = event

    def _address(self, event: Event) -> None:
        nodes = self.holders.setdefault(str(event.address).partition("/")[0], set())
        if event.change == "add":
            nodes.add(event.node)
        else:
            nodes.discard(event.node)

    def _probe(self, event: Event) -> None:
        client = event.client
        if event.result == "ok":
            self.answered[client] = self.answered.get(client, 0) + 1
            # A loss is known only when its time ran out, so later attempts may have been counted already.
            if event.t > self._last_loss_due.get(client, 0):
                self.streak[client] = self.streak.get(client, 0) + 1
            return
        self.lost[client] = self.lost.get(client, 0) + 1
        self.streak[client] = 0
        self._last_loss_due[client] = max(event.t, self._last_loss_due.get(client, 0))

    def forget_streaks(self) -> None:
        """Count every client's successes from now."""
        for client in self.streak:
            self.streak[client] = 0

    def mistold(self) -> str:
        """Which address the neighbours were last told to be at another router's than its owner's, or nothing.

        Two that begin together may both announce it for a moment, and the one that gives way may be the last
        to be heard.  keepalived tells its neighbours again after garp_master_delay (5 s).
        """
        for vrid, advert in self.last_advert.items():
            for address in advert.addresses:
                teller = self.told_by.get(address)
                if teller in self.announcers and teller != self.owner_of.get(vrid):
                    return f"neighbours were told last that {teller} has {address}"
        return ""

    @property
    def owner(self) -> str | None:
        """Who announced the first VIP (of the lowest VRID) last, or None before the first advertisement."""
        first = min(self.last_advert, default=None)
        return None if first is None else str(self.last_advert[first].node)

    def summary(self) -> str:
        """One line for a person who waits."""
        owners = (
            ", ".join(f"VRID {vrid}: {node}" for vrid, node in sorted(self.owner_of.items())) or "no owner"
        )
        clients = ", ".join(
            f"{client} {self.answered.get(client, 0)} answered, {self.lost.get(client, 0)} lost"
            for client in sorted({*self.answered, *self.lost})
        )
        return "; ".join(filter(None, (owners, self.mistold(), clients or "no probe has ended yet")))
