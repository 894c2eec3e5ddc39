"""What the probe and the fake servers cost and can do: `ci/bench_fakes.py [--seconds N] [--json FILE]`.

Prints the CPU time of both at the default rate beside the floor, which is what OpenSSL alone takes for
the same handshakes at the same pace (both sides in one process, so with warmer caches); then how many
new connections a second one server can serve (with `wrk`, where there is one).  A shared machine varies
by a third: compare within one run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.pki import ensure_pki  # noqa: E402 (the path comes first)

NAME = "api.cluster.test"
PACE_S = 0.01


class Agent:
    """An agent whose events are read as they come, so that it never has to wait."""

    def __init__(self, module: str, config: object) -> None:
        start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {module} import main; main()"
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", start, json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.first: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.start_ms = (time.perf_counter() - began) * 1e3
        self.lines: list[bytes] = []
        self._reader = threading.Thread(
            target=lambda: self.lines.extend(self.process.stdout or ()), daemon=True
        )
        self._reader.start()

    def command(self, **fields: object) -> None:
        """Send one command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields).encode() + b"\n")
        self.process.stdin.flush()

    def cpu_s(self) -> float:
        """CPU time so far, to the nanosecond (proc(5): /proc/PID/schedstat)."""
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[0]) / 1e9

    def end(self) -> None:
        """Close its commands and wait for it and its last events."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
        self._reader.join()


def serve(folder: Path, *, tls: bool) -> Agent:
    """A fake server on the loopback."""
    cert, key = str(folder / "server.pem"), str(folder / "server.key")
    listener = {"address": "127.0.0.1", "port": 0, "tls": tls, "cert": cert, "key": key}
    return Agent("harness.services.fake_server", {"node": "m1", "listeners": [listener]})


def port(server: Agent) -> int:
    """The port that the kernel gave it."""
    number: int = server.first["listeners"][0]["port"]
    return number


def at_default_rate(folder: Path, seconds: float, *, tls: bool) -> dict[str, float]:
    """CPU of probe and server at 100 new and 10 kept-alive requests a second, and the probe's lateness."""
    server = serve(folder, tls=tls)
    place = {
        "address": "127.0.0.1",
        "port": port(server),
        "tls": tls,
        "server_name": NAME,
        "path": "/version",
    }
    pins = [str(folder / "server.pem")]
    probe = Agent("harness.observe.probe", {"client": "cl", "targets": [{**place, "pins": pins}]})
    before = probe.cpu_s(), server.cpu_s()
    probe.command(do="start")
    time.sleep(seconds)
    after = probe.cpu_s(), server.cpu_s()
    started = probe.start_ms, server.start_ms
    probe.command(do="stop")
    probe.process.wait()
    probe.end()
    server.end()
    events = [event for event in map(json.loads, probe.lines) if event["kind"] == "probe"]
    late = sorted(event["start"] - event["t"] for event in events)
    return {
        "probe_cpu_percent": (after[0] - before[0]) / seconds * 100,
        "server_cpu_percent": (after[1] - before[1]) / seconds * 100,
        "attempts": len(events),
        "not_ok": sum(event["result"] != "ok" for event in events),
        "late_us_median": late[len(late) // 2] / 1e3,
        "late_us_p99": late[len(late) * 99 // 100] / 1e3,
        "probe_start_ms": started[0],
        "server_start_ms": started[1],
    }


def openssl_floor(folder: Path, seconds: float) -> dict[str, float]:
    """What OpenSSL alone takes for a handshake, a request and an answer, 100 times a second, in memory."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "server.pem", folder / "server.key")
    serving.num_tickets = 0
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    spent, rounds = [0, 0], max(1, round(seconds / PACE_S))

    def timed(side: int, step: Any) -> None:
        began = time.thread_time_ns()
        try:
            step()
        except ssl.SSLWantReadError:
            pass
        spent[side] += time.thread_time_ns() - began

    for _ in range(rounds):
        time.sleep(PACE_S)
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = asking.wrap_bio(back, there, server_hostname=NAME)
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
    percent = 100 / (rounds * PACE_S * 1e9)
    return {"client_cpu_percent": spent[0] * percent, "server_cpu_percent": spent[1] * percent}


def new_connections(folder: Path, seconds: int, *, tls: bool) -> dict[str, float] | None:
    """One server under as many new connections as `wrk` can make, one request each."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return None
    server = serve(folder, tls=tls)
    url = f"http{'s' if tls else ''}://127.0.0.1:{port(server)}/version"
    before = server.cpu_s()
    argv = [wrk, "-t1", "-c32", f"-d{seconds}", "-H", "Connection: close", url]
    subprocess.run(argv, check=True, capture_output=True)
    spent = server.cpu_s() - before
    server.end()
    served = sum(b'"kind":"access"' in line for line in server.lines)
    return {
        "per_second": served / seconds,
        "server_cpu_us": spent / served * 1e6,
        "per_second_and_core": served / spent,
    }


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    options = argparse.ArgumentParser(description="What the probe and the fake servers cost and can do.")
    options.add_argument("--seconds", type=float, default=20, help="of measuring at the default rate (20)")
    options.add_argument("--json", type=Path, help="write the figures to this file too")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = ensure_pki(Path(scratch))
        figures: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
            "openssl": ssl.OPENSSL_VERSION,
            "floor": openssl_floor(folder, asked.seconds / 2),
            "tls": at_default_rate(folder, asked.seconds, tls=True),
            "plain": at_default_rate(folder, asked.seconds / 2, tls=False),
            "new_tls": new_connections(folder, 4, tls=True),
            "new_plain": new_connections(folder, 4, tls=False),
        }
    report(figures)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n")


def report(figures: dict[str, Any]) -> None:
    """Print the figures."""
    floor, tls, plain = figures["floor"], figures["tls"], figures["plain"]
    print(f"{figures['machine']}, {figures['openssl']}")
    print("CPU of one core at 100 new and 10 kept-alive requests/s:     client   server")
    print(f"  OpenSSL alone, same handshakes, same pace              {floor_row(floor)}")
    for name, row in (("probe and fake master, TLS", tls), ("probe and fake master, plain HTTP", plain)):
        print(f"  {name:53s}  {row['probe_cpu_percent']:6.2f} % {row['server_cpu_percent']:6.2f} %")
    print(f"  attempts not ok: {tls['not_ok']} of {tls['attempts']}")
    print(f"the probe is late by (median, p99): {tls['late_us_median']:.0f}, {tls['late_us_p99']:.0f} us")
    print(f"ready after: probe {tls['probe_start_ms']:.0f} ms, fake master {tls['server_start_ms']:.0f} ms")
    for name, key in (("TLS", "new_tls"), ("plain", "new_plain")):
        row = figures[key]
        if row is None:
            print(f"new {name} connections: not measured, there is no wrk")
            continue
        print(
            f"new {name} connections: {row['per_second']:.0f}/s against one wrk thread, "
            f"{row['server_cpu_us']:.0f} us of server each, so {row['per_second_and_core']:.0f}/s on one core"
        )


def floor_row(floor: dict[str, float]) -> str:
    """The floor's two figures."""
    return f"  {floor['client_cpu_percent']:6.2f} % {floor['server_cpu_percent']:6.2f} %"


if __name__ == "__main__":
    main()
