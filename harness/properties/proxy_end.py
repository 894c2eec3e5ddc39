"""A proxy that died or hung under a living keepalived: what the configuration in force promises then."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.bounds.bound import Bound
from harness.bounds.tracking import Tracking, detection, moves, takeover, trackings
from harness.bounds.vrrp import Speaker, successor
from harness.configs.keepalived_model import KeepalivedConfig, VrrpInstance
from harness.properties.facts import Facts, FaultSpan, VirtualRouter, speaker_name
from harness.properties.in_force import PROXIES, keepalived_at
from harness.timeline import Event


@dataclass(frozen=True)
class ProxyEnd:
    """One fault of a proxy against one virtual router.

    `part` is the fault of this proxy alone, where the fault has more targets.  `owner` announced the
    address when the fault came, which is not always the node that it hit; `heir` is the best of those
    with a living proxy.  `first` is the first advert of anybody else until `until_ns`.
    """

    facts: Facts
    fault: FaultSpan
    part: FaultSpan
    router: VirtualRouter
    node: str
    owner: str | None
    heir: Speaker | None
    instance: VrrpInstance | None
    config: KeepalivedConfig | None
    first: Event | None
    until_ns: int

    @property
    def hits_owner(self) -> bool:
        """Whether the proxy of the address's owner ended."""
        return self.owner == self.node

    @property
    def tracked(self) -> list[Tracking]:
        """What the node tracks of its services."""
        if self.instance is None or self.config is None:
            return []
        return trackings(self.instance, self.config)

    @property
    def noticing(self) -> list[tuple[Tracking, Bound]]:
        """Those that can notice this fault, with the time until they do."""
        found = [(tracking, detection(tracking, hung=self.part.hangs)) for tracking in self.tracked]
        return [(tracking, bound) for tracking, bound in found if bound is not None]

    @property
    def moving(self) -> list[tuple[Tracking, Bound]]:
        """Those whose failure makes the heir take over."""
        if self.heir is None:
            return []
        owner = self.router.speakers[self.node]
        return [(t, bound) for t, bound in self.noticing if moves(t, owner, self.heir)]

    @property
    def detected(self) -> Bound | None:
        """From the fault until the node says on the wire that it noticed; None: never."""
        interval_s = self.router.speakers[self.node].advert_interval_us / 1e6
        said = [
            bound
            if tracking.weight == 0
            else bound.wider(high=interval_s, why="told by the next advert only")
            for tracking, bound in self.noticing
        ]
        return _first_of(said)

    @property
    def bound(self) -> Bound | None:
        """From the fault until the heir announces the address; None: it never does."""
        if self.heir is None:
            return None
        owner = self.router.speakers[self.node]
        return _first_of(
            [_in_turn(bound, takeover(tracking, owner, self.heir)) for tracking, bound in self.moving]
        )


def proxy_ends(facts: Facts) -> list[ProxyEnd]:
    """Every fault that ended a balancer's proxy, against every virtual router that its node speaks for.

    Where it also hits the owner, or keepalived itself, what becomes of the address is not a standby's or
    a proxy's doing.
    """
    return [
        _proxy_end(facts, fault, part, router, node)
        for fault in facts.faults
        for part in fault.parts
        if part.service in PROXIES and part.ends_service
        for router in facts.routers_at(fault.inject_ns)
        for node in part.nodes
        if node in router.speakers and node not in facts.silenced_by(fault, router)
        if router.owner_at(fault.inject_ns) not in set(fault.nodes) - {node}
    ]


def _proxy_end(facts: Facts, fault: FaultSpan, part: FaultSpan, router: VirtualRouter, node: str) -> ProxyEnd:
    owner = router.owner_at(fault.inject_ns)
    until_ns = facts.until_next_fault(fault)
    if fault.heal_ns is not None:
        until_ns = min(until_ns, fault.heal_ns)
    claims = router.claims(fault.inject_ns, until_ns)
    first = next((advert for advert in claims if speaker_name(advert) != owner), None)
    gone = facts.silenced(router, fault.inject_ns) | facts.without_proxy(fault.inject_ns)
    heir = successor(s for s in router.others(node) if s.node not in gone)
    if heir is not None and first is not None and speaker_name(first) == heir.node:
        heir = replace(heir, priority=first.priority)
    return ProxyEnd(
        facts=facts,
        fault=fault,
        part=part,
        router=router,
        node=node,
        owner=owner,
        heir=heir,
        instance=router.instances.get(node),
        config=keepalived_at(facts.timeline, node, fault.inject_ns),
        first=first,
        until_ns=until_ns,
    )


def _in_turn(one: Bound, other: Bound) -> Bound:
    return Bound(one.low + other.low, one.high + other.high, "s", f"{one.source}; then {other.source}")


def _first_of(bounds: list[Bound]) -> Bound | None:
    """The bound of whichever comes first."""
    if not bounds:
        return None
    low, high = min(b.low for b in bounds), min(b.high for b in bounds)
    return Bound(low, high, "s", " / ".join(dict.fromkeys(b.source for b in bounds)))
