"""What a request costs a director that forwards (IPVS, direct return), beside one that is a proxy (HAProxy).

The same load on the same members, each director on a kernel of its own: the CPU time of its whole machine
by the requests that a client got answered, with a new connection for each and on kept ones.  A machine's
system calls are slow, which a proxy pays and a forwarder does not: the ratio is that of two machines, and
on bare metal it is smaller.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, replace
from statistics import median

import topologies
from ci.benchmarks.figure import Figure, spread
from ci.benchmarks.lab import new_folder
from ci.benchmarks.options import Options
from harness import bubble, session
from harness.kernel import ladder
from harness.testbed import Testbed
from harness.topology import Topology

INSIDE_BUBBLE = False  # it enters one itself, once the kernel's image is there
VIP, HOST = "10.0.0.101", "shop.apps.cluster.test"
_SECONDS, _CONNECTIONS = 3, 8
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")


@dataclass(frozen=True)
class Load:
    """What one run of the load came to: requests a second, and the director's CPU for each (µs)."""

    rate: float
    cpu_us: float


def measure(options: Options) -> list[Figure]:
    """Requests a second and CPU a request, forwarded and proxied, in turns."""
    image, kernel = session.image("trixie"), session.kernel()
    bubble.enter()
    found: dict[tuple[str, str], list[Load]] = {}
    for _ in range(options.repeats(2)):
        for name, topology in (("IPVS", _alone("vip-l4")), ("HAProxy", _alone("vip-l7"))):
            bed = Testbed(topology, image.rootfs, new_folder(), kernel=kernel.rootfs, capture=False)
            with bed:
                _await_active(bed)
                for kind, header in (("new", "Connection: close"), ("kept", "Connection: keep-alive")):
                    found.setdefault((name, kind), []).append(_load(bed, header))
    figures = []
    for kind, words in (("new", "a new connection each"), ("kept", "kept connections")):
        ipvs, haproxy = found["IPVS", kind], found["HAProxy", kind]
        figures += [
            _figure(f"requests/s, {words}", "1/s", [x.rate for x in ipvs], [x.rate for x in haproxy]),
            _figure(f"CPU a request, {words}", "µs", [x.cpu_us for x in haproxy], [x.cpu_us for x in ipvs]),
        ]
    return figures


def _figure(name: str, unit: str, values: list[float], beside: list[float]) -> Figure:
    """Rates of IPVS beside HAProxy's, costs of HAProxy beside those of IPVS."""
    forwards = unit == "1/s"
    return Figure(
        f"{'IPVS' if forwards else 'HAProxy'}: {name}",
        median(values),
        unit,
        median(beside),
        "HAProxy" if forwards else "IPVS",
        note=spread(values),
    )


def _alone(architecture: str) -> Topology:
    """Routers behind one director on a kernel of its own, and a client that does not probe."""
    made = topologies.make(architecture, {"for": "routers"})
    nodes = tuple(node for node in made.nodes if node.name not in ("lb2", "clx"))
    return ladder.choose(replace(made, nodes=nodes, probes=()), "uml").topology


def _await_active(bed: Testbed) -> None:
    bed.recorder.wait(
        lambda: "lb1" in bed.situation.holders.get(VIP, ()), 20.0, f"lb1 to have {VIP}", bed.situation.summary
    )


def _load(bed: Testbed, header: str) -> Load:
    """The load of one client on the VIP, and what it cost the director's machine."""
    words = ["wrk", "-t", "1", "-c", str(_CONNECTIONS), "-d", f"{_SECONDS}s"]
    before, began = _cpu_s(bed), time.monotonic()
    said = bed.node("cl").run([*words, "-H", f"Host: {HOST}", "-H", header, f"http://{VIP}:80/"])
    used, took = _cpu_s(bed) - before, time.monotonic() - began
    match = _RATE.search(said)
    assert match is not None, said
    rate = float(match.group(1))
    return Load(rate, used / (rate * took) * 1e6)


def _cpu_s(bed: Testbed) -> float:
    """The CPU time of the director's machine, all its processes together, in seconds."""
    machine = bed.node("lb1").machine  # type: ignore[attr-defined]
    total = 0
    for pid in machine.tree():
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        total += sum(int(field) for field in fields[11:15])
    return total * _TICK_S
