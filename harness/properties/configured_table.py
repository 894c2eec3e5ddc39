"""configured-table: has a director's IPVS table what its keepalived.conf says, once steady, once reloaded?

keepalived keeps the table by what it believes to be in it: it does not read it.  Two real servers that come
to the same place in it (with DR and TUN a port is the virtual server's, whatever the file says) have one
entry between them, which goes as soon as either's check fails; and what somebody took out by hand, a reload
does not put back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from harness.bounds.bound import Bound
from harness.bounds.checkers import BOOTSTRAP_S
from harness.configs.ipvs_model import Checker, RealServer, SorryServer, VirtualServer
from harness.configs.keepalived_model import KeepalivedConfig
from harness.properties.facts import SECOND_NS, Facts, FaultSpan
from harness.properties.in_force import keepalived_at
from harness.properties.matter import Matter
from harness.properties.member_removal import READ_S
from harness.properties.quiet import quiet_again
from harness.timeline import Event
from harness.verdict import Status, Verdict

NAME = "configured-table"
_SHOWN = 6
_Place = tuple[str, str]
"""A virtual server (`TCP 10.0.0.100:6443`) and a member of it (`10.0.0.21:6443`), or nothing for itself."""


@dataclass(frozen=True)
class _Moment:
    """When a director's table is looked at, and from when on what happened to it counts."""

    node: str
    since_ns: int
    at_ns: int
    fault: FaultSpan | None = None


def judge(facts: Facts) -> list[Verdict]:
    """A finding for every director at the steady state, and for every reload of one."""
    found = []
    for moment in _moments(facts):
        config = keepalived_at(facts.timeline, moment.node, moment.at_ns)
        down = facts.timeline.last("node", node=moment.node, state="crashed", until=moment.at_ns)
        booted_ns = facts.timeline.span[0] if down is None else down.t
        told = facts.timeline.of("ipvs", node=moment.node, since=booted_ns, until=moment.at_ns)
        if config is not None and told and any(v.address for v in config.virtual_servers):
            found.append(_judge(facts, moment, config, told))
    return found


def _moments(facts: Facts) -> Iterator[_Moment]:
    steady = facts.timeline.first("phase", name="steady")
    if steady is not None:
        for node in facts.configs:
            yield _Moment(node, facts.timeline.span[0], steady.t)
    for fault in facts.faults:
        nodes = [node for node in fault.nodes if "keepalived" in fault.services_on(node)]
        if fault.fault == "reload" and nodes:
            end_ns = min(facts.until_next_fault(fault), fault.heal_ns or facts.end_ns)
            # Each of keepalived's processes reloads by itself, the checkers' before the first check that it
            # makes; and whoever reads the table sees it a little later than it is.
            done_s = BOOTSTRAP_S + READ_S + facts.lag_s(fault.inject_ns, end_ns)
            if fault.effective_ns is not None and fault.effective_ns + round(done_s * SECOND_NS) <= end_ns:
                for node in nodes:
                    yield _Moment(node, fault.inject_ns, end_ns, fault)


def _judge(facts: Facts, moment: _Moment, config: KeepalivedConfig, told: list[Event]) -> Verdict:
    wanted: Counter[_Place] = Counter()
    for virtual in config.virtual_servers:
        if virtual.address:
            wanted[_service(virtual), ""] += 1
            wanted.update((_service(virtual), _endpoint(r)) for r in virtual.real_servers)
    present = _present(told)
    twice = [place for place, count in wanted.items() if count > 1]
    missing = [p for p in wanted if p not in present and not _excused(facts, moment, config, p, told)]
    strange = [place for place in present if place not in wanted and not _unnamed(config, place)]
    words = [
        *(f"{_name(place)} is not in it" for place in missing),
        *(f"{_name(place)} is in it and not in the file" for place in strange),
        *(f"{wanted[place]} entries of the file have the one place of {_name(place)}" for place in twice),
    ]
    when = "once it was steady" if moment.fault is None else f"after {moment.fault}"
    sentence = f"{moment.node}'s table {when} was what its file says"
    if words:
        sentence = f"{moment.node}'s table {when} was not what its file says: {'; '.join(words)}"
    status = Status.FAIL if words else Status.PASS
    if len(words) == len(missing) and all(_late(facts, config, place, told) for place in missing) and words:
        status, sentence = Status.UNKNOWN, f"{sentence}, but the testbed was as late as a check may take"
    evidence = [e for e in told if e.t >= moment.since_ns and (_of(e) in missing or _of(e) in strange)]
    bound = Bound(0, 0, "differences", "keepalived.conf(5): virtual_server, real_server")
    matter = Matter(NAME, moment.node, "steady", moment.at_ns)
    if moment.fault is not None:
        matter = Matter.of_fault(NAME, moment.fault, moment.node, "reload")
    return matter.verdict(status, sentence, len(words), bound, tuple(evidence[-_SHOWN:]))


def _unnamed(config: KeepalivedConfig, place: _Place) -> bool:
    """Whether an entry may be there without a virtual or real server of its own in the file."""
    for virtual in config.virtual_servers:
        if not virtual.address:
            # Of a group or a firewall mark.
            return True
        sorry = virtual.sorry_server
        if sorry is not None and place == (_service(virtual), _endpoint(sorry)):
            return True
    return False


def _present(told: list[Event]) -> set[_Place]:
    found: set[_Place] = set()
    for event in told:
        if event.change == "del":
            found.discard(_of(event))
        else:
            found.add(_of(event))
    return found


def _excused(
    facts: Facts, moment: _Moment, config: KeepalivedConfig, place: _Place, told: list[Event]
) -> bool:
    """Whether a check may have kept a member out, or taken it out, for reasons of other properties.

    Before the steady state one may have failed; later, whoever is out may be so by another fault.
    """
    if not place[1]:
        return False
    seen = any(_of(event) == place for event in told)
    if moment.fault is None:
        return seen or any(checker.alpha for checker in _checkers(config, place))
    return any(
        f.inject_ns <= moment.at_ns and quiet_again(facts, f) >= moment.since_ns
        for f in facts.faults
        if f.fault != "reload"
    )


def _late(facts: Facts, config: KeepalivedConfig, place: _Place, told: list[Event]) -> bool:
    """Whether the check that took a member out may have failed by the testbed's own lateness."""
    gone = next((e for e in reversed(told) if _of(e) == place and e.change == "del"), None)
    waits = [
        c.script_timeout_us if c.kind == "misc" else c.connect_timeout_us for c in _checkers(config, place)
    ]
    if gone is None or not waits:
        return False
    return facts.lag_s(gone.t - min(waits) * 1000, gone.t) >= min(waits) / 1e6


def _checkers(config: KeepalivedConfig, place: _Place) -> list[Checker]:
    """The checkers of all real servers that have a place."""
    virtual = [v for v in config.virtual_servers if v.address and _service(v) == place[0]]
    reals = [r for v in virtual for r in v.real_servers if _endpoint(r) == place[1]]
    return [checker for real in reals for checker in real.checkers]


def _of(event: Event) -> _Place:
    return _normal(event.service), _normal(event.get("member") or "")


def _normal(text: str) -> str:
    """The same, with an IPv6 address as everybody writes it."""
    head, bracket, rest = text.partition("[")
    address, closing, port = rest.partition("]")
    return f"{head}[{ip_address(address)}]{port}" if bracket and closing else text


def _service(virtual: VirtualServer) -> str:
    return f"{virtual.protocol} {_endpoint(virtual)}"


def _endpoint(where: VirtualServer | RealServer | SorryServer) -> str:
    return f"[{where.address}]:{where.port}" if ":" in where.address else f"{where.address}:{where.port}"


def _name(place: _Place) -> str:
    return f"{place[1]} of {place[0]}" if place[1] else place[0]
