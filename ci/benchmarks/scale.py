"""A hundred and five hundred nodes on one segment: time and memory for each, and whether both stay flat."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from ci.benchmarks import lab, memory
from ci.benchmarks.figure import Figure, at_most, floors
from ci.benchmarks.gone import Leftovers, processes
from ci.benchmarks.memory import Memory
from ci.benchmarks.options import Options

INSIDE_BUBBLE = True
FEW, MANY = 100, 500
_SETTLE_S = 2.0


@dataclass(frozen=True)
class Crowd:
    """So many nodes: milliseconds and KiB for each of them."""

    nodes: int
    network_ms: float
    pings_ms: float
    watched_ms: float
    closed_ms: float
    gone_ms: float
    memory: Memory


def _crowd(number: int) -> Crowd:
    ours = processes()
    gc.collect()
    time.sleep(_SETTLE_S)
    before = memory.now(ours)
    began = time.perf_counter()
    bed = lab.new_testbed(lab.hosts(number))
    try:
        bed.build_network()
        network = time.perf_counter() - began
        time.sleep(_SETTLE_S)
        used = memory.now(ours) - before
        began = time.perf_counter()
        lab.ping_others(bed, number)
        pings = time.perf_counter() - began
        leftovers = Leftovers.of(bed)
    finally:
        began = time.perf_counter()
        bed.close()
        closed = time.perf_counter() - began
    gone = leftovers.wait() - began
    began = time.perf_counter()
    with lab.closed_and_gone(lab.new_testbed(lab.hosts(number))) as bed:
        bed.build()
        bed.witnesses.sync()
        watched = time.perf_counter() - began
    each = 1e3 / number
    return Crowd(
        number,
        network * each,
        pings * each,
        watched * each,
        closed * each,
        gone * each,
        Memory(*(value / number for value in used.values())),
    )


def measure(options: Options) -> list[Figure]:
    """Few nodes, then many."""
    lab.image()
    _crowd(2)
    few, many = _crowd(FEW), _crowd(MANY)
    figures = [
        _flat("nodes up, links and addresses too", many.network_ms, few.network_ms),
        _flat("nodes up, watched and ready for services", many.watched_ms, few.watched_ms),
        _flat("the first pings it (ARP reaches all)", many.pings_ms, few.pings_ms, flat=False),
        _flat("tear-down returns", many.closed_ms, few.closed_ms, flat=False),
        _flat("the kernel has freed them", many.gone_ms, few.gone_ms, flat=False),
    ]
    for crowd in (few, many):
        used = crowd.memory
        figures.append(
            Figure(
                f"{crowd.nodes} nodes: memory for each, counted piece by piece",
                used.counted / 1024,
                "MiB",
                few.memory.counted / 1024 if crowd is many else None,
                f"{FEW} nodes",
                at_most(1.5),
                f"slab {used.slab:.0f}, stacks and tables {used.kernel:.0f}, processes {used.processes:.0f}, "
                f"tmpfs {used.shmem:.0f} KiB; MemAvailable fell by {used.in_use:.0f} KiB",
            )
        )
    figures.append(
        Figure(
            f"{MANY} nodes: memory for each, against {FEW}",
            many.memory.counted / 1024,
            "MiB",
            few.memory.counted / 1024,
            f"{FEW} nodes",
            floors(1.3),
        )
    )
    return figures


def _flat(name: str, many: float, few: float, *, flat: bool = True) -> Figure:
    return Figure(
        f"{MANY} nodes: {name}, for each", many, "ms", few, f"{FEW} nodes", floors(1.3) if flat else None
    )
