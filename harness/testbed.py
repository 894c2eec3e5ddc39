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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from ipaddress import ip_interface
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import __version__, bubble, paths, world
from harness.errors import TestbedError, UsageError, one_of
from harness.fabric.addressing import early_sysctls
from harness.fabric.fabric import Fabric, Port
from harness.kernel import namespaces
from harness.nodes.base import Node
from harness.nodes.netns import NetnsNode
from harness.nodes.process import Process
from harness.nodes.uml import UmlNode
from harness.observe import packets
from harness.observe.lateness import MACHINE
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

    `artifacts` is the folder for the timeline, captures, logs and configurations of this run, `kernel` the
    root filesystem of the kernel's image, which nodes with a kernel of their own need.
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
        kernel: Path | None = None,
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
        self._rootfs, self._kernel = rootfs, kernel
        self._mtus = {segment.name: segment.mtu for segment in topology.segments}
        self._disks = bubble.scratch() / f"bed-{os.getpid()}-{_numbers}"
        artifacts.mkdir(parents=True, exist_ok=True)
        self.recorder = Recorder(artifacts / "timeline.jsonl")
        self.recorder.on_exit = self._exited
        self.recorder.on_line = self._said_ready
        self.situation = Situation()
        self.recorder.listeners.append(self.situation.take)
        self.hub = self._netns_node(HUB)
        self.nodes: dict[str, Node] = {spec.name: self._new_node(spec) for spec in topology.nodes}
        self.fabric: Fabric
        self.witnesses: Witnesses
        self._processes: dict[tuple[str, str], Process] = {}
        self._ready_pids: set[tuple[str, int]] = set()
        self._followed: dict[tuple[str, int], Process] = {}
        self.carry_out: Callable[[Callable[[], None]], None] = lambda work: work()
        """Does what has become due (`when_due`); a lab puts it among its changes."""
        self.built = self._closed = False

    def _netns_node(self, name: str) -> NetnsNode:
        return NetnsNode(name, self._rootfs, self._disks / name, self.artifacts / "logs" / name)

    def _new_node(self, spec: NodeSpec) -> Node:
        if spec.kernel == "host":
            return self._netns_node(spec.name)
        if self._kernel is None:
            raise TestbedError(f"{spec.name} is to have a kernel of its own, but the testbed was given none")
        return UmlNode(
            spec.name,
            self._rootfs,
            self._kernel,
            self._disks / spec.name,
            self.artifacts / "logs" / spec.name,
            interfaces={i.name: self._mtus[i.segment] for i in spec.interfaces},
            modules=spec.needs,
        )

    # -- building ------------------------------------------------------------------------------

    def build(self) -> None:
        """Bring everything up, up to started services and probes; raises TestbedError, ConfigRejected."""
        with turn():
            self._build()
        self.built = True

    def _build(self) -> None:
        self.recorder.emit("phase", name="building")
        self._boot()
        # The witnesses' start and the kernel's making of links hardly need the same CPU.
        captures = self.artifacts / "captures" if self._capture else None
        self.witnesses = Witnesses(self.recorder, self.fabric, captures)
        self._connect(list(self.topology.nodes))
        self._describe()
        for node in self.nodes.values():
            self._watch(node)
        self._install()
        self.witnesses.await_ready()
        self._start_services()
        self._start_probes()

    def _watch(self, node: Node) -> None:
        """Let the witnesses know of a freshly booted node."""
        self.witnesses.listen(node)
        if not self._opaque(node.name):
            self.witnesses.watch(node, balances=self._balances(node.name))
        if isinstance(node, UmlNode):
            assert node.machine is not None
            self._follow(node.machine)

    def _follow(self, process: Process) -> None:
        self._followed[process.node, process.pid] = process
        self.witnesses.follow(process)

    def build_network(self) -> None:
        """Nodes booted, segments and links up, addresses and routes set; nothing runs, nothing watches."""
        self._boot()
        self._connect(list(self.topology.nodes))

    def _boot(self) -> None:
        """Nodes booted, segments made, links planned."""
        self._boot_all([self.hub, *self.nodes.values()])
        self.fabric = Fabric(self.hub)
        self.fabric.add_segments([(segment.name, segment.mtu) for segment in self.topology.segments])
        for spec in self.topology.nodes:
            for interface in spec.interfaces:
                self.fabric.plan(spec.name, interface.name, interface.segment, self._mtus[interface.segment])

    @staticmethod
    def _boot_all(nodes: list[Node]) -> None:
        boots: list[Future[None]] = [node.boot_async() for node in nodes]
        for boot in boots:
            boot.result()

    def _connect(self, specs: list[NodeSpec]) -> None:
        """Links, then addresses and routes, of freshly booted nodes."""
        _together([partial(self.nodes[s.name].sysctl, early_sysctls(s)) for s in specs])
        links: list[tuple[Port, int]] = []
        for spec in specs:
            netns = self.nodes[spec.name].netns
            links += [(port, netns) for port in self.fabric.ports_of(spec.name)]
        self.fabric.connect(links)
        begun = [self.nodes[s.name].configure(s, self.fabric.ports_of(s.name)) for s in specs]
        for one in begun:
            one.result()
        ports = [port for port, _ in links]
        # Only now has every link the name that its interface has.
        self.fabric.tell_reconnected(ports)
        self.fabric.await_forwarding(ports)

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
            described = {"name": spec.name, "role": spec.role, "interfaces": interfaces}
            if spec.kernel != "host":
                described["kernel"] = spec.kernel
            nodes.append(described)
        self.recorder.emit(
            "run",
            format=FORMAT,
            version=__version__,
            architecture=self.topology.architecture,
            options=dict(self.topology.options),
            seed=self.seed,
            world=world.name(),
            nodes=nodes,
            segments=[segment.name for segment in self.topology.segments],
            vips=[{"address": v.address, "port": v.port, "service": v.service} for v in self.topology.vips],
            patience_s={p.client: p.patience_s for p in self.topology.probes if p.patience_s},
            versions=self.versions,
        )

    def _install(self) -> None:
        """Put every service's files in place and let its own syntax check judge them, all side by side."""
        hosts = self._hosts()
        _together([partial(self._install_on, spec, hosts) for spec in self.topology.nodes])
        _together(list(self._validations()))
        for spec in self.topology.nodes:
            for service in spec.services if not spec.opaque else ():
                for path, text in service.files().items():
                    self.recorder.emit("config", node=spec.name, service=service.name, path=path, text=text)

    def _validations(self) -> Iterator[Callable[[], None]]:
        """The syntax checks of all services; what several nodes have is checked on the first of them."""
        known: list[Service] = []
        for spec in self.topology.nodes:
            for service in spec.services:
                if service not in known:
                    known.append(service)
                    yield partial(service.validate, self.nodes[spec.name])

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

    def when_due(self, t_ns: int, work: Callable[[], None]) -> None:
        """Have a change done at a moment (CLOCK_MONOTONIC) that nobody asks for then."""
        self.recorder.at(t_ns, lambda: self.carry_out(work))

    def node(self, name: str) -> Node:
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
            self._let_go(old)
        self._start_service(node, name, self.service(node, name).start)
        if wait:
            self._await_service(node, name)

    def _let_go(self, ended: Process) -> None:
        """Nothing more is to be heard of a process."""
        self.recorder.detach(ended)
        ended.close()

    def replace_service(self, node: str, name: str) -> None:
        """Start a service that knows how (`replace`) beside its old process, which will end by itself."""
        service: Any = self.service(node, name)
        self._processes[node, name].expected_end = True
        self._start_service(node, name, service.replace)

    def _start_service(self, node: str, name: str, start: Callable[[Node, Context], Process]) -> None:
        service = self.service(node, name)
        log = self.nodes[node].log_dir / f"{name}.log"
        written = log.stat().st_size if log.exists() else 0
        began_ns = time.monotonic_ns()
        process = start(self.nodes[node], self)
        self._processes[node, name] = process
        self._tell_service(process, "started", began_ns)
        self._follow(process)
        if process.events >= 0:
            self.recorder.attach(process)
        elif not process.notifies and service.ready_line:
            self.witnesses.expect_line(process, service.ready_line, written)
        if getattr(service, "logs_servers", False) and not self._opaque(node):
            self.witnesses.follow_servers(process, written)
        if name == "keepalived" and self._balances(node) and not self._opaque(node):
            self.witnesses.expect_changes(process)

    def _await_service(self, node: str, name: str) -> None:
        """Wait until a service is ready, as far as it has a way to tell."""
        process = self._processes[node, name]
        if process.events >= 0:
            self.recorder.wait_ready(process)
        elif process.notifies:
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

    def _balances(self, node: str) -> bool:
        """Whether a node runs a virtual server of IPVS."""
        return "ip_vs" in self.topology.node(node).needs

    def _tell_service(self, process: Process, state: str, t_ns: int | None = None, **more: object) -> None:
        """Record what became of a service, unless its node is opaque."""
        if not self._opaque(process.node):
            fields = {"node": process.node, "service": process.name, "state": state, "pid": process.pid}
            self.recorder.emit("service", t_ns, **fields, **more)

    def _wait_line(self, process: Process) -> None:
        def ready() -> bool:
            return (process.node, process.pid) in self._ready_pids or not process.running

        self.recorder.wait(ready, 20.0, f"{process.node}/{process.name} ready")
        if not process.running:
            raise TestbedError(f"{process.node}/{process.name} ended at its start; its log: {process.log}")

    def _said_ready(self, identity: str, pid: int, t_ns: int) -> None:
        """The observer saw the line by which a service tells its readiness."""
        node, _, name = identity.partition("/")
        process = self._processes.get((node, name))
        if process is not None and process.pid == pid:
            self._ready_pids.add((node, pid))
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
        self._watch(node)
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

    @property
    def awaited(self) -> list[str]:
        """The nodes that probe, and that must be served before all is well."""
        return sorted({probe.client for probe in self.topology.probes if probe.awaited})

    def tell_packets(self) -> None:
        """Record, from the captures, an attempt's packets of each node that asked its own VIP in vain."""
        attempts = packets.own_attempts(self.recorder.timeline) if self._capture else []
        if not attempts:
            return
        folder = self.artifacts / "captures"
        captured = {path.stem: list(packets.segments(path)) for path in sorted(folder.glob("*.pcap"))}
        for attempt in attempts:
            for fields in packets.of_attempt(self.recorder.timeline, attempt, captured):
                self.recorder.emit("packet", fields.pop("t"), **fields)

    def _exited(self, identity: str, pid: int, t_ns: int) -> None:
        """The observer saw a supervised process end; by now the service may run again in another."""
        process = self._followed.pop((identity.partition("/")[0], pid), None)
        if process is None:
            return
        node = process.node
        status = process.reap(wait=True)
        if process.name == MACHINE:
            self._machine_ended(process)
            return
        self._tell_service(process, "exited", t_ns, status=status)
        if self._processes.get((node, process.name)) is not process:  # another has taken its place
            self._let_go(process)
        if not process.expected_end and self.nodes[node].alive and not self._opaque(node):
            self.recorder.emit(
                "note", text=f"{identity} ended by itself with status {status}; its log: {process.log.name}"
            )

    def _machine_ended(self, machine: Process) -> None:
        """A kernel of its own has ended, and with it the node; who did it on purpose tells it himself."""
        node = self.nodes[machine.node]
        # By now the node may have been switched off, or run on another machine.
        present = isinstance(node, UmlNode) and node.machine is machine
        if present and not machine.expected_end:
            words = machine.log.read_text(errors="replace").strip().splitlines()[-1:]
            text = f"the kernel of {machine.node} ended by itself: {' '.join(words) or 'it said nothing'}"
            self.recorder.emit("note", text=text)
            self.lost(machine.node)

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
            elif hasattr(self, "witnesses"):
                self.witnesses.kill()
            self.hub.release()
            for node in (*nodes, self.hub):
                node.reap()
            for process in self._processes.values():
                process.reap(wait=True)
                self._let_go(process)
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
