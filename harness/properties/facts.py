"""What a timeline says about its virtual routers and faults: the ground that all judges stand on.

Each fault is judged by the configurations in force when it came, the whole run by those with which it
began; who speaks VRRP without a readable configuration (an appliance) is known from its adverts.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from harness.bounds.vrrp import Speaker, down_us
from harness.configs.keepalived_model import KeepalivedConfig, VrrpInstance
from harness.observe.lateness import LOOK_NS, is_machine
from harness.properties import hearing
from harness.properties.in_force import PROXIES, keepalived_at
from harness.timeline import Event, Timeline

SECOND_NS = 1_000_000_000
CENTISECOND_US = 10_000

# Faults that end a node's adverts without any decision of its own, and those of one service only.
_SILENCING = ("host-crash", "host-reboot", "kernel-panic", "kill", "stop", "freeze", "link-down")
# Faults under which the owner goes on, or stands still, as the owner that it was.
_RESUMING = ("freeze", "hang", "link-blocked", "link-oneway", "vrrp-drop", "partition")
_ENDS_SERVICE = ("kill", "stop")
_HANGS_SERVICE = ("hang", "freeze")
Effect = Literal["silences", "parts", "harmless", "open"]
"""What a fault does to a virtual router: its owner falls silent; is heard by some only; nothing; unknown."""

_BY_WEIGHT: tuple[Effect, ...] = ("silences", "open", "harmless")


@dataclass(frozen=True)
class VirtualRouter:
    """One VRRP virtual router on one segment: its speakers, its addresses, its adverts on the wire.

    `addresses` are plain (no prefix); `announced` those of them that the adverts carry.
    """

    segment: str
    vrid: int
    family: int
    speakers: Mapping[str, Speaker]
    instances: Mapping[str, VrrpInstance]
    addresses: tuple[str, ...]
    announced: tuple[str, ...]
    adverts: tuple[Event, ...]

    def __str__(self) -> str:
        return f"{', '.join(self.addresses) or 'no address'} (VRID {self.vrid})"

    def same(self, other: VirtualRouter) -> bool:
        """Whether the other is this one at another time, under another configuration."""
        key = (self.segment, self.vrid, self.family) == (other.segment, other.vrid, other.family)
        strangers = self.instances and other.instances and not set(self.instances) & set(other.instances)
        return key and not strangers

    def others(self, *nodes: str) -> list[Speaker]:
        """The speakers that are not among these nodes."""
        return [speaker for node, speaker in self.speakers.items() if node not in nodes]

    def claims(self, since_ns: int, until_ns: int) -> list[Event]:
        """The adverts with a priority above 0 after `since_ns`, up to `until_ns`."""
        return [a for a in self.adverts if a.priority > 0 and since_ns < a.t <= until_ns]

    def silence_limit_ns(self, node: str) -> int:
        """After how long a silence of this node another one takes over, or itself gave up."""
        own = self.speakers[node].advert_interval_us
        others = self.others(node)
        return 1000 * min((down_us(s, own) for s in others), default=down_us(self.speakers[node]))

    def falls_silent(self, node: str, from_ns: int, to_ns: int) -> bool:
        """Whether a node ends its adverts in a window, by itself: with a farewell, or without a word."""
        own = [a for a in self.adverts if a.t <= to_ns and speaker_name(a) == node]
        if not own or own[-1].priority == 0:
            return bool(own) and own[-1].t > from_ns
        before = next((a for a in reversed(own) if a.t <= from_ns), own[0])
        stepped_down = own[-1].priority < before.priority
        return not stepped_down and to_ns - own[-1].t > self.silence_limit_ns(node)

    def owner_at(self, t_ns: int) -> str | None:
        """Who announced the addresses last before a moment, unless it left or fell silent since."""
        last = next((a for a in reversed(self.adverts) if a.t <= t_ns), None)
        if last is None or last.priority == 0:
            return None
        speaker = speaker_name(last)
        return speaker if t_ns - last.t <= self.silence_limit_ns(speaker) else None


@dataclass(frozen=True)
class FaultSpan:
    """One fault's life; `heal_ns` and what follows are None while it still acts at the end."""

    id: str
    fault: str
    target: str
    nodes: tuple[str, ...]
    inject: Event
    effective_ns: int | None
    heal_ns: int | None
    healed_ns: int | None

    @property
    def inject_ns(self) -> int:
        """When it began to act."""
        return self.inject.t

    @property
    def service(self) -> str:
        """The service that it hits, or nothing for a whole node or link; of several targets the first's."""
        return self._first_target.partition(":")[0].partition("/")[2]

    @property
    def interface(self) -> str:
        """The interface that it hits, or nothing."""
        return self._first_target.partition(":")[2]

    @property
    def _first_target(self) -> str:
        return self.target.partition("+")[0]

    @property
    def parts(self) -> tuple[FaultSpan, ...]:
        """The same fault of each of its targets."""
        targets = self.target.split("+")
        if len(targets) == 1:
            return (self,)
        return tuple(replace(self, target=target, nodes=(_node_of(target),)) for target in targets)

    def services_on(self, node: str | None) -> list[str]:
        """The services that it hits on a node."""
        return [part.service for part in self.parts if node in part.nodes and part.service]

    @property
    def parameters(self) -> dict[str, str]:
        """What it was given beside its target: the `KEY=VALUE` words of its detail."""
        words = str(self.inject.get("detail", "")).split()
        return dict(word.partition("=")[::2] for word in words if "=" in word)

    @property
    def hangs(self) -> bool:
        """Whether its service still exists and does nothing."""
        return bool(self.service) and self.fault in _HANGS_SERVICE

    @property
    def ends_service(self) -> bool:
        """Whether the service that it hits serves nobody any more, dead or hung."""
        return self.hangs or (bool(self.service) and self.fault in _ENDS_SERVICE)

    @property
    def resumes(self) -> bool:
        """Whether the owner that it hit takes itself for the owner still when it is healed."""
        return self.fault in _RESUMING

    def acts_at(self, t_ns: int) -> bool:
        """Whether it has begun and is not healed."""
        return self.inject_ns <= t_ns and (self.healed_ns is None or t_ns < self.healed_ns)

    def surely_acts_at(self, t_ns: int) -> bool:
        """Whether it has begun and its healing has not: from then on, what it keeps back may pass."""
        return self.inject_ns <= t_ns and (self.heal_ns is None or t_ns < self.heal_ns)

    def __str__(self) -> str:
        return f"{self.fault} of {self.target}"


@dataclass(frozen=True)
class Facts:
    """A timeline with its configurations read and its adverts and faults sorted out, in order of time."""

    timeline: Timeline
    configs: Mapping[str, KeepalivedConfig]
    routers: tuple[VirtualRouter, ...]
    faults: tuple[FaultSpan, ...]
    end_ns: int

    @classmethod
    def of(cls, timeline: Timeline) -> Facts:
        """Read a timeline; raises UsageError where it has no `run` event or a configuration is unreadable."""
        configs = _configs(timeline)
        routers = _routers(timeline, configs)
        done = timeline.last("phase", name="done")
        end_ns = timeline.span[1] if done is None else done.t
        return cls(timeline, configs, tuple(routers), tuple(_faults(timeline)), end_ns)

    def routers_at(self, t_ns: int) -> tuple[VirtualRouter, ...]:
        """The virtual routers as the configurations in force at a moment make them; adverts of all times."""
        later = [e.t for e in self.timeline.of("config", service="keepalived", until=t_ns)]
        epoch = max(later, default=0)
        if epoch not in self._epochs:
            self._epochs[epoch] = tuple(_routers(self.timeline, _configs(self.timeline, epoch)))
        return self._epochs[epoch]

    @cached_property
    def _epochs(self) -> dict[int, tuple[VirtualRouter, ...]]:
        return {}

    @cached_property
    def lags(self) -> list[Event]:
        """The harness's own lateness, as it was told."""
        return self.timeline.of("lag")

    def lag_s(self, from_ns: int, to_ns: int) -> float:
        """The largest lateness that may have moved what happened within a window (s).

        What was late in the second before it counts as well: that is when timers were armed that fired
        in the window.  The waits of a machine within the window add up, as everything that happens in
        it waits for its one processor, one thing after the other.
        """
        largest_ns = max((e.lag_ns for e in self.lags_within(from_ns - SECOND_NS, to_ns)), default=0)
        in_all_ns: Counter[str] = Counter()
        for lag in self.lags_within(from_ns, to_ns):
            if is_machine(lag.source):
                in_all_ns[lag.source] += lag.lag_ns
        return float(max(largest_ns, *in_all_ns.values(), 0)) / 1e9

    def lags_within(self, from_ns: int, to_ns: int) -> Iterator[Event]:
        """All that was late at some time within a window."""
        for lag in self.lags:
            if from_ns <= lag.t and lag.t - lag.lag_ns - LOOK_NS <= to_ns:
                yield lag

    def effect(self, fault: FaultSpan, router: VirtualRouter) -> Effect:
        """What a fault does to a virtual router; "open" is for tracking, or for nobody, to say.

        Where it hits several of its speakers, what it does to the owner counts.
        """
        if fault.fault in hearing.NETWORK:
            return self._of_network(fault, router)
        owner = router.owner_at(fault.inject_ns)
        by_part = [(part, self._of_part(part, router)) for part in fault.parts]
        on_owner = {effect for part, effect in by_part if owner in part.nodes} - {"harmless"}
        found = on_owner or {effect for _, effect in by_part}
        return next(effect for effect in _BY_WEIGHT if effect in found)

    def _of_part(self, fault: FaultSpan, router: VirtualRouter) -> Effect:
        """What a fault of one target does."""
        hit = [node for node in fault.nodes if node in router.speakers]
        if not hit:
            return "harmless"
        if fault.fault == "trip":
            until_ns = fault.heal_ns or self.until_next_fault(fault)
            silent = any(router.falls_silent(node, fault.inject_ns, until_ns) for node in hit)
            return "silences" if silent else "open"
        if fault.fault == "reload" and fault.service == "keepalived":
            return self._reloaded(fault, router, hit)
        instances = [router.instances[node] for node in hit if node in router.instances]
        if fault.service not in ("", "keepalived"):
            tracked = any(t.kind != "interface" for i in instances for t in i.tracks)
            ends = fault.ends_service or fault.fault in ("restart", "fds-exhausted")
            return "open" if tracked and ends else "harmless"
        if fault.fault in ("cpu-steal", "cpu-quota") and self._in_time(fault, router):
            return "harmless"
        if fault.fault not in _SILENCING and not fault.ends_service and fault.fault != "restart":
            return "open"
        if fault.fault == "link-down" and fault.interface:
            own = any(i.interface == fault.interface for i in instances)
            tracked = any(t.name == fault.interface for i in instances for t in i.tracks)
            if not own and instances:
                return "open" if tracked else "harmless"
        return "silences"

    def _of_network(self, fault: FaultSpan, router: VirtualRouter) -> Effect:
        owner, deaf = router.owner_at(fault.inject_ns), self.deaf(fault, router)
        if owner is not None and deaf:
            # Where nobody hears the owner the segment is silent; but whoever is only kept from announcing
            # itself, or is on the other side of a partition, goes on as an owner that some can reach.
            all_deaf = len(deaf) == len(router.speakers) - 1
            cut_off = all_deaf and fault.fault not in ("partition", "vrrp-drop")
            return "silences" if owner in fault.nodes and cut_off else "parts"
        return "harmless" if self._in_time(fault, router) else "open"

    def deaf(self, fault: FaultSpan, router: VirtualRouter) -> set[str]:
        """The speakers that a fault of the network keeps from hearing the owner's adverts."""
        owner = router.owner_at(fault.inject_ns)
        if owner is None:
            return set()
        return {
            node
            for part in fault.parts
            if not self._elsewhere(part, router)
            for node in router.speakers
            if node != owner and hearing.unheard(part, owner, node)
        }

    def _elsewhere(self, fault: FaultSpan, router: VirtualRouter) -> bool:
        """Whether a fault of the network is one of another segment, or of another interface."""
        if fault.fault == "partition" and fault.target != router.segment:
            return True
        instances = [router.instances[n] for n in fault.nodes if n in router.instances]
        return bool(fault.interface and instances) and all(i.interface != fault.interface for i in instances)

    def _in_time(self, fault: FaultSpan, router: VirtualRouter) -> bool:
        """Whether adverts that are late by what a fault makes them still come within every time-out."""
        owner = router.owner_at(fault.inject_ns)
        if owner is None or owner not in router.speakers:
            return False
        interval_us = router.speakers[owner].advert_interval_us
        limit_us = min((down_us(s, interval_us) for s in router.others(owner)), default=0)
        return interval_us + hearing.late_s(fault) * 1e6 < limit_us - 2 * CENTISECOND_US

    def _reloaded(self, fault: FaultSpan, router: VirtualRouter, nodes: list[str]) -> Effect:
        """What a new configuration of keepalived does to a virtual router of the old one."""
        new = next(
            (r for r in self.routers_at(fault.effective_ns or fault.inject_ns) if r.same(router)), None
        )
        if new is None or any(node in router.instances and node not in new.instances for node in nodes):
            return "silences"
        same = all(router.speakers[node] == new.speakers.get(node) for node in nodes)
        return "harmless" if same and router.addresses == new.addresses else "open"

    def silenced(self, router: VirtualRouter, t_ns: int) -> set[str]:
        """The speakers that a fault keeps silent at a moment: by itself, or as a tracked service ended."""
        return {
            node for fault in self.faults if fault.acts_at(t_ns) for node in self.silenced_by(fault, router)
        } | {
            node
            for fault in self.faults
            if fault.acts_at(t_ns)
            for part in fault.parts
            for node in part.nodes
            if _in_fault_state(part, router, node)
        }

    def silenced_by(self, fault: FaultSpan, router: VirtualRouter) -> set[str]:
        """The nodes that a fault keeps from announcing a virtual router."""
        if fault.fault in hearing.NETWORK:
            return set(fault.nodes) if self.effect(fault, router) == "silences" else set()
        silent = (part for part in fault.parts if self._of_part(part, router) == "silences")
        return {node for part in silent for node in part.nodes}

    def without_proxy(self, t_ns: int) -> set[str]:
        """The nodes whose proxy a fault keeps from serving at a moment."""
        return {
            node
            for fault in self.faults
            if fault.acts_at(t_ns)
            for part in fault.parts
            if part.service in PROXIES and part.ends_service
            for node in part.nodes
        }

    def until_next_fault(self, fault: FaultSpan, router: VirtualRouter | None = None) -> int:
        """When the next fault is injected (of those that touch a virtual router), or the timeline's end."""
        return self.next_fault_after(fault.inject_ns, router)

    def next_fault_after(self, t_ns: int, router: VirtualRouter | None = None) -> int:
        """The same, counted from a moment: what follows a healing may come long after the fault."""
        later = (f for f in self.faults if f.inject_ns > t_ns)
        touching = (f.inject_ns for f in later if router is None or self.effect(f, router) != "harmless")
        return next(touching, self.end_ns)


def speaker_name(advert: Event) -> str:
    """Whose advert it is: the node, or its address where no node of ours sent it."""
    return str(advert.node) if advert.node not in ("", "?", None) else str(advert.src)


def _node_of(target: str) -> str:
    return target.partition(":")[0].partition("/")[0]


def _in_fault_state(fault: FaultSpan, router: VirtualRouter, node: str) -> bool:
    """Whether what it tracks keeps a node's instance in FAULT (tracked with weight 0)."""
    if not (fault.ends_service and fault.service in PROXIES) or node not in router.instances:
        return False
    kinds = ("script",) if fault.hangs else ("script", "process")
    return any(t.kind in kinds and t.weight == 0 for t in router.instances[node].tracks)


def _configs(timeline: Timeline, t_ns: int | None = None) -> dict[str, KeepalivedConfig]:
    """Every node's keepalived configuration, at a moment or as the run began."""
    nodes = sorted({e.node for e in timeline.of("config", service="keepalived")})
    read = {node: keepalived_at(timeline, node, t_ns) for node in nodes}
    return {node: config for node, config in read.items() if config is not None}


def _routers(timeline: Timeline, configs: Mapping[str, KeepalivedConfig]) -> list[VirtualRouter]:
    nodes: dict[str, Any] = {node["name"]: node for node in timeline.run.nodes}
    keys: dict[tuple[str, int, int], dict[str, tuple[Speaker, VrrpInstance]]] = {}
    for node, config in configs.items():
        for instance in config.instances:
            interface = _interface(nodes.get(node, {}), instance.interface)
            address = _address(interface, instance)
            key = (interface.get("segment", ""), instance.vrid, instance.family)
            keys.setdefault(key, {})[node] = (Speaker.of(node, instance, config, address), instance)
    adverts: dict[tuple[str, int, int], list[Event]] = {}
    for event in timeline.of("vrrp"):
        key = (event.segment, event.vrid, ipaddress.ip_address(event.src).version)
        if key not in keys and ("", *key[1:]) in keys:
            key = ("", *key[1:])
        adverts.setdefault(key, []).append(event)
    return [
        _router(key, configured, said)
        for key in sorted({*keys, *adverts})
        for configured, said in _apart(keys.get(key, {}), adverts.get(key, []))
    ]


_Configured = Mapping[str, "tuple[Speaker, VrrpInstance]"]


def _apart(configured: _Configured, adverts: list[Event]) -> Iterator[tuple[_Configured, list[Event]]]:
    """Those that are meant for the same addresses: others may have the VRID by mistake.

    An advert without a configured sender belongs to the first.
    """
    groups: list[tuple[set[str], set[str]]] = []
    for node, (_, instance) in configured.items():
        nodes, addresses = {node}, {a.address for a in instance.addresses}
        for group in [g for g in groups if g[1] & addresses or not (g[1] and addresses)]:
            groups.remove(group)
            nodes, addresses = nodes | group[0], addresses | group[1]
        groups.append((nodes, addresses))
    if len(groups) < 2:
        yield configured, adverts
        return
    for number, (nodes, _) in enumerate(groups):
        others = set(configured) - nodes
        said = [a for a in adverts if speaker_name(a) in nodes or not (number or speaker_name(a) in others)]
        yield {node: configured[node] for node in configured if node in nodes}, said


def _router(
    key: tuple[str, int, int],
    configured: Mapping[str, tuple[Speaker, VrrpInstance]],
    adverts: list[Event],
) -> VirtualRouter:
    speakers = {node: speaker for node, (speaker, _) in configured.items()}
    for advert in adverts:
        node = speaker_name(advert)
        if node not in speakers and advert.priority > 0:
            speakers[node] = Speaker(
                node=node,
                version=advert.version,
                priority=advert.priority,
                advert_interval_us=advert.interval_cs * CENTISECOND_US,
                address=advert.src,
            )
    instances = {node: instance for node, (_, instance) in configured.items()}
    held = [a for instance in instances.values() for a in instance.addresses]
    announced = [a.address for a in held if not a.excluded] or [a for e in adverts for a in e.addresses]
    addresses = dict.fromkeys([*announced, *(a.address for a in held)])
    known = [advert for advert in adverts if speaker_name(advert) in speakers]
    return VirtualRouter(
        *key, speakers, instances, tuple(addresses), tuple(dict.fromkeys(announced)), tuple(known)
    )


def _interface(node: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next((i for i in node.get("interfaces", ()) if i["name"] == name), {})
    return found


def _address(interface: Mapping[str, Any], instance: VrrpInstance) -> str:
    hosts = (ipaddress.ip_interface(a).ip for a in interface.get("addresses", ()))
    return next((str(host) for host in hosts if host.version == instance.family), "")


def _faults(timeline: Timeline) -> list[FaultSpan]:
    spans: list[FaultSpan] = []
    for inject in timeline.of("fault", state="inject"):
        later = {e.state: e.t for e in timeline.of("fault", id=inject.id, since=inject.t)}
        node = _node_of(inject.target)
        spans.append(
            FaultSpan(
                id=inject.id,
                fault=inject.fault,
                target=inject.target,
                nodes=tuple(inject.get("nodes") or (node,)),
                inject=inject,
                effective_ns=later.get("effective"),
                heal_ns=later.get("heal"),
                healed_ns=later.get("healed"),
            )
        )
    return spans
