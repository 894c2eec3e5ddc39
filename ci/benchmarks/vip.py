"""A balanced service of six nodes: from nothing until its VIP answers, and from running until it is gone."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from dataclasses import replace
from functools import partial
from statistics import median

from ci.benchmarks import lab
from ci.benchmarks.figure import Figure, at_most, floors, spread
from ci.benchmarks.gone import Leftovers, processes
from ci.benchmarks.options import Options
from ci.benchmarks.ping import ping_all
from harness import session
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.testbed import Testbed
from topologies.vip_l7 import PORT, VIP

INSIDE_BUBBLE = True
_PATIENCE_S = 10.0
_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_CONTEXT.check_hostname, _CONTEXT.verify_mode = False, ssl.CERT_NONE


def _get() -> bytes:
    """One request over TLS through the VIP, from the calling thread's network namespace."""
    with socket.create_connection((VIP, PORT), 0.2) as plain:
        # The request follows the handshake's last flight at once, rather than wait for its delayed ACK.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = _CONTEXT.wrap_socket(plain)
        tls.sendall(b"GET /version HTTP/1.1\r\nHost: vip\r\nConnection: close\r\n\r\n")
        with tls:
            return tls.recv(4096)


def _ask_until_answered() -> float:
    """Ask the VIP until it answers; the moment at which it did (time.monotonic)."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if _get().startswith(b"HTTP/1.1 200"):
                return time.monotonic()
        except OSError:
            pass
    raise TimeoutError("the VIP never answered")


def _first_advert_ns(bed: Testbed, since_ns: int) -> int:
    def seen() -> bool:
        return bed.recorder.timeline.first("vrrp", since=since_ns) is not None

    bed.recorder.wait(seen, _PATIENCE_S, "the first advertisement")
    found = bed.recorder.timeline.first("vrrp", since=since_ns)
    assert found is not None
    return found.t


def _election_ms(bed: Testbed) -> float:
    """keepalived's own: stop both, start both with nothing else to do, until the first advert is sent."""
    for node in ("lb1", "lb2"):
        process = bed.process(node, "keepalived")
        process.expected_end = True
        process.signal(signal.SIGTERM)
        bed.recorder.wait(lambda process=process: not process.running, _PATIENCE_S, "keepalived's end")  # type: ignore[misc]
    bed.witnesses.sync()
    started_ns = time.monotonic_ns()
    for node in ("lb1", "lb2"):
        bed.start_service(node, "keepalived", wait=False)
    return (_first_advert_ns(bed, started_ns) - started_ns) / 1e6


class Bare:
    """keepalived on two of six nodes and nothing else, as in the peers' labs: until the VIP answers."""

    def __init__(self) -> None:
        began = time.monotonic()
        with lab.closed_and_gone(lab.new_testbed(lab.only("keepalived"))) as bed:
            bed.build()
            _first_advert_ns(bed, 0)
            client = bed.nodes["cl"].netns
            # Asked too early, the client is told of the address by the gratuitous ARP that follows.
            namespaces.inside(client, sc.CLONE_NEWNET, partial(ping_all, [VIP]))
            self.answers = (time.monotonic() - began) * 1e3
            self.election = _election_ms(bed)


class Start:
    """One start of the service; nobody asks before the VIP is there, so nothing is queued for it then."""

    def __init__(self) -> None:
        began = time.monotonic()
        with lab.closed_and_gone(lab.new_testbed(replace(lab.six(), probes=()))) as bed:
            bed.build()
            self.built = (time.monotonic() - began) * 1e3
            _first_advert_ns(bed, 0)
            client = bed.nodes["cl"].netns
            answered = namespaces.inside(client, sc.CLONE_NEWNET, _ask_until_answered)
            self.answers = (answered - began) * 1e3


class End:
    """One tear-down of the service while everything runs and a client asks."""

    def __init__(self) -> None:
        before = processes()
        bed = lab.new_testbed(lab.six())
        try:
            bed.build()
            _first_advert_ns(bed, 0)
            bed.recorder.pass_time(time.monotonic_ns() + 500_000_000)
            leftovers = Leftovers.of(bed)
        except BaseException:
            bed.close()
            raise
        began = time.perf_counter()
        bed.close()
        self.closed = (time.perf_counter() - began) * 1e3
        self.left = len(processes() - before)
        self.gone = (leftovers.wait() - began) * 1e3


def measure(options: Options) -> list[Figure]:
    """Whole lives of the service, one after the other."""
    session.pki_ready()
    lab.image()
    repeats = options.repeats(7)
    bare = [Bare() for _ in range(repeats)]
    starts = [Start() for _ in range(repeats)]
    ends = [End() for _ in range(repeats)]
    election = median([b.election for b in bare])
    election_is = "keepalived's own election, in the same lab at rest"
    return [
        Figure(
            "6 nodes, 2 keepalived: from nothing until the VIP answers",
            median([b.answers for b in bare]),
            "ms",
            election,
            election_is,
            floors(1.25),
            spread([b.answers for b in bare]),
        ),
        Figure(
            "with proxies and masters: until the VIP answers over TLS",
            median([s.answers for s in starts]),
            "ms",
            election,
            election_is,
            note=spread([s.answers for s in starts]),
        ),
        _figure("with proxies and masters: until services are ready", [s.built for s in starts]),
        Figure(
            "running service: tear-down returns",
            median([e.closed for e in ends]),
            "ms",
            target=at_most(30),
            note=f"{spread([e.closed for e in ends])}; {max(e.left for e in ends)} processes left then",
        ),
        _figure("running service: the kernel has freed it", [e.gone for e in ends]),
    ]


def _figure(name: str, values: list[float]) -> Figure:
    return Figure(name, median(values), "ms", note=spread(values))
