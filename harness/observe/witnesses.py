"""The witnesses of one testbed: observer, captures, probes; started, told, and brought to an end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness import world
from harness.fabric.fabric import Fabric
from harness.nodes.base import Node
from harness.nodes.process import Process
from harness.observe import asker
from harness.recorder import Recorder
from harness.topology import ProbeSpec

_LAST_WORDS_S = 5.0
_SNAP_BYTES = 256
_LONG_PERIOD_S, _LONGEST_PERIOD_S = 0.1, 10.0


class Witnesses:
    """Everything that only watches. `captures` is the folder for packet captures, or None for none."""

    def __init__(self, recorder: Recorder, fabric: Fabric, captures: Path | None) -> None:
        self._recorder, self._fabric = recorder, fabric
        self._captures: list[Process] = []
        self._probes: dict[str, Process] = {}
        self._askers: dict[str, tuple[Process, ProbeSpec]] = {}
        self._elsewhere: dict[str, Node] = {}
        self._syncs = 0
        config = {
            "segments": {fabric.bridge_name(segment): segment for segment in fabric.segments},
            "ports": {port.name: port.node for port in fabric.ports},
            # Where work costs no time nobody is late, and looking for it would be the most of the work.
            "lag": not world.virtual(),
        }
        self._observer = fabric.hub.spawn_agent(
            "observer", "harness.observe.observer", config, only_network=True
        )
        recorder.attach(self._observer)
        if captures is not None:
            captures.mkdir(exist_ok=True)
            self._captures = [self._capture(segment, captures) for segment in fabric.segments]

    def await_ready(self) -> None:
        """Wait until the observer sees everything; until then it may be told what to watch."""
        self._recorder.wait_ready(self._observer)

    def _capture(self, segment: str, folder: Path) -> Process:
        """tcpdump on a segment's bridge: every frame once, nanosecond stamps, the head of each frame."""
        argv = ["tcpdump", "-i", self._fabric.bridge_name(segment), "-n", "-s", str(_SNAP_BYTES)]
        # Nothing that was seen may be lost, whatever happens; but in a guest each write is dear.
        argv += [] if world.virtual() else ["-U"]
        argv += ["-B", "4096", "--time-stamp-precision=nano", "-w", "-", "-Z", "root"]
        return self._fabric.hub.spawn(f"capture-{segment}", argv, output=folder / f"{segment}.pcap")

    # -- the observer ----------------------------------------------------------------------------

    def listen(self, node: Node) -> None:
        """Hear what a freshly booted node has to tell of itself, if the observer cannot see into it."""
        teller = node.watch()
        if teller is not None:
            self._recorder.attach(teller)
            self._elsewhere[node.name] = node

    def watch(self, node: Node, *, balances: bool = False) -> None:
        """Watch a freshly booted node's addresses and links, and its IPVS table if it `balances`."""
        if node.name in self._elsewhere:
            node.tell_changes()
        else:
            self._observer.command(do="watch", node=node.name, init=node.init_pid, balances=balances)

    def unwatch(self, node: str) -> None:
        """Forget a node that is down."""
        if self._elsewhere.pop(node, None) is None:
            self._observer.command(do="unwatch", node=node)

    def follow(self, process: Process) -> None:
        """Have the end of a process told (`Recorder.on_exit`), and its waits for a processor."""
        if not process.ours:  # its node tells of itself
            return
        self._observer.command(do="follow", id=f"{process.node}/{process.name}", pid=process.pid)

    def expect_line(self, process: Process, line: str, offset: int) -> None:
        """Have a service's readiness told when a line like this comes into its log after `offset` bytes."""
        self._observer.command(
            do="expect",
            id=f"{process.node}/{process.name}",
            pid=process.pid,
            path=str(process.log),
            offset=offset,
            line=line,
        )

    def follow_servers(self, process: Process, offset: int) -> None:
        """Have told what a HAProxy says of its servers in its log after `offset` bytes."""
        identity = f"{process.node}/{process.name}"
        self._observer.command(do="servers", id=identity, path=str(process.log), offset=offset)

    def expect_changes(self, process: Process) -> None:
        """Know that who writes to this log changes an IPVS table, where that is not read by the clock."""
        if world.virtual() and process.node not in self._elsewhere:
            self._observer.command(do="balancer", path=str(process.log))

    def sync(self) -> None:
        """Take in everything that was on the wire, or happened in a kernel, until now."""
        for node in self._elsewhere.values():
            node.sync()
        self._syncs += 1
        number = self._syncs
        self._observer.command(do="sync", number=number)
        self._recorder.wait(
            lambda: self._recorder.synced >= number, 2 * _LAST_WORDS_S, "the observer's account until now"
        )

    # -- probes ----------------------------------------------------------------------------------

    def start_probe(self, node: Node, specs: list[ProbeSpec], rate: float, pins: Sequence[Path]) -> None:
        """Start a client's probe; `pins` are the certificates that good servers show, one a target."""
        if node.own_kernel:
            self._askers[node.name] = (asker.start(node, specs[0]), specs[0])
            return
        targets: list[dict[str, Any]] = [
            {
                "address": spec.address,
                "port": spec.port,
                "tls": spec.tls,
                "server_name": spec.server_name,
                "path": spec.path,
                "pins": [str(pin)],
                "ports": spec.ports,
                "protocol": spec.protocol,
                "upload": spec.upload,
            }
            for spec, pin in zip(specs, pins, strict=True)
        ]
        # Who asks seldom asks seldom on a long connection too, but not so that proxies give it up.
        period_s = min(max(_LONG_PERIOD_S, 1 / rate), _LONGEST_PERIOD_S)
        config: dict[str, Any] = {
            "client": node.name,
            "rate": rate,
            "long_period_s": period_s,
            "targets": targets,
        }
        if patience_s := max(spec.patience_s for spec in specs):
            config["patience_s"] = patience_s
        probe = node.spawn_agent("probe", "harness.observe.probe", config)
        self._recorder.attach(probe)
        self._probes[node.name] = probe
        probe.command(do="start")

    def lose_probe(self, node: str) -> None:
        """A client went down, and its probe with it."""
        probe = self._probes.pop(node, None)
        if probe is not None:
            probe.reap(wait=True)
            self._recorder.detach(probe)

    def stop_probes(self, timeout_s: float = 2 * _LAST_WORDS_S) -> None:
        """Let the probes finish the attempts that are under way, then end."""
        for probe in self._probes.values():
            probe.command(do="stop")
        for probe in self._probes.values():
            self._recorder.wait(partial(_has_ended, probe), timeout_s, f"the end of {probe}")
            probe.reap(wait=True)
        self._probes.clear()
        self._stop_askers()

    def _stop_askers(self) -> None:
        """End the probes of nodes with kernels of their own, and record what they saw."""
        clock = self._recorder.timeline.last("clock")
        offset_ns = 0 if clock is None else int(clock.offset_ns)
        for process, spec in self._askers.values():
            process.signal_tree(signal.SIGKILL)
            process.reap(wait=True)
            for fields in asker.attempts(process.log, spec, offset_ns):
                self._recorder.emit("probe", fields.pop("t"), **fields)
        self._askers.clear()

    # -- the end ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Everything that was on the wire until now reaches the timeline and the captures."""
        for capture in self._captures:
            capture.signal(signal.SIGTERM)
        self._observer.close_commands()
        self._recorder.wait(partial(_has_ended, self._observer), _LAST_WORDS_S, "the observer's last words")

    def kill(self) -> None:
        """End what did not end when it was told to."""
        for process in (self._observer, *self._captures):
            process.signal(signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """Wait for the processes, which have nothing more to say but sockets to close (10 ms and more)."""
        for process in (self._observer, *self._captures):
            process.reap(wait=True)


def _has_ended(agent: Process) -> bool:
    return agent.events < 0
