"""A command in a node: how long one takes, and whether twenty at once hinder one another."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from ci.benchmarks import lab
from ci.benchmarks.figure import Figure, at_most, floors, interleaved, quantile, spread
from ci.benchmarks.options import Options
from harness.nodes.netns import NetnsNode

INSIDE_BUBBLE = True
AT_ONCE = 20
_SLEEP_S = 0.2
_PROGRAM = "/bin/true"


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def measured() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e3

    return measured


def _spawn() -> None:
    """The floor: the same program of the same image, started by the C library and waited for."""
    program = str(lab.image().rootfs) + _PROGRAM
    os.waitpid(os.posix_spawn(program, [program], {}), 0)


def _nsenter(init_pid: int) -> None:
    argv = ["nsenter", "-t", str(init_pid), "-m", "-n", "-p", "-u", "-i", _PROGRAM]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _wall_of(node: NetnsNode, count: int) -> float:
    """Milliseconds until so many sleeps, begun at once, have ended."""
    with ThreadPoolExecutor(count) as pool:
        # Threads first, so that what is measured is the node and not their start.
        list(pool.map(lambda _: time.sleep(0.01), range(count)))
        began = time.perf_counter()
        list(pool.map(lambda _: node.run(["sleep", str(_SLEEP_S)]), range(count)))
        return (time.perf_counter() - began) * 1e3


def measure(options: Options) -> list[Figure]:
    """One command beside its floor and its peer; twenty beside one."""
    with lab.closed_and_gone(lab.new_testbed(lab.hosts(2))) as bed:
        bed.build_network()
        node = bed.nodes["n1"]
        bare, ours, nsenter = interleaved(
            options.repeats(200, 50),
            _timed(_spawn),
            _timed(lambda: node.run([_PROGRAM])),
            _timed(lambda: _nsenter(node.init_pid)),
        )
        one, twenty = interleaved(
            options.repeats(5), lambda: _wall_of(node, 1), lambda: _wall_of(node, AT_ONCE)
        )
    return [
        Figure(
            "a command in a node, output collected",
            median(ours),
            "ms",
            median(bare),
            "posix_spawn of the same on the host",
            at_most(3),
            f"{len(ours)} times, p95 {quantile(ours, 0.95):.3g}",
        ),
        Figure(
            "the same by nsenter, for comparison",
            median(nsenter),
            "ms",
            median(bare),
            "posix_spawn of the same on the host",
            None,
            f"{len(nsenter)} times, p95 {quantile(nsenter, 0.95):.3g}",
        ),
        Figure(
            f"{AT_ONCE} commands at once, of {_SLEEP_S:g} s each",
            median(twenty),
            "ms",
            median(one),
            "one of them",
            floors(1.5),
            spread(twenty),
        ),
    ]
