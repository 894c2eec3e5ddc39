"""The labs that are measured: bare hosts on one segment, and the smallest balanced service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import count
from pathlib import Path

import topologies
from ci.benchmarks.gone import Leftovers
from ci.benchmarks.ping import ping_all
from harness import bubble, session
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology

_numbers = count(1)


def hosts(number: int) -> Topology:
    """So many hosts on one segment, with an address each and nothing that runs."""
    return Topology(
        "hosts",
        {"number": number},
        (Segment("lan"),),
        tuple(
            NodeSpec(f"n{n}", "member", (Interface("eth0", "lan", (f"{address(n)}/16",)),))
            for n in range(1, number + 1)
        ),
        (),
        (),
    )


def address(number: int) -> str:
    """The address of a host of `hosts`."""
    return f"10.0.{number >> 8}.{number & 255}"


def six() -> Topology:
    """The six nodes of vip-l7 on its first segment: two balancers, three masters, a client."""
    whole = topologies.make("vip-l7", {"track": "none"})
    nodes = tuple(
        replace(node, routes={})
        for node in whole.nodes
        if all(interface.segment == "lan" for interface in node.interfaces)
    )
    probes = tuple(probe for probe in whole.probes if probe.client in {node.name for node in nodes})
    return replace(whole, segments=whole.segments[:1], nodes=nodes, probes=probes)


def only(service: str) -> Topology:
    """The same six nodes with no other service than this one, and no client that asks."""
    whole = six()
    nodes = tuple(
        replace(node, services=tuple(s for s in node.services if s.name == service)) for node in whole.nodes
    )
    return replace(whole, nodes=nodes, probes=())


def new_testbed(topology: Topology, *, seed: int = 0, probe_rate: float = 100.0) -> Testbed:
    """A testbed whose artifacts go with the bubble."""
    found = image()
    return Testbed(
        topology, found.rootfs, new_folder(), seed=seed, versions=found.versions, probe_rate=probe_rate
    )


@cache
def image() -> session.Image:
    """The node image, looked up once, as a command does."""
    return session.image("trixie", build=False)


def new_folder() -> Path:
    """A folder that goes with the bubble."""
    folder = bubble.scratch() / f"bench-{os.getpid()}-{next(_numbers)}"
    folder.mkdir()
    return folder


@contextmanager
def closed_and_gone(bed: Testbed) -> Iterator[Testbed]:
    """A testbed for a block, and the kernel's clean-up of it awaited, which would disturb what is next."""
    try:
        yield bed
    except BaseException:
        bed.close()
        raise
    leftovers = Leftovers.of(bed)
    bed.close()
    leftovers.wait()


def ping_others(bed: Testbed, number: int) -> None:
    """The first host of `hosts(number)` pings all others."""
    others = [address(n) for n in range(2, number + 1)]
    namespaces.inside(bed.nodes["n1"].netns, sc.CLONE_NEWNET, partial(ping_all, others))
