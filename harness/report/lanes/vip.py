"""Lanes of each VIP: who owned it, by the adverts or by the addresses; the gratuitous ARPs for it."""

from __future__ import annotations

from harness.properties.facts import Facts
from harness.properties.owners import RESOLUTION_NS, Ownership, address_owners, wire_owners
from harness.report.lanes.model import Lane, Moment, Stretch
from harness.timeline import Event, Timeline

_ENDED = {
    "farewell": "it said goodbye (priority 0)",
    "outranked": "it gave way to a higher priority",
    "silence": "it fell silent",
    "removed": "the address was removed",
    "crash": "its host went down",
    "end": "until the end of the run",
}


def lanes(timeline: Timeline, facts: Facts | None) -> list[Lane]:
    """Owner lanes of every VIP (more than one where two own it at once), then address and ARP lanes."""
    found: list[Lane] = []
    for router in facts.routers if facts else ():
        name = ", ".join(router.announced or router.addresses)
        about = frozenset({str(router)})
        by_wire = wire_owners(facts, router) if facts else []
        rows = _rows(by_wire)
        for number, row in enumerate(rows):
            title = f"{name} owner" if number == 0 else f"{name} second owner"
            found.append(
                Lane(title, tuple(_stretch(o) for o in row), about=about if number == 0 else frozenset())
            )
        by_address = _rows(address_owners(facts, router)) if facts else []
        for number, row in enumerate(by_address):
            title = f"{name} configured" if number == 0 else f"{name} also there"
            held = Lane(title, tuple(_stretch(o) for o in row))
            found.append(held if rows else Lane(held.name, held.stretches, about=about))
    return [*found, *_announcements(timeline)]


def _rows(owned: list[Ownership]) -> list[list[Ownership]]:
    """Holds of one VIP in as few rows as keep those apart that overlap by more than VRRP's timers resolve."""
    rows: list[list[Ownership]] = []
    for hold in sorted(owned, key=lambda o: (o.from_ns, o.to_ns)):
        row = next((row for row in rows if row[-1].to_ns <= hold.from_ns + RESOLUTION_NS), None)
        if row is None:
            rows.append([hold])
        else:
            row.append(hold)
    return rows


def _stretch(hold: Ownership) -> Stretch:
    by = "announces it" if hold.witness == "wire" else "has it on an interface"
    detail = f"{hold.node} {by}; {_ENDED.get(hold.ended_by, hold.ended_by)}"
    return Stretch(hold.from_ns, hold.to_ns, "node", hold.node, detail, hold.node)


def _announcements(timeline: Timeline) -> list[Lane]:
    by_address: dict[str, list[Event]] = {}
    vips = {vip["address"] for vip in timeline.run.vips}
    for event in timeline.of("arp", gratuitous=True):
        if event.sender_ip in vips:
            by_address.setdefault(event.sender_ip, []).append(event)
    return [
        Lane(f"{address} gratuitous ARP", moments=tuple(_announcement(event) for event in events))
        for address, events in sorted(by_address.items())
    ]


def _announcement(event: Event) -> Moment:
    text = f"{event.node} tells all: {event.sender_ip} is at {event.sender_mac}"
    return Moment(event.t, "node", text, event.node, event)
