"""The probe of a node with a kernel of its own, in which no agent of ours runs: curl, again and again.

It asks one target in turn, each time on a connection of its own, and writes a line for each attempt.  The
lines become `probe` events when it stops; a machine's real-time clock is the host's, as it started with it
and counts by it.  Slower than the probe agent, and one attempt at a time: it tells whether a node is served
and by whom, not for how long it was not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.topology import ProbeSpec

RATE = 5
"""Attempts a second."""

_TIMEOUT_S = 0.5
# Exit codes of curl(1).
_RESULTS = {0: "ok", 7: "refused", 28: "timeout", 35: "tls", 52: "closed", 55: "reset", 56: "reset"}


def start(node: Node, spec: ProbeSpec) -> Process:
    """Ask until stopped; what it says goes to its log."""
    scheme = "https" if spec.tls else "http"
    url = f"{scheme}://{spec.address}:{spec.port}{spec.path}?[1-1000000]"
    told = "%{stderr}%{exitcode} %{http_code} %{time_total} %header{x-served-by}\\n"
    curl = (
        f"curl --silent --insecure --output /dev/null --header 'Connection: close' "
        f"--header 'Host: {spec.server_name}' --max-time {_TIMEOUT_S} --rate {RATE}/s "
        f"--write-out '{told}' '{url}'"
    )
    stamp = 'while read -r line; do echo "$EPOCHREALTIME $line"; done'
    return node.spawn("probe", ["bash", "-c", f"{curl} 2>&1 >/dev/null | {stamp}"])


def attempts(log: Path, spec: ProbeSpec, offset_ns: int) -> Iterator[dict[str, Any]]:
    """The attempts that a log tells of, as fields of `probe` events with `t`."""
    target = f"{spec.address}:{spec.port}"
    for number, line in enumerate(log.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        if len(words) < 4 or not words[1].isdigit():
            continue
        end_ns = round(float(words[0]) * 1e6) * 1000 - offset_ns
        code, status = int(words[1]), words[2]
        result = _RESULTS.get(code, "error")
        if result == "ok" and status != "200":
            result = "http"
        yield {
            "t": end_ns - round(float(words[3]) * 1e9),
            "client": spec.client,
            "stream": "new",
            "seq": number,
            "target": target,
            "end": end_ns,
            "result": result,
            "member": words[4] if result == "ok" and len(words) > 4 else None,
        }
