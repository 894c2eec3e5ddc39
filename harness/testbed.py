"""A testbed: one topology, built and running. The engine's side of everything left of the timeline.

build    boot nodes, lay the fabric, start observers, then services, then probes
use      nodes, faults, waits; every witness reports to the recorder
close    stop witnesses, kill nodes; the kernel removes the rest
"""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from functools import partial
from ipaddress import ip_interface, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import __version__, bubble, paths
from harness.errors import TestbedError, UsageError, one_of
from harness.fabric import rtnl
from harness.fabric.fabric import Fabric, Port
from harness.fabric.netlink import Request, RouteSocket
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.nodes.netns import NetnsNode
from harness.nodes.process import Process
from harness.observe.witnesses import Witnesses
from harness.recorder import Recorder
from harness.services.base import Context, Service
from harness.situation import Situation
from harness.snapshot import snapshot
from harness.timeline import FORMAT
from harness.topology import NodeSpec, Topology
from harness.turns import turn

HUB = "fabric"
_FILES, _FILES_PER_NODE = 256, 6
_numbers = 0


class Testbed:
    """A topology built in this bubble. Use it in a `with` block, or call `build` and `close`.

    `artifacts` is the folder for the timeline, captures, logs and configurations of this run.
    """

    __test__ = False

    def __init__(
        self,
        topology: Topology,
        rootfs: Path,
        artifacts: Path,
        *,
        seed: int = 0,
        versions: dict[str, str] | None = None,
        capture: bool = True,
        probe_rate: float = 100.0,
    ) -> None:
        global _numbers
        topology.check()
        if not bubble.inside():
            raise TestbedError("a testbed can only be built inside a bubble (harness.bubble.enter)")
        _numbers += 1
        _make_room(len(topology.nodes))
        self.topology, self.artifacts, self.seed = topology, artifacts, seed
        self.versions = versions or {}
        self._capture, self.probe_rate = capture, probe_rate
        self._rootfs = rootfs
        self._disks = bubble.scratch() / f"bed-{os.getpid()}-{_numbers}"
        artifacts.mkdir(parents=True, exist_ok=True)
        self.recorder = Recorder(artifacts / "timeline.jsonl")
        self.recorder.on_exit = self._exited
        self.recorder.on_line = self._said_ready
        self.situation = Situation()
        self.recorder.listeners.append(self.situation.take)
        self.hub = self._new_node(HUB)
        self.nodes: dict[str, NetnsNode] = {spec.name: self._new_node(spec.name) for spec in topology.nodes}
        self.fabric: Fabric
        self.witnesses: Witnesses
        self._processes: dict[tuple[str, str], Process] = {}
        self._ready_pids: set[int] = set()
        self._followed: dict[int, Process] = {}
        self._closed = False

    def _new_node(self, name: str) -> NetnsNode:
        return NetnsNode(name, self._rootfs, self._disks / name, self.artifacts / "logs" / name)

    # -- building ------------------------------------------------------------------------------

    def build(self) -> None:
        """Bring everything up, up to started services and probes; raises TestbedError, ConfigRejected."""
        with turn():
            self._build()

    def _build(self) -> None:
        self.recorder.emit("phase", name="building")
        self._boot()
        # The witnesses' start and the kernel's making of links hardly need the same CPU.
        captures = self.artifacts / "captures" if self._capture else None
        self.witnesses = Witnesses(self.recorder, self.fabric, captures)
        self._connect(list(self.topology.nodes))
        self._describe()
        for name, node in self.nodes.items():
            if not self._opaque(name):
                self.witnesses.watch(node)
        self._install()
        self.witnesses.await_ready()
        self._start_services()
        self._start_probes()

    def build_network(self) -> None:
        """Nodes booted, segments and links up, addresses and routes set; nothing runs, nothing watches."""
        self._boot()
        self._connect(list(self.topology.nodes))

    def _boot(self) -> None:
        """Nodes booted, segments made, links planned."""
        self._boot_all([self.hub, *self.nodes.values()])
        self.fabric = Fabric(self.hub)
        self.fabric.add_segments([(segment.name, segment.mtu) for segment in self.topology.segments])
        mtus = {segment.name: segment.mtu for segment in self.topology.segments}
        for spec in self.topology.nodes:
            for interface in spec.interfaces:
                self.fabric.plan(spec.name, interface.name, interface.segment, mtus[interface.segment])

    @staticmethod
    def _boot_all(nodes: list[NetnsNode]) -> None:
        boots: list[Future[None]] = [node.boot_async() for node in nodes]
        for boot in boots:
            boot.result()

    def _connect(self, specs: list[NodeSpec]) -> None:
        """Links, then addresses and routes, of freshly booted nodes."""
        _together([partial(self.nodes[s.name].sysctl, {**BASE_SYSCTLS, **s.sysctls}) for s in specs])
        links: list[tuple[Port, int]] = []
        for spec in specs:
            netns = self.nodes[spec.name].netns
            links += [(port, netns) for port in self.fabric.ports_of(spec.name)]
        self.fabric.connect(links)
        visits = [
            namespaces.submit(self.nodes[spec.name].netns, sc.CLONE_NEWNET, partial(configure, spec))
            for spec in specs
        ]
        for visit in visits:
            visit.result()
        self.fabric.await_forwarding([port for port, _ in links])

    def _describe(self) -> None:
        nodes = []
        for spec in self.topology.nodes:
            interfaces = [
                {
                    "name": i.name,
                    "segment": i.segment,
                    "mac": self.fabric.port(spec.name, i.name).mac,
                    "addresses": list(i.addresses),
                }
                for i in spec.interfaces
            ]
            nodes.append({"name": spec.name, "role": spec.role, "interfaces": interfaces})
        self.recorder.emit(
            "run",
            format=FORMAT,
            version=__version__,
            architecture=self.topology.architecture,
            options=dict(self.topology.options),
            seed=self.seed,
            world="real",
            nodes=nodes,
            segments=[segment.name for segment in self.topology.segments],
            vips=[{"address": v.address, "port": v.port, "service": v.service} for v in self.topology.vips],
            versions=self.versions,
        )

    def _install(self) -> None:
        """Put every service's files in place and let its own syntax check judge them, all side by side."""
        hosts = self._hosts()
        _together([partial(self._install_on, spec, hosts) for spec in self.topology.nodes])
        _together(
            [
                partial(s.validate, self.nodes[spec.name])
                for spec in self.topology.nodes
                for s in spec.services
            ]
        )
        for spec in self.topology.nodes:
            for service in spec.services if not spec.opaque else ():
                for path, text in service.files().items():
                    self.recorder.emit("config", node=spec.name, service=service.name, path=path, text=text)

    def _install_on(self, spec: NodeSpec, hosts: str) -> None:
        node = self.nodes[spec.name]
        # Without its own name in hosts(5), keepalived waits for DNS at every start (its router_id).
        node.write("/etc/hosts", hosts)
        for service in spec.services:
            for path, text in service.files().items():
                node.write(path, text, 0o755 if text.startswith("#!") else 0o644)
                if spec.opaque:
                    continue
                copy = self.artifacts / "configs" / spec.name / path.lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(text)

    def _hosts(self) -> str:
        lines = ["127.0.0.1 localhost"]
        for spec in self.topology.nodes:
            lines += [f"{ip_interface(a).ip} {spec.name}" for i in spec.interfaces for a in i.addresses]
        return "\n".join(lines) + "\n"

    def _start_probes(self) -> None:
        for client in self.clients:
            specs = [probe for probe in self.topology.probes if probe.client == client]
            pins = [self.pki(*spec.certificate) / "server.pem" for spec in specs]
            rate = self.probe_rate * specs[0].share
            self.witnesses.start_probe(self.nodes[client], specs, rate, pins)

    # -- what services, faults and drills ask ----------------------------------------------------

    def pki(self, *names: str) -> Path:
        """The folder of the testbed's certificates, or of those for certain server names."""
        from harness.pki import DEFAULT_NAMES, ensure_pki

        return ensure_pki(paths.cache_dir() / "pki", names or DEFAULT_NAMES)

    def node(self, name: str) -> NetnsNode:
        """A node by name; raises UsageError naming the known ones."""
        if name not in self.nodes:
            raise one_of("node", name, list(self.nodes))
        return self.nodes[name]

    def service(self, node: str, name: str) -> Service:
        """A node's service by name; raises UsageError naming the known ones."""
        services = {service.name: service for service in self.topology.node(node).services}
        if name not in services:
            raise one_of(f"service on {node}", name, list(services))
        return services[name]

    def process(self, node: str, service: str) -> Process:
        """The running process of a node's service."""
        process = self._processes.get((node, service))
        if self._opaque(node):
            raise UsageError(f"{node} is opaque, so nothing inside it can be aimed at; see the fault trip")
        if process is None or process.status is not None:
            raise UsageError(f"{node}/{service} does not run")
        return process

    def processes_of(self, node: str) -> list[Process]:
        """The running service processes of a node."""
        return [p for (name, _), p in self._processes.items() if name == node and p.status is None]

    def start_service(self, node: str, name: str, *, wait: bool = True) -> None:
        """Start a service of the topology on its node, once the one before is gone."""
        old = self._processes.get((node, name))
        if old is not None and old.status is None:
            raise UsageError(f"{node}/{name} runs already")
        if old is not None:
            self.recorder.detach(old)
        self._start_service(node, name, self.service(node, name).start)
        if wait:
            self._await_service(node, name)

    def replace_service(self, node: str, name: str) -> None:
        """Start a service that knows how (`replace`) beside its old process, which will end by itself."""
        service: Any = self.service(node, name)
        self._processes[node, name].expected_end = True
        self._start_service(node, name, service.replace)

    def _start_service(self, node: str, name: str, start: Callable[[NetnsNode, Context], Process]) -> None:
        service = self.service(node, name)
        log = self.nodes[node].log_dir / f"{name}.log"
        written = log.stat().st_size if log.exists() else 0
        began_ns = time.monotonic_ns()
        process = start(self.nodes[node], self)
        self._processes[node, name] = process
        self._tell_service(process, "started", began_ns)
        self._followed[process.pid] = process
        self.witnesses.follow(process)
        if process.events >= 0:
            self.recorder.attach(process)
        elif process.notify is None and service.ready_line:
            self.witnesses.expect_line(process, service.ready_line, written)

    def _await_service(self, node: str, name: str) -> None:
        """Wait until a service is ready, as far as it has a way to tell."""
        process = self._processes[node, name]
        if process.events >= 0:
            self.recorder.wait_ready(process)
        elif process.notify is not None:
            self._wait_notified(process, name)
        elif self.service(node, name).ready_line:
            self._wait_line(process)

    def _start_services(self) -> None:
        """Members before balancers, whose first check would else find them down (for `rise` more checks)."""
        balancers = self.topology.role("balancer")
        self._start_side_by_side([spec for spec in self.topology.nodes if spec not in balancers])
        self._start_side_by_side(balancers)

    def _start_side_by_side(self, specs: list[NodeSpec]) -> None:
        """The services of these nodes; on each node one starts when the one before it is ready."""
        for position in range(max((len(spec.services) for spec in specs), default=0) + 1):
            for spec in specs:
                if 0 < position <= len(spec.services):
                    self._await_service(spec.name, spec.services[position - 1].name)
                if position < len(spec.services):
                    self.start_service(spec.name, spec.services[position].name, wait=False)

    def _opaque(self, node: str) -> bool:
        """Whether only what is outside of a node is to be known."""
        return self.topology.node(node).opaque

    def _tell_service(self, process: Process, state: str, t_ns: int | None = None, **more: object) -> None:
        """Record what became of a service, unless its node is opaque."""
        if not self._opaque(process.node):
            fields = {"node": process.node, "service": process.name, "state": state, "pid": process.pid}
            self.recorder.emit("service", t_ns, **fields, **more)

    def _wait_line(self, process: Process) -> None:
        def ready() -> bool:
            return process.pid in self._ready_pids or not process.running

        self.recorder.wait(ready, 20.0, f"{process.node}/{process.name} ready")
        if not process.running:
            raise TestbedError(f"{process.node}/{process.name} ended at its start; its log: {process.log}")

    def _said_ready(self, identity: str, pid: int, t_ns: int) -> None:
        """The observer saw the line by which a service tells its readiness."""
        node, _, name = identity.partition("/")
        process = self._processes.get((node, name))
        if process is not None and process.pid == pid:
            self._ready_pids.add(pid)
            self._tell_service(process, "ready", t_ns)

    def _wait_notified(self, process: Process, name: str) -> None:
        """Wait until a service has told its readiness as to systemd (sd_notify(3))."""
        process.wait_notified(20.0)
        self._tell_service(process, "ready")

    def lost(self, node: str) -> None:
        """A node went down with all that ran on it."""
        self.recorder.emit("node", node=node, state="crashed")
        self.witnesses.unwatch(node)
        for process in self.processes_of(node):
            process.expected_end = True
            process.reap(wait=True)
            self.recorder.detach(process)
        self.witnesses.lose_probe(node)

    def power_on(self, name: str) -> None:
        """Boot a node that is down, connect it again, and start its services in their order."""
        node, spec = self.node(name), self.topology.node(name)
        self.fabric.remove(self.fabric.ports_of(name))
        node.boot()
        self._connect([spec])
        self.recorder.emit("node", node=name, state="booted")
        if not spec.opaque:
            self.witnesses.watch(node)
        for service in spec.services:
            self.start_service(name, service.name)

    def active(self) -> str:
        """The balancer that announces a VIP: the sender of the last advertisement on the wire."""
        owner = self.situation.owner
        if owner is None or owner not in self.nodes:
            raise TestbedError("no balancer is active: no VRRP advertisement was seen on the wire")
        return owner

    @property
    def expects_vrrp(self) -> bool:
        """Whether the topology moves its VIPs by VRRP."""
        return any(service.name == "keepalived" for spec in self.topology.nodes for service in spec.services)

    def snapshot(self, moment: str) -> None:
        """Keep what every node's kernel and balancer say of themselves now, under `state/<moment>/`."""
        known = {name: node for name, node in self.nodes.items() if not self._opaque(name)}
        snapshot(known, self.artifacts / "state" / moment)

    @property
    def clients(self) -> list[str]:
        """The nodes that probe."""
        return sorted({probe.client for probe in self.topology.probes})

    def _exited(self, identity: str, pid: int, t_ns: int) -> None:
        """The observer saw a supervised process end; by now the service may run again in another."""
        process = self._followed.pop(pid, None)
        if process is None:
            return
        node = process.node
        status = process.reap(wait=True)
        self._tell_service(process, "exited", t_ns, status=status)
        if not process.expected_end and self.nodes[node].alive and not self._opaque(node):
            self.recorder.emit(
                "note", text=f"{identity} ended by itself with status {status}; its log: {process.log.name}"
            )

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Tear down: kill every node, keep the timeline. Safe to call twice and after a failed build."""
        if self._closed:
            return
        self._closed = True
        nodes = list(self.nodes.values())
        ended = False
        try:
            if hasattr(self, "witnesses"):
                self.witnesses.end()
                ended = True
        finally:
            for node in nodes:
                node.release()
            if ended:
                self.witnesses.reap()
            self.hub.release()
            for node in (*nodes, self.hub):
                node.reap()
            for process in self._processes.values():
                process.reap(wait=True)
                self.recorder.detach(process)
                process.close()
            if hasattr(self, "fabric"):
                self.fabric.close()
            self.recorder.close()
            shutil.rmtree(self._disks, ignore_errors=True)

    def __enter__(self) -> Testbed:
        try:
            self.build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_room(nodes: int) -> None:
    """Allow this process the open files that so many nodes take, as far as the hard limit goes.

    What runs in a node inherits that, so the limit stays what it is where it is enough.
    """
    needed = _FILES + _FILES_PER_NODE * nodes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def _together(works: Sequence[Callable[[], None]]) -> None:
    """Do all of them side by side; once all have ended, raise what the first one raised that did."""
    begun = [namespaces.submit_plain(work) for work in works]
    wait(begun)
    for one in begun:
        one.result()


# Nodes speak IPv6 only where the topology gives them an IPv6 address (`configure`).
BASE_SYSCTLS = {"net.ipv6.conf.default.disable_ipv6": "1", "net.ipv6.conf.all.disable_ipv6": "1"}


def configure(spec: NodeSpec) -> None:
    """Addresses and routes of one node, in one batch, from inside its network namespace."""
    requests: list[Request] = [rtnl.set_link(1, f"bring up lo of {spec.name}", up=True)]
    uses_ipv6 = any(":" in a for i in spec.interfaces for a in i.addresses)
    if uses_ipv6:
        for scope in ("default", "all"):
            Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6").write_text("0")
    for position, interface in enumerate(spec.interfaces):
        requests.append(rtnl.set_link(10 + position, f"bring up {spec.name}:{interface.name}", up=True))
        for address in interface.addresses:
            what = f"give {spec.name}:{interface.name} the address {address}"
            requests.append(rtnl.add_address(10 + position, ip_interface(address), what))
    for destination, gateway in spec.routes.items():
        what = f"route {destination} by {gateway} on {spec.name}"
        requests.append(rtnl.add_route(ip_network(destination), ip_interface(gateway).ip, what))
    route = RouteSocket()
    try:
        route.send(requests)
    finally:
        route.close()
