"""A lab while it is up: what its clients ask, carried out on the testbed, one change at a time.

What is only looked at, or only starts a command in a node, is done at once, in whatever the engine waits
for.  What changes the testbed (faults, healing, the end) waits until the change before it is through.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from harness import faults
from harness.errors import TestbedError, UsageError, VipdrillError, one_of
from harness.faults.base import Fault
from harness.kernel import syscalls as sc
from harness.lab.channel import Message
from harness.lab.outlet import Outlet
from harness.lab.recent import catch_up
from harness.lab.server import Connection, Server
from harness.nodes.base import Node
from harness.nodes.netns import NetnsNode
from harness.nodes.uml import UmlNode
from harness.recorder import WHOLE
from harness.testbed import Testbed
from harness.timeline import Event

# What comes so often that a lab of days could not keep it, and what makes no sense without that.
FREQUENT = ("probe", "access", "vrrp", "arp", "neighbour", "ipvs-load", "lag", "fault", "phase", "note")
KEPT_EVENTS = 150_000
_LONGEST_WAIT_S = 3600.0
_NS = 1_000_000_000


class Lab:
    """Serves a built testbed until somebody ends it. `kept_events` bounds what is kept in memory."""

    def __init__(self, name: str, testbed: Testbed, *, kept_events: int = KEPT_EVENTS) -> None:
        self.name, self.testbed = name, testbed
        self._kept_events = kept_events
        self._changes: deque[Callable[[], None]] = deque()
        self._acting: dict[str, Fault] = {}
        self._waiting: dict[str, Connection] = {}
        self._subscribers: dict[Connection, frozenset[str]] = {}
        self._began_ns = time.monotonic_ns()
        self.ending: list[Connection] = []
        """Who asked for the end, and waits to hear of it."""
        self.ended = False
        self.server = Server(
            testbed.recorder,
            {
                "status": self._status,
                "subscribe": self._subscribe,
                "exec": self._exec,
                "fault": self._fault,
                "heal": self._heal,
                "down": self._down,
            },
        )
        testbed.recorder.listeners.append(self._tell)
        testbed.carry_out = self._when_free

    # -- serving -------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve until the end is asked for."""
        recorder = self.testbed.recorder
        most = self._kept_events * 5 // 4
        while not self.ended:
            recorder.pump(0.0 if self._changes else _LONGEST_WAIT_S)
            while self._changes and not self.ended:
                self._changes.popleft()()
            if len(recorder.timeline) > most:
                recorder.shorten(self._kept_events, FREQUENT)
                recorder.emit("note", text=f"what happened often before is in {WHOLE} only")
                # What is kept for good may be more than that.
                most = len(recorder.timeline) + self._kept_events // 4

    def stop(self) -> None:
        """Let `serve` return."""
        self.ended = True

    def _when_free(self, work: Callable[[], None]) -> None:
        """What a fault does by itself, such as a reboot, waits for its turn as what is asked does."""
        self._changes.append(lambda: self.server.unasked(work))

    def _later(self, connection: Connection, work: Callable[[], None]) -> None:
        self._changes.append(lambda: Server.guarded(connection, work))

    # -- looking -------------------------------------------------------------------------------

    def _status(self, connection: Connection, message: Message) -> None:
        bed, situation = self.testbed, self.testbed.situation
        connection.send(
            ok={
                "up_s": (time.monotonic_ns() - self._began_ns) / _NS,
                "owners": {str(vrid): node for vrid, node in sorted(situation.owner_of.items())},
                "holders": {address: sorted(nodes) for address, nodes in self._holders().items()},
                "vips": list(dict.fromkeys(vip.address for vip in bed.topology.vips)),
                "nodes": {name: self._state_of(name) for name in bed.nodes},
                "faults": [self._describe(fault) for fault in self._still_acting()],
                "clients": {
                    client: [situation.answered.get(client, 0), situation.lost.get(client, 0)]
                    for client in bed.clients
                },
                "events": len(bed.recorder.timeline),
            }
        )

    def _holders(self) -> dict[str, set[str]]:
        """Which balancers have each address; of an opaque one that is known only from what it announces.

        Members may have a VIP too, but then for themselves only (direct return).
        """
        balancers = {node.name for node in self.testbed.topology.role("balancer")}
        holders = self.testbed.situation.holders
        found = {address: nodes & balancers for address, nodes in holders.items()}
        for advert in self.testbed.situation.last_advert.values():
            if advert.node in self.testbed.nodes and self.testbed.topology.node(advert.node).opaque:
                for address in advert.addresses:
                    found.setdefault(address, set()).add(advert.node)
        return found

    def _state_of(self, name: str) -> str:
        node = self.testbed.nodes[name]
        return "frozen" if node.alive and node.frozen else "up" if node.alive else "down"

    def _describe(self, fault: Fault) -> dict[str, Any]:
        return {
            "id": fault.id,
            "fault": fault.name,
            "target": "+".join(map(str, fault.targets)),
            "nodes": list(dict.fromkeys(target.node for target in fault.targets if target.node)),
            "detail": fault.detail,
            "for_s": (time.monotonic_ns() - fault.injected_ns) / _NS,
        }

    def _subscribe(self, connection: Connection, message: Message) -> None:
        """Every event of some kinds (all, if none are named) from now on, after those of the last seconds."""
        kinds = frozenset(message.get("kinds") or ())
        since_ns = time.monotonic_ns() - int(float(message.get("since_s", 0.0)) * _NS)
        acting = {fault.id for fault in self._still_acting()}
        for event in catch_up(self.testbed.recorder.timeline, since_ns, acting):
            if not kinds or event.kind in kinds:
                connection.send_event(event.to_json())
        connection.send(ok="caught up", now=time.monotonic_ns())
        self._subscribers[connection] = kinds
        connection.when_gone(lambda: self._unsubscribe(connection))

    def _unsubscribe(self, connection: Connection) -> None:
        self._subscribers.pop(connection, None)

    def subscribe(self, connection: Connection) -> None:
        """Every event from now on."""
        self._subscribe(connection, {})

    def _tell(self, event: Event) -> None:
        line = ""
        for connection, kinds in list(self._subscribers.items()):
            if not kinds or event.kind in kinds:
                line = line or event.to_json()
                connection.send_event(line)

    # -- commands in nodes ---------------------------------------------------------------------

    def _exec(self, connection: Connection, message: Message) -> None:
        """Start a command on the client's own streams: three, or one terminal for all of them."""
        terminal, argv = str(message.get("terminal") or ""), [str(word) for word in message["argv"]]
        streams = connection.take_fds(1 if terminal else 3)
        try:
            node = self.testbed.node(str(message["node"]))
            if not node.alive:
                raise TestbedError(f"{node.name} is down{self._why_down(node.name)}")
            command = self._start_command(connection, node, argv, streams, terminal)
        finally:
            for fd in streams:
                os.close(fd)
        self.testbed.recorder.emit("note", text=f"command of the user's: {' '.join(argv)}", node=node.name)
        if not terminal:  # who loses its terminal is told so by the kernel
            connection.when_gone(command.hang_up)

    def _start_command(
        self, connection: Connection, node: Node, argv: list[str], streams: list[int], terminal: str
    ) -> _Command | _GuestCommand:
        if isinstance(node, NetnsNode):
            pid = node.attach(argv, streams, terminal=terminal)
            return _Command(self, connection, pid, partial(node.detached, pid))
        if terminal or not isinstance(node, UmlNode):
            raise UsageError(f"{node.name} has a kernel of its own, which no terminal reaches")
        return _GuestCommand(self, connection, node, argv, streams[1:])

    def _why_down(self, node: str) -> str:
        by = [fault.id for fault in self._still_acting() if any(t.node == node for t in fault.targets)]
        return f", by {', '.join(by)}" if by else ""

    # -- changes -------------------------------------------------------------------------------

    def _still_acting(self) -> list[Fault]:
        self._acting = {fault.id: fault for fault in self._acting.values() if not fault.healed_ns}
        return list(self._acting.values())

    def _fault(self, connection: Connection, message: Message) -> None:
        text, for_s = str(message["fault"]), message.get("for_s")
        faults.check(text, self.testbed.topology)
        self._later(connection, lambda: self._inject(connection, text, for_s))

    def _inject(self, connection: Connection, text: str, for_s: float | None) -> None:
        """Inject; with `for_s` heal after so long, or when the client asks for it or is gone."""
        if for_s is not None and not connection.open:
            return
        fault, recorder = faults.parse(text, self.testbed), self.testbed.recorder
        recorder.emit("phase", name="fault")
        try:
            fault.inject()
        except VipdrillError:
            self._undo(fault)
            raise
        self._acting[fault.id] = fault
        connection.send(ok=self._describe(fault))
        if for_s is None:
            return

        def heal() -> None:
            self._later(connection, lambda: self._heal_one(connection, fault))

        self._waiting[fault.id] = connection
        recorder.at(fault.injected_ns + int(for_s * _NS), heal)
        connection.when_gone(heal)

    def _undo(self, fault: Fault) -> None:
        """Heal what could not be injected; what its user is told is why that could not be."""
        try:
            fault.heal()
        except VipdrillError as error:
            self.testbed.recorder.emit("note", text=f"{fault.id} may act still: {error}")

    def _heal(self, connection: Connection, message: Message) -> None:
        wanted = [str(word) for word in message.get("which") or ()]
        self._later(connection, lambda: self._heal_these(connection, wanted))

    def _heal_these(self, connection: Connection, wanted: list[str]) -> None:
        """Heal faults by their ids or names, or `all`; the only one where none is named."""
        acting = self._still_acting()
        known = {fault.id: fault for fault in acting}
        if not acting:
            raise UsageError(f"no fault acts in the lab {self.name}")
        if not wanted and len(acting) > 1:
            raise UsageError(f"{len(acting)} faults act: name one or `all`: {', '.join(known)}")
        chosen = acting if not wanted or "all" in wanted else []
        for word in wanted if not chosen else ():
            found = [fault for fault in acting if word in (fault.id, fault.name)]
            if not found:
                raise one_of("acting fault", word, ["all", *known])
            chosen += [fault for fault in found if fault not in chosen]
        # The last one first: who came later may stand on what came before.
        for fault in reversed(chosen):
            self._heal_one(connection, fault)
        connection.send(ok="healed")

    def _heal_one(self, connection: Connection, fault: Fault) -> None:
        if not fault.healed_ns:
            self.testbed.recorder.emit("phase", name="healing")
            fault.heal()
        # Whoever waits for its time to be up need not wait any longer.
        for each in {connection, self._waiting.pop(fault.id, connection)}:
            each.send(healed=fault.id, acted_s=(fault.healed_ns - fault.injected_ns) / _NS)

    def _down(self, connection: Connection, message: Message) -> None:
        def end() -> None:
            self.ending.append(connection)
            self.stop()

        self._later(connection, end)


class _Command:
    """A command that runs in a node for a client, which gets its status and may signal it."""

    def __init__(self, lab: Lab, connection: Connection, pid: int, reaped: Callable[[], None]) -> None:
        self._connection, self._pid, self._reaped = connection, pid, reaped
        self._recorder = lab.testbed.recorder
        self._pidfd = sc.pidfd_open(pid)
        connection.send(ok="started")
        connection.on_message = self._signal
        self._recorder.serve(self._pidfd, select.EPOLLIN, self._ended)

    def _signal(self, message: Message) -> None:
        self._kill(int(message.get("signal", signal.SIGTERM)))

    def hang_up(self) -> None:
        """The client is gone: as when a terminal is closed, the command hears of it, and may go on."""
        self._kill(signal.SIGHUP)
        self._kill(signal.SIGCONT)

    def _kill(self, number: int) -> None:
        if self._pidfd >= 0:
            try:
                os.killpg(self._pid, number)
            except ProcessLookupError:
                pass

    def _ended(self, _mask: int) -> None:
        self._recorder.dismiss(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        except ChildProcessError:  # its node went down, and who took it down was quicker
            status = -signal.SIGKILL
        self._reaped()
        self._connection.on_message = None
        self._connection.send(exited=status)


class _GuestCommand:
    """The same in a node with a kernel of its own, whose agent starts it and tells its end."""

    def __init__(
        self, lab: Lab, connection: Connection, node: UmlNode, argv: list[str], streams: list[int]
    ) -> None:
        self._connection, self._recorder = connection, lab.testbed.recorder
        # Its end, and that of its output, come in other threads; the lab's own loop hears of them by this.
        self._over, self._telling = os.eventfd(0, os.EFD_CLOEXEC), threading.Lock()
        inlets = [Outlet(stream, self._one_more).inlet for stream in streams]
        self._left, self._flushing = 1 + len(inlets), False
        try:
            self._process = node.spawn_on(argv, inlets, self._one_more)
        except BaseException:
            self._close()
            raise
        connection.send(ok="started")
        connection.on_message = self._signal
        self._recorder.serve(self._over, select.EPOLLIN, self._heard)

    def _one_more(self) -> None:
        with self._telling:
            if self._over >= 0:
                os.eventfd_write(self._over, 1)

    def _close(self) -> None:
        with self._telling:
            os.close(self._over)
            self._over = -1

    def _signal(self, message: Message) -> None:
        self._kill(int(message.get("signal", signal.SIGTERM)))

    def hang_up(self) -> None:
        """The client is gone: the command hears of it, and may go on."""
        self._kill(signal.SIGHUP)

    def _kill(self, number: int) -> None:
        if self._process.running:
            self._process.signal_tree(number)

    def _heard(self, _mask: int) -> None:
        self._left -= os.eventfd_read(self._over)
        if not self._flushing and not self._process.running:
            self._flushing = True
            self._process.close()
        if self._left:
            return
        self._recorder.dismiss(self._over)
        self._close()
        self._connection.on_message = None
        self._connection.send(exited=self._process.status)
