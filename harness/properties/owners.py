"""Who owned a virtual address, when, by two witnesses: the adverts on the wire, the addresses on the nodes.

On the wire a node owns the address from its first advert until its farewell (priority 0), until an
advert that outranks it (RFC 9568 section 6.4.3), or, if it just falls silent, until its last advert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.bounds.bound import RESOLUTION_S
from harness.bounds.vrrp import address_number
from harness.errors import one_of
from harness.properties.facts import Facts, VirtualRouter, speaker_name
from harness.timeline import Event, Timeline

Witness = Literal["wire", "address"]
Ending = Literal["farewell", "outranked", "silence", "removed", "crash", "end"]
RESOLUTION_NS = round(RESOLUTION_S * 1e9)


@dataclass(frozen=True)
class Ownership:
    """One node's hold of the address, by one witness; `last_ns` is its last sign of life."""

    node: str
    from_ns: int
    to_ns: int
    witness: Witness
    ended_by: Ending
    last_ns: int
    address: str = ""


def owners(timeline: Timeline, which: str | int) -> list[Ownership]:
    """Who owned a virtual address (by its text) or virtual router (by its VRID), by both witnesses.

    Raises UsageError naming the known ones.
    """
    facts = Facts.of(timeline)
    found = [r for r in facts.routers if which == r.vrid or which in r.addresses]
    if not found:
        known = [a for r in facts.routers for a in r.addresses] + [str(r.vrid) for r in facts.routers]
        raise one_of("virtual address or VRID", str(which), known)
    held = [o for r in found for o in (*wire_owners(facts, r), *address_owners(facts, r))]
    return sorted(held, key=lambda o: (o.from_ns, o.node))


def wire_owners(facts: Facts, router: VirtualRouter) -> list[Ownership]:
    """The claims on the wire, in order of their beginning."""
    by_node: dict[str, list[Event]] = {}
    for advert in router.adverts:
        by_node.setdefault(speaker_name(advert), []).append(advert)
    claims = [
        _claim(facts, router, node, run)
        for node, adverts in by_node.items()
        for run in _runs(router, node, adverts)
    ]
    return sorted(claims, key=lambda claim: (claim.from_ns, claim.to_ns))


def _runs(router: VirtualRouter, node: str, adverts: list[Event]) -> list[list[Event]]:
    """A node's adverts in runs: each begins with a claim and ends with a farewell or a long silence."""
    limit_ns = router.silence_limit_ns(node)
    farewells = [a.t for a in router.adverts if a.priority == 0 and speaker_name(a) != node]
    runs: list[list[Event]] = []
    run: list[Event] = []
    for advert in adverts:
        if run and (
            advert.t - run[-1].t > limit_ns
            or any(run[-1].t + _interval_ns(run[-1]) < gone <= advert.t for gone in farewells)
        ):
            runs.append(run)
            run = []
        if advert.priority == 0:
            if run:
                runs.append([*run, advert])
            run = []
        else:
            run.append(advert)
    if run:
        runs.append(run)
    return runs


def _claim(facts: Facts, router: VirtualRouter, node: str, run: list[Event]) -> Ownership:
    first, last = run[0], run[-1]
    if last.priority == 0:
        return Ownership(node, first.t, last.t, "wire", "farewell", last.t)
    heir = next(
        (
            a
            for a in router.adverts
            if last.t < a.t <= last.t + _interval_ns(last) + RESOLUTION_NS
            if speaker_name(a) != node and _rank(a) > _rank(last)
        ),
        None,
    )
    if heir is not None:
        return Ownership(node, first.t, heir.t, "wire", "outranked", last.t)
    if facts.end_ns - last.t <= _interval_ns(last) + RESOLUTION_NS:
        return Ownership(node, first.t, facts.end_ns, "wire", "end", last.t)
    return Ownership(node, first.t, last.t, "wire", "silence", last.t)


def _interval_ns(advert: Event) -> int:
    return int(advert.interval_cs) * 10_000_000


def _rank(advert: Event) -> tuple[int, int]:
    return advert.priority, address_number(advert.src)


def address_owners(facts: Facts, router: VirtualRouter) -> list[Ownership]:
    """When each node had each of the addresses configured, by netlink."""
    held: dict[tuple[str, str], int] = {}
    found: list[Ownership] = []

    def ends(key: tuple[str, str], t: int, ended_by: Ending) -> None:
        found.append(Ownership(key[0], held.pop(key), t, "address", ended_by, t, key[1]))

    for event in facts.timeline.of("address", "node", "fault"):
        if event.kind == "address":
            key = (event.node, event.address.partition("/")[0])
            if key[1] not in router.addresses:
                continue
            if event.change == "add":
                held.setdefault(key, event.t)
            elif key in held:
                ends(key, event.t, "removed")
            continue
        # A crashed host takes its observer with it: nobody tells that its addresses are gone.
        for key in [key for key in held if key[0] in _crashed(event)]:
            ends(key, event.t, "crash")
    for (node, address), from_ns in held.items():
        end = facts.end_ns
        found.append(Ownership(node, from_ns, end, "address", "end", end, address))
    return sorted(found, key=lambda o: (o.from_ns, o.node))


def _crashed(event: Event) -> tuple[str, ...]:
    """The nodes that an event says went down."""
    if event.kind == "node":
        return (event.node,) if event.state == "crashed" else ()
    if event.fault in ("host-crash", "kernel-panic") and event.state == "inject":
        return tuple(event.get("nodes") or (event.target,))
    return ()


def disagreements(facts: Facts, router: VirtualRouter) -> list[str]:
    """Where the two witnesses differ by more than the timers' resolution: evidence, not a verdict.

    An address without adverts is a residual one (left behind by SIGKILL, or held by a frozen node).
    """
    wire, held = wire_owners(facts, router), address_owners(facts, router)
    observed = {e.node for e in facts.timeline.of("address")}
    said: list[str] = []
    for claim in wire:
        own = [h for h in held if h.node == claim.node and _overlap_ns(claim, h) > 0]
        if claim.node in observed and not own and claim.to_ns - claim.from_ns > RESOLUTION_NS:
            length = (claim.to_ns - claim.from_ns) / 1e9
            said.append(f"{claim.node} announced {router} for {length:.3f} s without having the address")
    for hold in held:
        claimed = sum(_overlap_ns(claim, hold) for claim in wire if claim.node == hold.node)
        residue = hold.to_ns - hold.from_ns - claimed
        longest = 1000 * router.speakers[hold.node].advert_interval_us if hold.node in router.speakers else 0
        if residue > longest + RESOLUTION_NS:
            said.append(f"{hold.node} had {hold.address} for {residue / 1e9:.3f} s without announcing it")
    return said


def _overlap_ns(one: Ownership, other: Ownership) -> int:
    return min(one.to_ns, other.to_ns) - max(one.from_ns, other.from_ns)
