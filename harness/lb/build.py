"""A topology of the user's balancers: their files verbatim, fakes for all that is around them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.lb import programs
from harness.lb.estate import Estate, Front, read_estate
from harness.lb.folder import MAIN, NodeFiles, read_folder
from harness.lb.network import Plan, Wire, lay_out
from harness.lb.services import UserHaproxy, UserKeepalived, UserNginx
from harness.lb.settings import Port, Settings, read_settings
from harness.services.base import Service
from harness.services.site import Site
from harness.topology import Interface, NodeSpec, ProbeSpec, Segment, Topology, Vip

ARCHITECTURE = "lb"
_SERVER_NAME = "api.cluster.test"
# What usually stands behind these ports speaks TLS: HTTPS, the Kubernetes API, machine-config-server.
_TLS_PORTS = (443, 6443, 8443, 9443, 22623)
_SYSCTL = re.compile(
    r"net\.ipv[46]\.(ip_nonlocal_bind|ip_forward|conf\.(all|default)\.\w+|vs\.\w+|tcp_\w+|ip_local_port_range)"
)
_NONLOCAL = "net.ipv4.ip_nonlocal_bind"
_HEALTH = ("/readyz", "/healthz", "/healthz/ready", "/health", "/status")


@dataclass(frozen=True)
class Built:
    """The topology, and what was assumed or left out to come to it."""

    topology: Topology
    estate: Estate
    notes: tuple[str, ...]


def build(path: Path, rootfs: Path) -> Built:
    """Read a folder of nodes; raises UsageError for what cannot be drilled, with file and line if known."""
    estate = read_estate(read_folder(path))
    settings = read_settings(estate.folder.settings, estate.nodes)
    plan = lay_out(estate, settings)
    return _Builder(estate, settings, plan, rootfs).build()


class _Builder:
    def __init__(self, estate: Estate, settings: Settings, plan: Plan, rootfs: Path) -> None:
        self._estate, self._settings, self._plan, self._rootfs = estate, settings, plan, rootfs
        self._notes: list[str] = []
        self._vips = list(self._served())
        named = dict.fromkeys(self._server_name(front) for _, front in self._vips)
        self._names = (*named, *dict.fromkeys(vip for vip, _ in self._vips))

    def build(self) -> Built:
        """All of it."""
        estate, plan = self._estate, self._plan
        if not self._vips:
            virtual = ", ".join(address.address for address, _ in estate.addresses()) or "none"
            raise UsageError(
                "no proxy listens on a virtual address for members whose addresses are known, so no client "
                f"could tell an outage; the virtual addresses: {virtual}"
            )
        router = self._router()
        gateway = {wire.name: cidr.partition("/")[0] for wire, cidr in router.items()}
        nodes = [
            *([self._router_node(router)] if router else []),
            *(self._member(address, gateway) for address in plan.members),
            *(self._balancer(node, gateway) for node in estate.folder.nodes),
        ]
        clients, probes = self._clients({node.name for node in nodes}, gateway)
        topology = Topology(
            ARCHITECTURE,
            {"lb": estate.folder.path.name},
            tuple(Segment(wire.name) for wire in [*plan.wires, *plan.routed]),
            (*nodes, *clients),
            tuple(Vip(vip, front.port, front.proxy) for vip, front in self._vips),
            tuple(probes),
        )
        notes = dict.fromkeys([*estate.folder.notes, *estate.notes, *plan.assumed, *self._notes])
        return Built(topology, estate, tuple(notes))

    # -- what is served ------------------------------------------------------------------------------

    def _served(self) -> Iterator[tuple[str, Front]]:
        """Each virtual address with each port that is balanced there; of several balancers the first's."""
        seen: set[tuple[str, int]] = set()
        for address, _ in self._estate.addresses():
            for front in self._estate.fronts:
                if front.address not in ("", address.address) or (address.address, front.port) in seen:
                    continue
                if not any(b.address in self._plan.members for b in front.backends):
                    continue
                seen.add((address.address, front.port))
                if front.ends_tls:
                    self._notes.append(
                        f"{front.node}: {front.proxy} ends TLS on port {front.port} with a certificate of "
                        "yours, so no client asks there"
                    )
                    continue
                yield address.address, front

    def _port(self, front: Front) -> Port:
        return self._settings.ports.get(front.port, Port())

    def _server_name(self, front: Front) -> str:
        return self._port(front).server_name or front.server_name or _SERVER_NAME

    def _speaks_tls(self, front: Front) -> bool:
        """Whether clients of a balanced port speak TLS, which is then passed through."""
        if (given := self._port(front).tls) is not None:
            return given
        return front.mode == "tcp" and self._behind_tls(front)

    def _behind_tls(self, front: Front) -> bool:
        """Whether the members behind a balanced port speak TLS."""
        told = [b.tls for b in front.backends if b.tls is not None]
        told += [b.tls_checks for b in front.backends if b.tls_checks is not None and not b.checks]
        if told:
            return any(told)
        if front.mode != "tcp":
            return False
        tls = front.port in _TLS_PORTS or any(b.port in _TLS_PORTS for b in front.backends)
        words = "speaks TLS" if tls else "speaks plain HTTP"
        self._notes.append(f"what is behind port {front.port} {words}, as ports of that number do")
        return tls

    # -- nodes -----------------------------------------------------------------------------------------

    def _member(self, address: str, gateway: dict[str, str]) -> NodeSpec:
        name, cidr, wire = self._plan.members[address]
        ports: dict[int, bool] = {}
        health: dict[str, None] = dict.fromkeys(_HEALTH)
        for front in self._estate.fronts:
            for backend in (b for b in front.backends if b.address == address):
                port = backend.port or front.port
                given = self._port(front).tls if front.mode == "tcp" else None
                ports.setdefault(port, self._behind_tls(front) if given is None else given)
                for check in backend.checks:
                    ports.setdefault(check, bool(backend.tls_checks))
                if backend.check_path:
                    health[backend.check_path.partition("?")[0]] = None
        own = cidr.partition("/")[0]
        site = Site(name, own, tuple(sorted(ports.items())), self._names, tuple(health))
        routes = _default_route(gateway.get(wire.name), own)
        return NodeSpec(name, "member", (Interface("eth0", wire.name, (cidr,)),), routes, services=(site,))

    def _balancer(self, node: NodeFiles, gateway: dict[str, str]) -> NodeSpec:
        plan = self._plan
        interfaces = tuple(
            Interface(name, wire.name, tuple(plan.own.get((owner, name), ())))
            for wire in plan.wires
            for owner, name in wire.ports
            if owner == node.name
        )
        homes = [interface.segment for interface in interfaces]
        by = next((gateway[name] for name in homes if name in gateway), None)
        routes = {
            str(network): by
            for wire in plan.routed
            for network in wire.networks
            if by is not None and (":" in by) == (network.version == 6)
        }
        return NodeSpec(
            node.name, "balancer", interfaces, routes, self._sysctls(node), services=self._services(node)
        )

    def _services(self, node: NodeFiles) -> tuple[Service, ...]:
        stand_ins = programs.stand_ins(node, self._rootfs)
        for path in stand_ins:
            self._notes.append(f"{node.name}: {path} is one of ours, made of pkill: the node image has none")
        texts = {**node.texts, **stand_ins, **self._authorities(node)}
        extra = {path: text for path, text in texts.items() if path not in MAIN.values()}
        services: list[Service] = []
        runs = node.services()
        if "haproxy" in runs:
            programs.check_files(self._estate.haproxy[node.name])
        for proxy, kind in (("haproxy", UserHaproxy), ("nginx", UserNginx)):
            if proxy in runs:
                own = {p: t for p, t in extra.items() if p.startswith(f"/etc/{proxy}/") or len(runs) == 1}
                extra = {path: text for path, text in extra.items() if path not in own}
                services.append(kind(texts[MAIN[proxy]], extra=own))
        if "keepalived" in runs:
            config = self._estate.keepalived[node.name]
            programs.check_programs(node, config, set(texts), self._rootfs)
            services.append(UserKeepalived(texts[MAIN["keepalived"]], extra))
        return tuple(services)

    def _authorities(self, node: NodeFiles) -> dict[str, str]:
        """Where HAProxy verifies its members, their fakes' authority stands in for the real one."""
        files = {
            b.ca_file for f in self._estate.fronts if f.node == node.name for b in f.backends if b.ca_file
        }
        files = {path for path in files if path.startswith("/")}
        if not files:
            return {}
        from harness import paths
        from harness.pki import ensure_pki

        authority = (ensure_pki(paths.cache_dir() / "pki") / "ca.pem").read_text()
        for path in sorted(files):
            self._notes.append(f"{node.name}: {path} holds the authority of the fake members instead")
        return dict.fromkeys(files, authority)

    def _sysctls(self, node: NodeFiles) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in sorted(node.texts):
            if path != "/etc/sysctl.conf" and not path.startswith("/etc/sysctl.d/"):
                continue
            for line in node.texts[path].splitlines():
                name, equals, value = (part.strip() for part in line.partition("="))
                if equals and name[:1] not in ("#", ";", ""):
                    found[name.lstrip("-").replace("/", ".")] = value
        found |= self._settings.sysctls
        for name in [name for name in found if not _SYSCTL.fullmatch(name)]:
            del found[name]
            self._notes.append(f"{node.name}: the sysctl {name} is left as it is")
        binds = any(f.node == node.name and f.address for f in self._estate.fronts)
        if binds and _NONLOCAL not in found:
            found[_NONLOCAL] = "1"
            self._notes.append(f"{node.name}: {_NONLOCAL} is 1, as its proxy binds a virtual address")
        return found

    # -- around them -----------------------------------------------------------------------------------

    def _router(self) -> dict[Wire, str]:
        """The router's addresses by segment; none where every member is a neighbour of the balancers."""
        plan = self._plan
        if not plan.routed:
            return {}
        home = next(wire for wire in plan.wires if wire.carries_vips and wire.networks)
        return {wire: plan.free(wire.networks[0]) for wire in [home, *plan.routed]}

    @staticmethod
    def _router_node(router: dict[Wire, str]) -> NodeSpec:
        interfaces = tuple(
            Interface(f"eth{n}", w.name, (cidr,)) for n, (w, cidr) in enumerate(router.items())
        )
        return NodeSpec("drill-rt", "router", interfaces, sysctls={"net.ipv4.ip_forward": "1"})

    def _clients(self, taken: set[str], gateway: dict[str, str]) -> tuple[list[NodeSpec], list[ProbeSpec]]:
        """A client on every segment on which a virtual address is served."""
        plan = self._plan
        nodes: list[NodeSpec] = []
        probes: list[ProbeSpec] = []
        for wire in plan.wires:
            here = [(vip, front) for vip, front in self._vips if wire.network_of(vip) is not None]
            if not here:
                continue
            name = next(n for n in ("cl", *(f"cl{k}" for k in range(2, 99))) if n not in taken)
            taken.add(name)
            cidrs = tuple(plan.free(network) for network in wire.networks)
            routes = _default_route(gateway.get(wire.name), cidrs[0].partition("/")[0])
            nodes.append(NodeSpec(name, "client", (Interface("eth0", wire.name, cidrs),), routes))
            probes += [self._probe(name, vip, front) for vip, front in here]
        return nodes, probes

    def _probe(self, client: str, vip: str, front: Front) -> ProbeSpec:
        tls = self._speaks_tls(front)
        path = self._port(front).path
        return ProbeSpec(
            client, vip, front.port, self._server_name(front), path, tls, self._names if tls else ()
        )


def _default_route(gateway: str | None, own: str) -> dict[str, str]:
    if gateway is None or (":" in gateway) != (":" in own):
        return {}
    return {"::/0" if ":" in own else "0.0.0.0/0": gateway}
