"""The client probe agent: what a client sees, attempt by attempt, at a pace that nothing slows.

Configuration, one JSON argument (only `client` and `targets` with address and port are needed):

    {"client": "cl", "rate": 100, "timeout_s": 0.5, "streams": ["new", "long"], "source": ADDRESS,
     "long_period_s": 0.1, "long_connections": 1, "patience_s": 0.5, "start": false,
     "targets": [{"address": "10.0.0.10", "port": 6443, "tls": true, "server_name": "api.cluster.test",
                  "path": "/version", "ca": PATH, "pins": [PATH], "ports": 0,
                  "protocol": "tcp", "upload": 0}]}

Commands, JSON lines on stdin: `{"do": "start"}` (`at_ns` for a given instant), `{"do": "rate",
"rate": N}`, and `{"do": "stop"}`, which lets what is under way finish and then ends the agent.

The default time-out of half a second is shorter than TCP's first retransmission of a SYN (1 s, RFC
6298 section 2), so no attempt that lost its SYN is rescued into a slow success: what is lost is
seen as lost, and what is `ok` was answered at the first try.  `rate` is that of each target, and
`ports` how many source ports its new connections take in turn (0: all that the kernel has).  By UDP it is
a DNS server that is asked, and who answered; the stream `long` is a flow from one source port.
With `upload` a request is a POST with a body of so many bytes.
"""

from __future__ import annotations

import os
import resource
import sys

from harness.eventpipe import CommandReader, EventWriter
from harness.lean_json import loads
from harness.loop import Loop
from harness.observe.probe_channel import Target
from harness.observe.probe_long import LongStream
from harness.observe.probe_new import NewStream
from harness.observe.probe_pace import Pace, Reporter
from harness.observe.probe_ports import Ports
from harness.observe.probe_udp import DatagramStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Events wait up to so long for company, except the first of a new kind of result.
_BATCH_NS = 50_000_000


class Probe:
    """The agent: it turns configuration and commands into streams of attempts."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._loop = loop = Loop(EventWriter(), CommandReader(), self._command, _BATCH_NS)
        client: str = config["client"]
        timeout_ns = round(config.get("timeout_s", 0.5) * 1e9)
        patience_ns = round(config.get("patience_s", timeout_ns / 1e9) * 1e9)
        streams = config.get("streams", ["new", "long"])
        reporter = Reporter(loop, client)
        contexts: dict[Any, Any] = {}
        source, ports = config.get("source"), Ports()
        targets = [Target(target, source, ports, contexts) for target in config["targets"]]
        count: int = config.get("long_connections", 1)
        self._client = client
        self._rate: float = config.get("rate", 100)
        self._long_period_ns = round(config.get("long_period_s", 0.1) * 1e9)
        self._new: list[NewStream | DatagramStream] = []
        self._long: list[LongStream | DatagramStream] = []
        for target in targets:
            if target.udp:
                for name, made in (("new", self._new), ("long", self._long)):
                    if name in streams:
                        flow = name == "long"
                        made.append(DatagramStream(loop, reporter, target, timeout_ns, self._idle, flow=flow))
                continue
            if "new" in streams:
                self._new.append(NewStream(loop, reporter, target, client, timeout_ns, self._idle))
            for number in range(count if "long" in streams else 0):
                which = number if count > 1 else None
                self._long.append(
                    LongStream(loop, reporter, target, client, timeout_ns, patience_ns, which, self._idle)
                )
        self._stopping = False
        self._start_at_once = bool(config.get("start", False))

    def run(self) -> None:
        """Say that it is ready, and probe until told to stop."""
        self._loop.writer.raw(b'{"_ready":true}\n')
        self._loop.writer.flush()
        if self._start_at_once:
            self._start(self._loop.now)
        self._loop.run()

    def _command(self, command: dict[str, Any]) -> None:
        do = command.get("do")
        if do == "start":
            self._start(command.get("at_ns", self._loop.now))
        elif do == "rate" and command["rate"] > 0:
            self._rate = command["rate"]
            self._start_new(self._loop.now)
        elif do == "stop":
            self._stopping = True
            for pace in self._paces():
                pace.end()
            self._idle()
        else:
            text = f"{self._client}: the probe does not know {command}; known: start, rate (above 0), stop"
            self._loop.writer.emit(self._loop.now, "note", text=text, refused=do)

    def _paces(self) -> list[Pace]:
        return [stream.pace for stream in self._new] + [stream.pace for stream in self._long]

    def _start(self, first_ns: int) -> None:
        self._start_new(first_ns)
        _spread([stream.pace for stream in self._long], first_ns, self._long_period_ns)

    def _start_new(self, first_ns: int) -> None:
        _spread([stream.pace for stream in self._new], first_ns, round(1e9 / self._rate))

    def _idle(self) -> None:
        """Nothing is under way on some stream; the end, if it was asked for and holds for all."""
        under_way = sum(stream.under_way for stream in self._new) + sum(
            stream.under_way for stream in self._long
        )
        if self._stopping and not under_way:
            self._loop.stop()


def _spread(paces: list[Pace], first_ns: int, period_ns: int) -> None:
    """Begin streams of one period, evenly spread over it."""
    for number, pace in enumerate(paces):
        pace.begin(first_ns + number * period_ns // len(paces), period_ns)


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    try:
        Probe(loads(sys.argv[-1])).run()
    except OSError as error:
        sys.exit(f"probe: {error}")
    os._exit(0)
