"""A lab of six hosts on one segment: until all links are up and pings pass, and until it is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from ci.benchmarks import floor, lab
from ci.benchmarks.figure import Figure, at_most, floors, interleaved, spread
from ci.benchmarks.gone import Leftovers
from ci.benchmarks.options import Options
from ci.benchmarks.ping import ping_all
from harness.fabric.addressing import BASE_SYSCTLS, configure
from harness.fabric.fabric import Fabric
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.topology import Topology

HOSTS = 6
INSIDE_BUBBLE = True


class Namespace:
    """A node's network namespace without the node: what the fabric asks of its hub."""

    def __init__(self, netns: int) -> None:
        self.netns = netns

    def sysctl(self, values: dict[str, str]) -> None:
        """Set kernel parameters of the namespace."""
        namespaces.inside(self.netns, sc.CLONE_NEWNET, partial(_write_sysctls, values))


def _write_sysctls(values: dict[str, str]) -> None:
    for key, value in values.items():
        Path("/proc/sys", *key.split(".")).write_text(value)


def _open_own() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def engine_network(topology: Topology) -> list[int]:
    """The network of a topology by the engine's own code, in bare network namespaces; their descriptors."""
    made = [namespaces.submit_fresh(sc.CLONE_NEWNET, _open_own) for _ in range(len(topology.nodes) + 1)]
    hub, *others = (Namespace(visit.result()) for visit in made)
    fabric = Fabric(hub)  # type: ignore[arg-type]
    fabric.add_segments([(segment.name, segment.mtu) for segment in topology.segments])
    links = []
    for spec, node in zip(topology.nodes, others, strict=True):
        node.sysctl(BASE_SYSCTLS)
        links += [
            (fabric.plan(spec.name, interface.name, interface.segment, 1500), node.netns)
            for interface in spec.interfaces
        ]
    fabric.connect(links)
    visits = [
        namespaces.submit(node.netns, sc.CLONE_NEWNET, partial(configure, spec))
        for spec, node in zip(topology.nodes, others, strict=True)
    ]
    for visit in visits:
        visit.result()
    fabric.await_forwarding([port for port, _ in links])
    fabric.close()
    return [hub.netns, *(node.netns for node in others)]


def timed_until_pings(build: Callable[[], list[int]]) -> float:
    """Milliseconds until a network is built and its first host has pinged all others."""
    began = time.perf_counter()
    made = build()
    targets = [lab.address(n) for n in range(2, HOSTS + 1)]
    namespaces.inside(made[1], sc.CLONE_NEWNET, partial(ping_all, targets))
    taken = time.perf_counter() - began
    drop(made)
    return taken * 1e3


def _timed_floor() -> float:
    def visit() -> tuple[float, list[int]]:
        began = time.perf_counter()
        made = floor.build_and_ping(HOSTS)
        return (time.perf_counter() - began) * 1e3, made

    taken, made = namespaces.submit_fresh(sc.CLONE_NEWNET, visit).result()
    drop(made)
    return taken


def drop(made: list[int]) -> None:
    """Close namespaces and wait until the kernel has freed them."""
    leftovers = Leftovers(made)
    for fd in made:
        os.close(fd)
    leftovers.wait()


class WholeNodes:
    """Builds whole nodes and tears them down, keeping the times of the tear-down."""

    def __init__(self) -> None:
        self.closed_ms: list[float] = []
        self.gone_ms: list[float] = []

    def __call__(self) -> float:
        began = time.perf_counter()
        bed = lab.new_testbed(lab.hosts(HOSTS))
        bed.build_network()
        lab.ping_others(bed, HOSTS)
        taken = time.perf_counter() - began
        leftovers = Leftovers.of(bed)
        began = time.perf_counter()
        bed.close()
        self.closed_ms.append((time.perf_counter() - began) * 1e3)
        self.gone_ms.append((leftovers.wait() - began) * 1e3)
        return taken * 1e3


def measure(options: Options) -> list[Figure]:
    """Floor, the engine's network part, and whole nodes, taking turns."""
    lab.image()
    whole = WholeNodes()
    bare, network, nodes = interleaved(
        options.repeats(15),
        _timed_floor,
        partial(timed_until_pings, partial(engine_network, lab.hosts(HOSTS))),
        whole,
    )
    batch = "one batch of netlink, one thread"
    return [
        Figure(
            "6 hosts: links up and pings pass",
            median(network),
            "ms",
            median(bare),
            batch,
            floors(2.5),
            spread(network),
        ),
        Figure(
            "6 whole nodes: roots, inits, pings pass",
            median(nodes),
            "ms",
            median(bare),
            batch,
            at_most(100),
            spread(nodes),
        ),
        Figure(
            "6 whole nodes: tear-down returns",
            median(whole.closed_ms),
            "ms",
            target=at_most(30),
            note=spread(whole.closed_ms),
        ),
        Figure(
            "6 whole nodes: the kernel has freed them",
            median(whole.gone_ms),
            "ms",
            note=spread(whole.gone_ms),
        ),
    ]
