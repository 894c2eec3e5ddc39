"""What stands behind a balanced port: the members, by the configuration that a balancer had in force.

Of a proxy if it runs one, else of keepalived's virtual servers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from harness.configs.haproxy import HaproxyConfig, Proxy
from harness.configs.haproxy_server import Check
from harness.configs.ipvs_model import Checker, RealServer, VirtualServer
from harness.configs.keepalived_model import KeepalivedConfig
from harness.configs.nginx import NginxConfig, StreamServer, UpstreamServer
from harness.properties.facts import Facts
from harness.properties.in_force import haproxy_at, keepalived_at, nginx_at, proxy_of

_WEIGHING = ("wrr", "wlc", "sed", "nq", "sh", "mh", "lblc", "lblcr", "fo", "ovf", "twos")


@dataclass(frozen=True)
class Pooled:
    """A member as a balancer knows it; `weight` 0 gets nothing.

    `check` is HAProxy's, `passive` Nginx's, `real` keepalived's.
    """

    member: str
    address: str
    port: int
    weight: int
    backup: bool
    check: Check | None = None
    passive: UpstreamServer | None = None
    slowstart_s: float = 0.0
    verifies: bool = False
    closes_sessions: bool = False
    real: RealServer | None = None

    @property
    def checkers(self) -> tuple[Checker, ...]:
        """keepalived's checkers of it."""
        return () if self.real is None else self.real.checkers


@dataclass(frozen=True)
class Pool:
    """The members behind one port of a balancer; `algorithm` in the balancer's own word.

    `proxy` is `ipvs` where packets are forwarded to members, and then `virtual` is the virtual server.
    """

    balancer: str
    proxy: str
    port: int
    algorithm: str
    servers: tuple[Pooled, ...]
    spread_percent: int = 0
    through: StreamServer | None = None
    virtual: VirtualServer | None = None

    def server(self, member: str) -> Pooled | None:
        """A member of the pool by its node."""
        return next((s for s in self.servers if s.member == member), None)

    def without(self, members: Collection[str]) -> Pool:
        """The pool that is left when these members are out of rotation."""
        return replace(self, servers=tuple(s for s in self.servers if s.member not in members))

    @property
    def shares(self) -> dict[str, float]:
        """What each member should get of new connections while all are well, as a share of 1."""
        active = [s for s in self.servers if not s.backup] or list(self.servers)
        total = sum(s.weight for s in active)
        return {s.member: s.weight / total for s in active} if total else {}


def pool_at(facts: Facts, balancer: str, port: int, t_ns: int) -> Pool | None:
    """What a balancer passes connections on a port to, by its configuration at a moment."""
    kind = proxy_of(facts.timeline, balancer)
    if kind == "haproxy" and (haproxy := haproxy_at(facts.timeline, balancer, t_ns)) is not None:
        return _haproxy(facts, balancer, haproxy, port)
    if kind == "nginx" and (nginx := nginx_at(facts.timeline, balancer, t_ns)) is not None:
        return _nginx(facts, balancer, nginx, port)
    if kind is None and (keepalived := keepalived_at(facts.timeline, balancer, t_ns)) is not None:
        return _ipvs(facts, balancer, keepalived, port, t_ns)
    return None


def member_of(facts: Facts, address: str) -> str | None:
    """The node that has an address as its own."""
    for node in facts.timeline.run.nodes:
        for interface in node["interfaces"]:
            if any(own.partition("/")[0] == address for own in interface["addresses"]):
                return str(node["name"])
    return None


def _haproxy(facts: Facts, balancer: str, config: HaproxyConfig, port: int) -> Pool | None:
    front = next((p for p in config.proxies if p.kind != "backend" and port in _ports(p)), None)
    back = front if front is None or front.kind == "listen" else config.proxy(front.default_backend)
    if back is None:
        return None
    servers = []
    for server in back.servers:
        member = member_of(facts, server.address)
        if member is None or server.disabled:
            continue
        parameters = server.parameters
        servers.append(
            Pooled(
                member=member,
                address=server.address,
                port=int(server.port) if server.port.isdigit() else port,
                weight=server.weight,
                backup=server.backup,
                check=server.check,
                slowstart_s=server.slowstart_ms / 1000,
                verifies=parameters.get("verify") == "required",
                closes_sessions=server.shutdown_sessions_when_down,
            )
        )
    algorithm = back.balance.partition(" ")[0]
    return Pool(balancer, "haproxy", port, algorithm, tuple(servers), config.spread_checks_percent)


def _ports(proxy: Proxy) -> list[int]:
    """The ports that a section binds; `bind` lines may hold several addresses."""
    found = []
    for bind in proxy.binds:
        for address in bind.partition(" ")[0].split(","):
            port = address.rpartition(":")[2]
            if port.isdigit():
                found.append(int(port))
    return found


def _nginx(facts: Facts, balancer: str, config: NginxConfig, port: int) -> Pool | None:
    through = next((s for s in config.servers if port in s.ports), None)
    group = config.upstream(through.upstreams[0]) if through is not None and through.upstreams else None
    if through is None or group is None:
        return None
    servers = []
    for server in group.servers:
        member = member_of(facts, server.address)
        if member is not None and not server.down:
            own = int(server.port) if server.port.isdigit() else port
            servers.append(Pooled(member, server.address, own, server.weight, server.backup, passive=server))
    return Pool(balancer, "nginx", port, group.method, tuple(servers), through=through)


def _weight_now(facts: Facts, balancer: str, real: RealServer, t_ns: int) -> int:
    """A real server's weight: as configured, or as the table had it where a script sets it (misc_dynamic)."""
    if not any(checker.dynamic for checker in real.checkers):
        return real.weight
    member = f"{real.address}:{real.port}"
    told = facts.timeline.of("ipvs", node=balancer, member=member, until=t_ns)
    return real.weight if not told or told[-1].change == "del" else int(told[-1].weight)


def weighed_at(facts: Facts, balancer: str, t_ns: int) -> int:
    """When a script last changed a weight on a balancer."""
    told = facts.timeline.of("ipvs", node=balancer, change="weight", until=t_ns)
    return told[-1].t if told else 0


def _ipvs(facts: Facts, balancer: str, config: KeepalivedConfig, port: int, t_ns: int) -> Pool | None:
    grouped = {g.name for g in config.virtual_server_groups if port in (p for _, p in g.entries)}
    virtual = next((v for v in config.virtual_servers if v.port == port or v.group in grouped), None)
    if virtual is None:
        return None
    servers = []
    for real in virtual.real_servers:
        member = member_of(facts, real.address)
        # A scheduler that heeds no weights still gives nothing to a member whose weight is 0.
        weight = _weight_now(facts, balancer, real, t_ns)
        weight = weight if virtual.scheduler in _WEIGHING else min(weight, 1)
        if member is not None:
            # Who is out of the table gets nothing more, who is in it with weight 0 what he has already.
            closes = not real.inhibit_on_failure
            servers.append(
                Pooled(
                    member, real.address, real.port, weight, backup=False, real=real, closes_sessions=closes
                )
            )
    return Pool(balancer, "ipvs", port, virtual.scheduler, tuple(servers), virtual=virtual)
