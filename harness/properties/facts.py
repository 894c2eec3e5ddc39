"""What a timeline says about its virtual routers and faults: the ground that all judges stand on.

Configurations are read as they were in force when the run began; who speaks VRRP without a readable
configuration (an appliance) is known from its adverts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from harness.bounds.vrrp import Speaker, down_us
from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import KeepalivedConfig, VrrpInstance
from harness.configs.source import included_from
from harness.timeline import Event, Timeline

SECOND_NS = 1_000_000_000
CENTISECOND_US = 10_000

# Faults that end a node's adverts without any decision of its own.
_SILENCING = ("host-crash", "kill", "stop", "freeze", "link-down")
Effect = Literal["silences", "harmless", "open"]


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
        """The service that it hits, or nothing for a whole node or link."""
        return self.target.partition(":")[0].partition("/")[2]

    @property
    def interface(self) -> str:
        """The interface that it hits, or nothing."""
        return self.target.partition(":")[2]

    def __str__(self) -> str:
        return f"{self.fault} of {self.target}"


@dataclass(frozen=True)
class Facts:
    """A timeline with its configurations read and its adverts and faults sorted out."""

    timeline: Timeline
    configs: Mapping[str, KeepalivedConfig]
    routers: tuple[VirtualRouter, ...]
    faults: tuple[FaultSpan, ...]
    end_ns: int

    @classmethod
    def of(cls, timeline: Timeline) -> Facts:
        """Read a timeline; raises UsageError where it has no `run` event or a configuration is unreadable."""
        configs = {node: _keepalived(timeline, node) for node in _configured(timeline)}
        routers = _routers(timeline, configs)
        done = timeline.last("phase", name="done")
        end_ns = timeline.span[1] if done is None else done.t
        return cls(timeline, configs, tuple(routers), tuple(_faults(timeline)), end_ns)

    @cached_property
    def lags(self) -> list[Event]:
        """The harness's own lateness, as it was told."""
        return self.timeline.of("lag")

    def lag_s(self, from_ns: int, to_ns: int) -> float:
        """The largest lateness of the harness within a window (a lag event covers the second before it)."""
        found = [e.lag_ns for e in self.lags if from_ns <= e.t and e.t - SECOND_NS <= to_ns]
        return max(found, default=0) / 1e9

    def effect(self, fault: FaultSpan, router: VirtualRouter) -> Effect:
        """What a fault does to a virtual router: silences a speaker, nothing, or what tracking decides."""
        hit = [node for node in fault.nodes if node in router.speakers]
        if not hit:
            return "harmless"
        if fault.fault not in _SILENCING:
            return "open"
        instances = [router.instances[node] for node in hit if node in router.instances]
        if fault.service not in ("", "keepalived"):
            tracked = any(t.kind != "interface" for i in instances for t in i.tracks)
            return "open" if tracked else "harmless"
        if fault.fault == "link-down" and fault.interface:
            own = any(i.interface == fault.interface for i in instances)
            tracked = any(t.name == fault.interface for i in instances for t in i.tracks)
            if not own and instances:
                return "open" if tracked else "harmless"
        return "silences"

    def silenced(self, router: VirtualRouter, t_ns: int) -> set[str]:
        """The speakers that a fault keeps silent at a moment."""
        return {
            node
            for fault in self.faults
            if fault.inject_ns <= t_ns and (fault.healed_ns is None or t_ns < fault.healed_ns)
            if self.effect(fault, router) == "silences"
            for node in fault.nodes
        }

    def until_next_fault(self, fault: FaultSpan) -> int:
        """When the next fault is injected, or the end of the timeline."""
        return min((f.inject_ns for f in self.faults if f.inject_ns > fault.inject_ns), default=self.end_ns)


def speaker_name(advert: Event) -> str:
    """Whose advert it is: the node, or its address where no node of ours sent it."""
    return str(advert.node) if advert.node not in ("", "?", None) else str(advert.src)


def _configured(timeline: Timeline) -> list[str]:
    return sorted({e.node for e in timeline.of("config") if e.service == "keepalived"})


def _keepalived(timeline: Timeline, node: str) -> KeepalivedConfig:
    """The first configuration of a node; files told with it are what it may include."""
    events = timeline.of("config", node=node, service="keepalived")
    files: dict[str, str] = {}
    for event in events:
        files.setdefault(event.path, event.text)
    main = next((path for path in files if path.endswith("keepalived.conf")), events[0].path)
    config_id = node.partition(".")[0]
    return read_keepalived(files[main], main, config_id=config_id, read_included=included_from(files))


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
    return [_router(key, keys.get(key, {}), adverts.get(key, [])) for key in sorted({*keys, *adverts})]


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
        node = inject.target.partition(":")[0].partition("/")[0]
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
