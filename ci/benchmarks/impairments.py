"""How exactly links are impaired, and processors taken: the figures of docs/faults.md.

    python -m ci.benchmarks.impairments [--quick]

One-way times are from just before a datagram is sent in one node to the kernel's stamp when it reached
another (SO_TIMESTAMPNS), so only the wire is between; the same without a fault is subtracted.
"""

from __future__ import annotations

import re
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import bubble, faults, session
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology

_SO_TIMESTAMPNS, _PORT = 35, 7000
_PAUSE_NS = 2_000_000
# A datagram's own size, and what UDP, IPv4 and Ethernet add.
_PAYLOAD, _HEADERS = 1000, 42
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_SPIN = ["/bin/sh", "-c", "while :; do :; done"]


def _topology() -> Topology:
    nodes = tuple(
        NodeSpec(name, "client", (Interface("eth0", "lan", (f"10.0.0.{number}/24",)),))
        for number, name in enumerate(("a", "b"), 1)
    )
    return Topology("impairments", {}, (Segment("lan"),), nodes, (), ())


@contextmanager
def _faults(bed: Testbed, *texts: str) -> Iterator[None]:
    made = [faults.parse(text, bed) for text in texts]
    for fault in made:
        fault.inject()
    yield
    for fault in made:
        fault.heal()


class OneWay:
    """Datagrams from b to a, and how long each took (ns), by number; None for one that never came."""

    def __init__(self, bed: Testbed) -> None:
        self._into, self._out = (self._socket(bed, node) for node in ("a", "b"))
        self._into.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._into.bind(("10.0.0.1", _PORT))

    @staticmethod
    def _socket(bed: Testbed, node: str) -> socket.socket:
        def make() -> socket.socket:
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        return namespaces.inside(bed.node(node).netns, sc.CLONE_NEWNET, make)

    def times(self, count: int, settle_s: float = 0.5) -> tuple[dict[int, list[int]], list[int]]:
        """The times of each datagram (one for each copy), and the numbers in order of arrival."""
        sent: list[int] = []
        began = time.monotonic_ns()
        for number in range(count):
            while (left := began + number * _PAUSE_NS - time.monotonic_ns()) > 0:
                time.sleep(left / 1e9)
            sent.append(time.time_ns())
            self._out.sendto(struct.pack("=I", number), ("10.0.0.1", _PORT))
        self._into.settimeout(settle_s)
        taken: dict[int, list[int]] = {}
        order: list[int] = []
        while True:
            try:
                data, ancillary, _, _ = self._into.recvmsg(64, 64)
            except TimeoutError:
                return taken, order
            seconds, nanoseconds = struct.unpack("=qq", ancillary[0][2])
            number = struct.unpack("=I", data)[0]
            taken.setdefault(number, []).append(seconds * 1_000_000_000 + nanoseconds - sent[number])
            order.append(number)


def _quantiles(values: list[float], unit: str) -> str:
    ordered = sorted(values)
    found = [ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in _QUANTILES]
    return " / ".join(f"{value:.3g}" for value in found) + f" {unit} (median, 90 %, 99 %, most)"


def _delays(bed: Testbed, wire: OneWay, count: int) -> Iterator[tuple[str, str]]:
    bare, _ = wire.times(count)
    base_ns = sorted(times[0] for times in bare.values())[len(bare) // 2]
    yield "no fault, one way", f"{base_ns / 1000:.0f} us"
    for ms in (1, 10, 100):
        with _faults(bed, f"delay:a,ms={ms},direction=in"):
            taken, order = wire.times(count)
        late = [(times[0] - base_ns) / 1e6 - ms for times in taken.values()]
        kept = "in order" if order == sorted(order) else "out of order"
        yield f"delay {ms} ms: late by", f"{_quantiles(late, 'ms')}, {count - len(taken)} lost, {kept}"
    with _faults(bed, "jitter:a,ms=20,direction=in"):
        taken, order = wire.times(count)
    spread = sorted((times[0] - base_ns) / 1e6 for times in taken.values())
    parts = ", ".join(f"{spread[int(q * (len(spread) - 1))]:.1f}" for q in (0, 0.25, 0.5, 0.75, 1))
    yield "jitter 20 ms: quartiles", f"{parts} ms, {'in order' if order == sorted(order) else 'out of order'}"


def _odds(bed: Testbed, wire: OneWay, count: int) -> Iterator[tuple[str, str]]:
    with _faults(bed, "loss:a,percent=10,direction=in"):
        taken, _ = wire.times(count)
    yield f"loss 10 % of {count}", f"{100 * (1 - len(taken) / count):.2f} %"
    with _faults(bed, "duplicate:a,percent=10,direction=in"):
        taken, _ = wire.times(count)
    doubled = sum(len(times) - 1 for times in taken.values())
    yield f"duplicate 10 % of {count}", f"{100 * doubled / count:.2f} %, {count - len(taken)} lost"
    with _faults(bed, "reorder:a,percent=10,ms=10,direction=in"):
        taken, _ = wire.times(count)
    held = [(times[0]) / 1e6 for times in taken.values() if times[0] > 9_000_000]
    yield f"reorder 10 % of {count} by 10 ms", f"{100 * len(held) / count:.2f} %: {_quantiles(held, 'ms')}"


def _iperf(bed: Testbed, *more: str) -> str:
    name = f"iperf-{time.monotonic_ns()}"
    server = bed.node("a").spawn(name, ["iperf3", "-s", "-1", "--forceflush"])
    bed.recorder.wait(lambda: b"listening" in server.log.read_bytes(), 10, "iperf3")
    said = bed.node("b").run(["iperf3", "-c", "10.0.0.1", "-t", "3", "-f", "m", *more])
    server.reap(wait=True)
    return next(line for line in said.splitlines() if line.endswith("receiver"))


def _goodput(bed: Testbed, *more: str) -> float:
    found = re.search(r"([\d.]+) Mbits/sec", _iperf(bed, *more))
    assert found is not None
    return float(found[1])


def _capacity(bed: Testbed) -> Iterator[tuple[str, str]]:
    for mbit in (1, 10, 100):
        with _faults(bed, f"rate:a,mbit={mbit}"):
            yield f"rate {mbit} Mbit/s: goodput of TCP", f"{_goodput(bed):.2f} Mbit/s"
            flood = _goodput(bed, "-u", "-l", str(_PAYLOAD), "-b", f"{2 * mbit}M")
            on_the_wire = flood * (_PAYLOAD + _HEADERS) / _PAYLOAD
            yield f"rate {mbit} Mbit/s: on the wire, of twice as much", f"{on_the_wire:.2f} Mbit/s"
    with _faults(bed, "delay:a,ms=1"):
        yield "TCP through a wire with 2 ms of round trip", f"{_goodput(bed):.0f} Mbit/s"
        most = 0.0
        for rate in (5, 10, 20, 30, 40, 50, 60, 80):
            line = _iperf(bed, "-u", "-l", "64", "-b", f"{rate * 64 * 8 / 1000}M")
            found = re.search(r"(\d+)/(\d+) \(", line)
            assert found is not None
            lost, sent = int(found[1]), int(found[2])
            if lost > sent / 1000:
                break
            most = (sent - lost) / 3
        yield "small datagrams through a wire, less than 0.1 % lost", f"{most:.0f} a second"


def _share(bed: Testbed, node: str, fault: str, seconds: float) -> float:
    spin = bed.node(node).spawn(f"spin-{time.monotonic_ns()}", _SPIN)
    stat = Path(f"/proc/{spin.pid}/schedstat")
    with _faults(bed, fault):
        began, before = time.monotonic_ns(), int(stat.read_text().split()[0])
        bed.recorder.pass_time(began + round(seconds * 1e9))
        got = (int(stat.read_text().split()[0]) - before) / (time.monotonic_ns() - began)
    spin.signal(9)
    spin.reap(wait=True)
    return 100 * got


def _processor(bed: Testbed, seconds: float) -> Iterator[tuple[str, str]]:
    for percent in (5, 20, 50):
        got = _share(bed, "a", f"cpu-quota:a,percent={percent}", seconds)
        yield f"cpu-quota {percent} %: a spinning process gets", f"{got:.1f} %"
    for percent in (50, 90):
        got = _share(bed, "a", f"cpu-steal:a,percent={percent}", seconds)
        yield f"cpu-steal {percent} %: a spinning process gets", f"{got:.1f} %"


def main() -> None:
    """Measure and print a table."""
    image = session.image("trixie")
    bubble.enter()
    quick = "--quick" in sys.argv
    count, seconds = (300, 1.0) if quick else (3000, 5.0)
    with (
        tempfile.TemporaryDirectory() as folder,
        Testbed(_topology(), image.rootfs, Path(folder), capture=False) as bed,
    ):
        wire = OneWay(bed)
        wire.times(10)
        for rows in (
            _delays(bed, wire, count),
            _odds(bed, wire, count),
            _capacity(bed),
            _processor(bed, seconds),
        ):
            for what, found in rows:
                print(f"| {what} | {found} |", flush=True)


if __name__ == "__main__":
    main()
