"""Timelines made by hand: two balancers, a client, and whatever a test lets happen to them.

Times are given in seconds from the beginning of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.timeline import Event, Timeline

VIP = "10.0.0.100"
VRID = 51
START_NS = 5_000_000_000_000


def ns(seconds: float) -> int:
    """A moment of the run on the timeline's clock."""
    return START_NS + round(seconds * 1e9)


class Lab:
    """Builds one timeline. Balancers are named lb1, lb2, … with addresses 10.0.0.11, 10.0.0.12, …"""

    def __init__(
        self,
        priorities: Mapping[str, int] | None = None,
        *,
        interval_s: float = 0.1,
        version: int = 3,
        instance: Mapping[str, str] | None = None,
        blocks: str = "",
    ) -> None:
        self.priorities = dict(priorities or {"lb1": 100, "lb2": 90})
        self.interval_s, self.version = interval_s, version
        self.events: list[Event] = []
        self._run()
        for node, priority in self.priorities.items():
            text = (
                f"global_defs {{\n vrrp_version {version}\n}}\n{blocks}\n"
                f"vrrp_instance VI {{\n interface eth0\n virtual_router_id {VRID}\n priority {priority}\n"
                f" advert_int {interval_s}\n {(instance or {}).get(node, '')}\n"
                f" virtual_ipaddress {{\n {VIP}/24\n }}\n}}\n"
            )
            path = "/etc/keepalived/keepalived.conf"
            self.add(0, "config", node=node, service="keepalived", path=path, text=text)

    def _run(self) -> None:
        nodes = [self._node(name, "balancer") for name in self.priorities]
        nodes += [self._node("m1", "member"), self._node("cl", "client")]
        self.add(
            0,
            "run",
            format=1,
            version="0",
            architecture="vip-l7",
            options={},
            seed=1,
            world="real",
            nodes=nodes,
            segments=["front"],
            vips=[{"address": VIP, "port": 6443, "service": "masters"}],
        )

    def _node(self, name: str, role: str) -> dict[str, Any]:
        interface = {
            "name": "eth0",
            "segment": "front",
            "mac": self.mac(name),
            "addresses": [f"{self.ip(name)}/24"],
        }
        return {"name": name, "role": role, "interfaces": [interface]}

    @staticmethod
    def ip(node: str) -> str:
        """A node's own address."""
        return f"10.0.0.{10 + int(node[2:])}" if node.startswith("lb") else f"10.0.0.{200 + len(node)}"

    @staticmethod
    def mac(node: str) -> str:
        """A node's hardware address."""
        return f"02:00:00:00:00:{int(Lab.ip(node).rpartition('.')[2]):02x}"

    # -- one event ---------------------------------------------------------------------------------

    def add(self, at_s: float, kind: str, **fields: Any) -> None:
        """Any event."""
        self.events.append(Event(ns(at_s), kind, fields))

    def advert(self, node: str, at_s: float, priority: int | None = None) -> None:
        """One VRRP advert."""
        self.add(
            at_s,
            "vrrp",
            segment="front",
            node=node,
            src=self.ip(node),
            dst="224.0.0.18",
            vrid=VRID,
            version=self.version,
            priority=self.priorities[node] if priority is None else priority,
            interval_cs=round(self.interval_s * 100),
            addresses=[VIP],
        )

    def fault(
        self,
        name: str,
        target: str,
        at_s: float,
        heal_s: float | None = None,
        detail: str = "",
        late: float = 0,
    ) -> None:
        """A fault that acts `late` seconds after its injection and is healed at once, if it is."""
        nodes = list(dict.fromkeys(one.partition("/")[0].partition(":")[0] for one in target.split("+")))
        states = [("inject", at_s), ("effective", at_s + late)]
        states += [] if heal_s is None else [("heal", heal_s), ("healed", heal_s)]
        told = {"detail": detail} if detail else {}
        earlier = [e for e in self.events if e.kind == "fault" and e.state == "inject" and e.fault == name]
        told |= {"id": f"{name}-{len(earlier) + 1}", "fault": name, "target": target}
        for state, t in states:
            self.add(t, "fault", state=state, nodes=nodes, **told)

    def garp(self, node: str, at_s: float, address: str = VIP) -> None:
        """One gratuitous ARP."""
        self.add(
            at_s,
            "arp",
            segment="front",
            node=node,
            op="request",
            sender_mac=self.mac(node),
            sender_ip=address,
            target_ip=address,
            gratuitous=True,
        )

    def address(self, node: str, at_s: float, change: str = "add") -> None:
        """The virtual address comes to a node or leaves it."""
        self.add(at_s, "address", node=node, interface="eth0", address=f"{VIP}/24", change=change)

    def probe(self, at_s: float, result: str = "ok", taken_s: float = 0.002, member: str = "m1") -> None:
        """One attempt of the client."""
        self.add(
            at_s,
            "probe",
            client="cl",
            stream="new",
            seq=len(self.events),
            target=f"{VIP}:6443",
            end=ns(at_s + taken_s),
            result=result,
            member=member if result == "ok" else None,
        )

    def lag(self, at_s: float, late_s: float, source: str = "observer") -> None:
        """Something was late by so much until then."""
        self.add(at_s, "lag", source=source, lag_ns=round(late_s * 1e9))

    # -- stretches of events -----------------------------------------------------------------------

    def announce(self, node: str, from_s: float, to_s: float) -> float:
        """Adverts at the interval from `from_s` to before `to_s`; gives the time of the last."""
        count = 0
        while from_s + count * self.interval_s < to_s:
            self.advert(node, from_s + count * self.interval_s)
            count += 1
        return from_s + (count - 1) * self.interval_s

    def takes(self, node: str, from_s: float, to_s: float) -> float:
        """A node becomes the owner, with address and gratuitous ARP, and announces it until `to_s`."""
        self.address(node, from_s + 0.001)
        self.garp(node, from_s + 0.002)
        return self.announce(node, from_s, to_s)

    def probes(self, from_s: float, to_s: float, lost: tuple[float, float] | None = None) -> None:
        """Attempts at 100/s; those due in the `lost` stretch time out."""
        for step in range(round(from_s * 100), round(to_s * 100)):
            due = step / 100
            if lost is not None and lost[0] <= due < lost[1]:
                self.probe(due, "timeout", 0.5)
            else:
                self.probe(due)

    def timeline(self) -> Timeline:
        """What happened, in order of time."""
        return Timeline(self.events)


def failover(
    fault: str = "host-crash",
    *,
    lab: Lab | None = None,
    late_s: float = 0.0,
    garp: bool = True,
    address: bool = True,
    outage_late_s: float = 0.0,
    lag_s: float = 0.0,
) -> Lab:
    """lb1 dies without a word 0.03 s after its advert at 2.0 s, and lb2 takes over by its timer.

    `late_s` moves the takeover; the client is back with the first attempt after it, or so much later.
    """
    lab = lab or Lab()
    lab.takes("lb1", 0.5, 2.05)
    target = "lb1/keepalived" if fault in ("kill", "stop") else "lb1"
    lab.fault(fault, target, 2.03)
    if fault == "host-crash":
        lab.add(2.031, "node", node="lb1", state="crashed")
    taken_s = 2.0 + 0.3 + 0.06484375 + late_s
    if address:
        lab.address("lb2", taken_s + 0.001)
    if garp:
        lab.garp("lb2", taken_s + 0.002)
    lab.announce("lb2", taken_s, 6.0)
    lab.probes(0.6, 6.0, (2.03, taken_s + 0.002 + outage_late_s))
    if lag_s:
        lab.lag(taken_s, lag_s)
    lab.add(6.0, "phase", name="done")
    return lab
