"""What watching costs: CPU of probe, fake masters, captures, observer; what a fake master can serve."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ci.benchmarks import lab
from ci.benchmarks.figure import Figure, at_least, at_most, quantile
from ci.benchmarks.options import Options
from harness import session
from harness.nodes.netns import NetnsNode
from harness.nodes.process import Process
from harness.testbed import Testbed

INSIDE_BUBBLE = True
SIDE_BY_SIDE = 8
_NAME = "api.cluster.test"
_PACE_S = 0.01
_PUMP_S = 0.05
_NS = 1_000_000_000


def _cpu_s(process: Process) -> float:
    """CPU time of a process so far, to the nanosecond (/proc/PID/schedstat)."""
    return int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e9


class _Drain:
    """Reads an agent's events as they come, so that it never has to wait, and counts those of a kind."""

    def __init__(self, agent: Process, kind: str) -> None:
        self.count = 0
        self._mark = f'"kind":"{kind}"'.encode()
        self._fd = agent.events
        os.set_blocking(self._fd, True)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        rest = b""
        while data := os.read(self._fd, 1 << 18):
            *lines, rest = (rest + data).split(b"\n")
            self.count += sum(self._mark in line for line in lines)


def _openssl(pki: Path, seconds: float) -> tuple[float, float]:
    """The floor: the client's and the server's CPU seconds of a handshake, a request and an answer.

    OpenSSL in memory with nothing around it, at the pace of the default rate, because a CPU that rests
    between two handshakes needs longer for each.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pki / "server.pem", pki / "server.key")
    serving.num_tickets = 0
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    spent, rounds = [0, 0], max(1, round(seconds / _PACE_S))

    def timed(side: int, step: Callable[[], Any]) -> None:
        began = time.thread_time_ns()
        try:
            step()
        except ssl.SSLWantReadError:
            pass
        spent[side] += time.thread_time_ns() - began

    for _ in range(rounds):
        time.sleep(_PACE_S)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = asking.wrap_bio(back, there, server_hostname=_NAME)
        server = serving.wrap_bio(there, back, server_side=True)
        for side, step in (
            (0, client.do_handshake),
            (1, server.do_handshake),
            (0, client.do_handshake),
            (1, server.do_handshake),
            (0, lambda client=client: client.write(b"x" * 100)),
            (1, lambda server=server: (server.read(), server.write(b"x" * 300))),
            (0, client.read),
        ):
            timed(side, step)
    return spent[0] / rounds / _NS, spent[1] / rounds / _NS


class Watched:
    """Testbeds that only serve and watch, at the default rate: what the witnesses of one take of a core."""

    def __init__(self, side_by_side: int, seconds: float) -> None:
        with ExitStack() as stack:
            beds = []
            for _ in range(side_by_side):
                beds.append(stack.enter_context(lab.closed_and_gone(lab.new_testbed(lab.six()))))
                beds[-1].build()
            for bed in beds:
                bed.recorder.wait(partial(_served, bed), 30.0, "the client served", bed.situation.summary)
            groups = [_groups(bed) for bed in beds]
            began, before = time.monotonic(), _spent(groups)
            while time.monotonic() < began + seconds:
                time.sleep(_PUMP_S)
                for bed in beds:
                    bed.recorder.pump(0)
            taken, after = time.monotonic() - began, _spent(groups)
            for bed in beds:
                bed.witnesses.stop_probes()
                bed.witnesses.sync()
        share = 100 / taken / side_by_side
        self.percent = {name: (after[name] - before[name]) * share for name in after}
        window = {"since": round(began * _NS), "until": round((began + taken) * _NS)}
        attempts = [
            attempt for bed in beds for attempt in bed.recorder.timeline.of("probe", stream="new", **window)
        ]
        self.rate = len(attempts) / taken / side_by_side
        self.late_ms = [(attempt.start - attempt.t) / 1e6 for attempt in attempts]

    @property
    def note(self) -> str:
        """Who took it."""
        parts = ", ".join(f"{name} {percent:.2g}" for name, percent in self.percent.items())
        return f"{parts}; {self.rate:.0f} new connections/s"


def _served(bed: Testbed) -> bool:
    return all(bed.situation.streak.get(client, 0) >= 10 for client in bed.clients)


def _spent(groups: list[dict[str, list[Process]]]) -> dict[str, float]:
    """CPU seconds so far of each kind of witness."""
    return {name: sum(_cpu_s(process) for group in groups for process in group[name]) for name in groups[0]}


def _groups(bed: Testbed) -> dict[str, list[Process]]:
    return {
        "probe": list(bed.witnesses._probes.values()),
        "fake masters": [bed.process(spec.name, "master") for spec in bed.topology.role("member")],
        "capture": list(bed.witnesses._captures),
        "observer": [bed.witnesses._observer],
    }


def _served_per_core(
    node: NetnsNode, client: NetnsNode, pki: Path, seconds: int, *, tls: bool
) -> tuple[float, float]:
    """New connections with a request each: how many a second of its CPU a fake master serves, and does."""
    scheme, port = ("https", 6443) if tls else ("http", 6080)
    listener = {"address": lab.address(1), "port": port, "tls": tls}
    if tls:
        listener |= {"cert": str(pki / "server.pem"), "key": str(pki / "server.key")}
    server = node.spawn_agent(scheme, "harness.services.fake_server", {"node": "n1", "listeners": [listener]})
    drain, deadline = _Drain(server, "access"), time.monotonic() + 10
    url = f"{scheme}://{lab.address(1)}:{port}/version"
    while not client.status(["curl", "-sk", url]).ok:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the fake master does not answer: {server.log.read_text()}")
    counted, spent = drain.count, _cpu_s(server)
    argv = ["wrk", "-t1", "-c32", f"-d{seconds}", "-H", "Connection: close", url]
    client.run(argv, timeout_s=seconds + 30)
    spent = _cpu_s(server) - spent
    server.close_commands()
    server.reap(wait=True)
    drain.thread.join()
    served = drain.count - counted
    return served / spent, served / seconds


def measure(options: Options) -> list[Figure]:
    """Testbeds at rest but for their witnesses; then one fake master under all that `wrk` can ask."""
    session.pki_ready()
    alone, crowd = (Watched(count, options.seconds(10, 4)) for count in (1, SIDE_BY_SIDE))
    with lab.closed_and_gone(lab.new_testbed(lab.hosts(2))) as bed:
        bed.build_network()
        pki, seconds = bed.pki(), round(options.seconds(4, 2))
        asking, serving = _openssl(pki, options.seconds(5, 2))
        plain = _served_per_core(bed.nodes["n1"], bed.nodes["n2"], pki, seconds, tls=False)
        tls = _served_per_core(bed.nodes["n1"], bed.nodes["n2"], pki, seconds, tls=True)
    floor_is = "OpenSSL alone, as many handshakes at that pace"
    figures = [
        Figure(
            f"witnesses of a testbed, {company}: CPU, of one core",
            sum(watched.percent.values()),
            "%",
            (asking + serving) * watched.rate * 100,
            floor_is,
            at_most(15),
            watched.note,
        )
        for company, watched in (("alone", alone), (f"{SIDE_BY_SIDE} side by side", crowd))
    ]
    return [
        *figures,
        Figure(
            "the probe begins an attempt late, p99",
            quantile(alone.late_ms, 0.99),
            "ms",
            note=f"median {quantile(alone.late_ms, 0.5):.2g}, {len(alone.late_ms)} attempts",
        ),
        Figure(
            "fake master: new connections without TLS, per core",
            plain[0],
            "/s",
            target=at_least(5000),
            note=f"{plain[1]:.0f}/s against one wrk thread",
        ),
        Figure(
            "fake master: new connections over TLS, per core",
            tls[0],
            "/s",
            1 / serving,
            "the server's half in OpenSSL alone, at 100/s",
            at_least(1500),
            f"{tls[1]:.0f}/s against one wrk thread",
        ),
    ]
