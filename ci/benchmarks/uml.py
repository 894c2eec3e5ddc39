"""Nodes with kernels of their own: how soon they serve, what they take and forward, how soon they tell.

The director forwards by real IPVS (direct return) between two hosts on the engine's kernel, over each
way into a machine; the probe of speed is iperf3, whose retransmissions are its own count.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci.benchmarks.figure import Figure, at_least, at_most, quantile, spread
from ci.benchmarks.options import Options
from harness import bubble, session
from harness.nodes.uml import UmlNode
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology
from harness.uml.chassis import best_transport
from harness.uml.command import Transport

INSIDE_BUBBLE = False  # it enters one itself, once the kernel's image is there
VIP, PORT = "10.0.0.100", "5201"
TOGETHER = 10
_MSS_BYTES = 1448
_numbers = itertools.count(1)


def measure(options: Options) -> list[Figure]:
    """Boots, memory, throughput and promptness."""
    image, kernel = session.image("trixie"), session.kernel()
    bubble.enter()
    with tempfile.TemporaryDirectory() as logs:
        make = _Machines(image.rootfs, kernel.rootfs, Path(logs))
        figures = [*_boots(make, options), _many(make)]
    transports: list[Transport] = ["raw"] if best_transport() == "raw" else ["tap", "raw"]
    for transport in transports:
        figures += _throughput(image.rootfs, kernel.rootfs, transport, options)
    figures += _promptness(image.rootfs, kernel.rootfs, options)
    return figures


class _Machines:
    """Makes nodes with kernels of their own, outside of any testbed."""

    def __init__(self, rootfs: Path, kernel: Path, logs: Path) -> None:
        self._rootfs, self._kernel, self._logs = rootfs, kernel, logs

    def __call__(self, count: int) -> list[UmlNode]:
        names = [f"u{next(_numbers)}" for _ in range(count)]
        return [
            UmlNode(name, self._rootfs, self._kernel, bubble.scratch() / name, self._logs / name)
            for name in names
        ]


def _boot_together(nodes: list[UmlNode]) -> float:
    began = time.monotonic()
    boots = [node.boot_async() for node in nodes]
    for boot in boots:
        boot.result()
    return time.monotonic() - began


def _boots(make: _Machines, options: Options) -> list[Figure]:
    """Two boot at once, again and again; then what one of them holds in memory."""
    taken, held = [], []
    for _ in range(options.repeats(10)):
        nodes = make(2)
        taken.append(_boot_together(nodes))
        held.append(_resident_mb(nodes[0]))
        for node in nodes:
            node.crash()
    return [
        Figure("own kernel: two boot", quantile(taken, 0.5), "s", target=at_most(2.5), note=spread(taken)),
        Figure("own kernel: memory, idle", quantile(held, 0.5), "MB", target=at_most(64), note=spread(held)),
    ]


def _many(make: _Machines) -> Figure:
    nodes = make(TOGETHER)
    taken = _boot_together(nodes)
    answered = [node.run(["uname", "-r"]) for node in nodes]
    for node in nodes:
        node.crash()
    assert len(set(answered)) == 1
    return Figure(f"own kernel: {TOGETHER} boot", taken, "s", note="at once; each then runs a command")


def _resident_mb(node: UmlNode) -> float:
    """What a machine's processes hold; those that share all their memory are counted once."""
    assert node.machine is not None
    memories: dict[str, float] = {}
    for pid in node.machine.tree():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                memories[Path(f"/proc/{pid}/statm").read_text().split()[0]] = int(line.split()[1]) / 1024
    return sum(memories.values())


# -- forwarding --------------------------------------------------------------------------------------


def _topology() -> Topology:
    def on(address: str) -> tuple[Interface, ...]:
        return (Interface("eth0", "lan", (f"{address}/24",)),)

    quiet = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}
    director = NodeSpec("lb", "balancer", on("10.0.0.11"), kernel="uml", needs=("ip_vs", "ip_vs_rr"))
    member = NodeSpec("m", "member", on("10.0.0.21"), sysctls=quiet)
    client = NodeSpec("cl", "client", on("10.0.0.10"))
    return Topology("bench", {}, (Segment("lan"),), (client, member, director), (), ())


@contextmanager
def _bed(rootfs: Path, kernel: Path, transport: Transport) -> Iterator[tuple[Testbed, UmlNode]]:
    """Client, director and member, wired, the director's machine by the given transport."""
    with tempfile.TemporaryDirectory() as folder:
        bed = Testbed(_topology(), rootfs, Path(folder), kernel=kernel, capture=False)
        director = bed.nodes["lb"]
        assert isinstance(director, UmlNode)
        director.chassis.transport = transport
        try:
            bed.build_network()
            yield bed, director
        finally:
            bed.close()


def _throughput(rootfs: Path, kernel: Path, transport: Transport, options: Options) -> list[Figure]:
    seconds, rates, lost = options.seconds(5, 2), [], []
    with _bed(rootfs, kernel, transport) as (bed, director):
        for node, where in (("m", "lo"), ("lb", "eth0")):
            bed.node(node).run(["ip", "address", "add", f"{VIP}/32", "dev", where])
        director.run(["ipvsadm", "-A", "-t", f"{VIP}:{PORT}", "-s", "rr"])
        director.run(["ipvsadm", "-a", "-t", f"{VIP}:{PORT}", "-r", f"10.0.0.21:{PORT}", "-g"])
        server = bed.node("m").spawn("iperf3", ["iperf3", "-s"])
        _await_listening(bed)
        for _ in range(options.repeats(5)):
            argv = ["iperf3", "-J", "-c", VIP, "-t", f"{seconds:g}"]
            end = json.loads(bed.node("cl").run(argv, timeout_s=seconds + 20))["end"]
            rates.append(end["sum_received"]["bits_per_second"] / 1e6)
            segments = end["sum_sent"]["bytes"] / _MSS_BYTES
            lost.append(100 * end["sum_sent"]["retransmits"] / segments)
        server.signal(9)
    least = 800 if transport == "tap" else 300
    name = f"own kernel: IPVS DR, {transport}"
    return [
        Figure(f"{name}, TCP", quantile(rates, 0.5), "Mbit/s", target=at_least(least), note=spread(rates)),
        Figure(f"{name}, retransmitted", quantile(lost, 0.5), "%", target=at_most(0.1), note=spread(lost)),
    ]


def _await_listening(bed: Testbed) -> None:
    wait = f"until ss -Hltn sport = :{PORT} | grep -q .; do :; done"
    bed.node("m").run(["sh", "-c", wait])


# -- promptness ----------------------------------------------------------------------------------------


def _promptness(rootfs: Path, kernel: Path, options: Options) -> list[Figure]:
    """From a pulled cable to the timeline: the switch's port, the machine, its kernel's news, and back."""
    late, asked = [], []
    with _bed(rootfs, kernel, best_transport()) as (bed, director):
        source = director.watch()
        bed.recorder.attach(source)
        director.tell_changes()
        ports = bed.fabric.ports_of("lb")
        for _ in range(options.repeats(20)):
            for up, act in ((False, bed.fabric.unplug), (True, bed.fabric.plug)):
                began = time.monotonic_ns()
                act(ports)
                bed.recorder.wait(
                    lambda up=up, began=began: (
                        bed.recorder.timeline.first(  # type: ignore[misc]
                            "link", node="lb", interface="eth0", up=up, since=began
                        )
                        is not None
                    ),
                    10,
                    "the link's change",
                )
                found = bed.recorder.timeline.first("link", node="lb", interface="eth0", up=up, since=began)
                assert found is not None
                if not up:
                    late.append((found.t - began) / 1e6)
            before = time.monotonic()
            director.exists("/etc")
            asked.append((time.monotonic() - before) * 1e3)
    return [
        Figure(
            "own kernel: pulled cable on the timeline, 95 %",
            quantile(late, 0.95),
            "ms",
            target=at_most(20),
            note=spread(late),
        ),
        Figure("own kernel: a question to its agent", quantile(asked, 0.5), "ms", note=spread(asked)),
    ]
