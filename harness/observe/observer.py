"""The observer agent: what the wire carried and what each node's kernel did, as events.

One process for each testbed, in the fabric's network namespace.  It captures control traffic on all
segments with the kernel's time stamps, listens to every node's netlink for addresses and links,
reads the IPVS tables of directors, learns of the end of supervised processes, and records how late it was
itself and how long they waited for a processor.  Standard library only; it starts with every testbed.
"""

from __future__ import annotations

import _socket as socket  # what `socket` wraps, without its import of `enum` and `selectors`
import ctypes
import errno
import os
import select
import struct
import sys
import time

from harness.eventpipe import CommandReader, EventWriter
from harness.fabric import netlink, rtnl
from harness.kernel import syscalls as sc
from harness.lean_json import dumps, loads
from harness.observe import ipvs_table, wire
from harness.observe.ipvs_tables import Tables
from harness.observe.kernel_news import KernelNews
from harness.observe.lateness import LAG_TOLD_NS, LOOK_NS, NETWORK_LOCK
from harness.observe.network_lock import NetworkLock
from harness.observe.run_queue import RunQueue
from harness.observe.server_states import ServerStates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_PROMISC, _PACKET_IGNORE_OUTGOING = 263, 1, 1, 23
_SO_TIMESTAMPNS, _SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 35, 26, 33
_ETH_P_ALL = 0x0003
_SNAP_BYTES = 2048
_STEP_NS = 500_000
_SECOND_NS = 1_000_000_000
_GROUPS = rtnl.RTMGRP_LINK | rtnl.RTMGRP_NEIGH | rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV6_IFADDR
_TIMESPEC = struct.Struct("=qq")


class Clock:
    """Turns the kernel's real-time stamps into monotonic time, also while real time is being stepped."""

    def __init__(self, out: EventWriter) -> None:
        self._out = out
        self._offset = self._previous = self._read()
        out.emit(time.monotonic_ns(), "clock", offset_ns=self._offset)

    @staticmethod
    def _read() -> int:
        before = time.monotonic_ns()
        real = time.time_ns()
        return real - (before + time.monotonic_ns()) // 2

    def check(self) -> int:
        """Note a step of real time; returns the present offset (ns)."""
        offset = self._read()
        step = offset - self._offset
        if abs(step) > _STEP_NS:
            self._out.emit(time.monotonic_ns(), "clock", offset_ns=offset, step_ns=step)
            self._previous = self._offset
        self._offset = offset
        return offset

    def monotonic(self, real_ns: int, not_before: int) -> int:
        """When a packet stamped `real_ns` came, given that it came after `not_before` and before now.

        The offset of the present is tried first; a stamp that falls outside the possible was taken
        before a step, so the offset of before is tried, and else the latest possible time is told.
        """
        now = time.monotonic_ns()
        for offset in (self.check(), self._previous):
            t = real_ns - offset
            if not_before <= t <= now:
                return t
        return now


class NodeWatch:
    """One node's netlink: addresses, links and what it knows of its neighbours, as they change."""

    def __init__(self, out: EventWriter, node: str, init_pid: int, home: int) -> None:
        self._out, self._node = out, node
        self._news = KernelNews(out, node)
        target = os.open(f"/proc/{init_pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            sc.setns(target, sc.CLONE_NEWNET)
            self.netlink = netlink.RouteSocket(_GROUPS)
            questions = netlink.RouteSocket()
        finally:
            sc.setns(home, sc.CLONE_NEWNET)
            os.close(target)
        self.netlink.socket.setblocking(False)
        self._news.take_dump(questions)
        questions.close()

    def readable(self) -> None:
        """Turn what netlink has to say into events."""
        while True:
            try:
                data = self.netlink.socket.recv(1 << 17)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._out.emit(
                    time.monotonic_ns(), "note", text=f"netlink of {self._node} overflowed: events lost"
                )
                continue
            self._news.take(time.monotonic_ns(), data)


class Observer:
    """The agent's loop."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._out = EventWriter()
        self._commands = CommandReader()
        self._clock = Clock(self._out)
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._segments: dict[str, str] = config["segments"]
        self._ports: dict[str, str] = config["ports"]
        self._sender: dict[str, str] = {}
        self._watches: dict[str, NodeWatch] = {}
        self._servers: dict[str, ServerStates] = {}
        self._logs: set[str] = set()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._last_wake = time.monotonic_ns()
        self._tick: bool = config.get("lag", True)
        self._waits = RunQueue()
        self._lock = NetworkLock() if self._tick else None
        self._tables = Tables(self._out, timed=self._tick)
        self._packets = self._capture()
        self._add(self._packets.fileno(), self._packet)
        self._add(self._commands.fd, self._command)

    def _add(self, fd: int, handler: Callable[[], None]) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def _drop(self, fd: int) -> None:
        del self._handlers[fd]
        self._epoll.unregister(fd)

    def _capture(self) -> socket.socket:
        packets = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(_ETH_P_ALL)
        )
        program = b"".join(struct.pack("=HBBI", *step) for step in wire.CONTROL_TRAFFIC)
        buffer = ctypes.create_string_buffer(program)
        steps = len(wire.CONTROL_TRAFFIC)
        filter_option = struct.pack("@HP", steps, ctypes.addressof(buffer))
        packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_option)
        packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        packets.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        # A bridge hands up what its ports let in, all of it only while it is promiscuous.
        for bridge in self._segments:
            index = socket.if_nametoindex(bridge)
            membership = struct.pack("=iHH8s", index, _PACKET_MR_PROMISC, 0, b"")
            packets.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        packets.setblocking(False)
        return packets

    def _packet(self) -> None:
        while True:
            try:
                frame, ancillary, _, address = self._packets.recvmsg(_SNAP_BYTES, 64)
            except BlockingIOError:
                return
            device, mac = address[0], wire.source_mac(frame)
            if device in self._ports:
                # Seen as it enters a port; it is on the wire only if the segment takes it (below).
                self._sender[mac] = self._ports[device]
                continue
            if device not in self._segments:
                continue
            decoded = wire.decode(frame)
            if decoded is None:
                continue
            stamp = time.time_ns()
            for level, option, data in ancillary:
                if level == socket.SOL_SOCKET and option == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack(data)
                    stamp = seconds * _SECOND_NS + nanoseconds
            t = self._clock.monotonic(stamp, self._last_wake - _SECOND_NS)
            kind, fields = decoded
            self._out.emit(t, kind, segment=self._segments[device], node=self._sender.get(mac, "?"), **fields)

    def _command(self) -> None:
        for command in self._commands.read():
            if command["do"] == "watch":
                self._watch(command["node"], command["init"], balances=command["balances"])
            elif command["do"] == "unwatch":
                self._unwatch(command["node"])
            elif command["do"] == "follow":
                self._follow(command["id"], command["pid"])
            elif command["do"] == "expect":
                self._expect(command)
            elif command["do"] == "servers":
                self._follow_servers(command["id"], command["path"], command["offset"])
            elif command["do"] == "balancer":
                self._hear_of_changes(command["path"])
            elif command["do"] == "sync":
                self._sync(command["number"])

    def _sync(self, number: int) -> None:
        """Tell all that has happened until now, then say so."""
        self._packet()
        for watch in self._watches.values():
            watch.readable()
        self._tables.look(time.monotonic_ns())
        self._out.raw(b'{"_synced":%d}\n' % number)

    def _watch(self, node: str, init_pid: int, *, balances: bool) -> None:
        self._unwatch(node)
        try:
            watch = NodeWatch(self._out, node, init_pid, self._home)
        except OSError as error:
            self._out.emit(time.monotonic_ns(), "note", text=f"cannot watch {node}: {error}")
            return
        self._watches[node] = watch
        self._add(watch.netlink.socket.fileno(), watch.readable)
        if balances:
            self._tables.follow(time.monotonic_ns(), node, f"/proc/{init_pid}{ipvs_table.OF_PROCESS}")

    def _unwatch(self, node: str) -> None:
        watch = self._watches.pop(node, None)
        if watch:
            watch.readable()
            self._drop(watch.netlink.socket.fileno())
            watch.netlink.close()
        self._tables.forget(time.monotonic_ns(), node)

    def _hear_of_changes(self, path: str) -> None:
        """Look at the tables soon after each line that comes into a log (inotify(7))."""
        self._tables.expect_change(time.monotonic_ns())
        if path in self._logs:
            return
        self._logs.add(path)
        notices = sc.inotify_modified(path)

        def written() -> None:
            os.read(notices, 4096)
            self._tables.expect_change(time.monotonic_ns())

        self._add(notices, written)

    def _expect(self, command: dict[str, Any]) -> None:
        """Tell a line that a service is to write to its log (inotify(7)); the engine knows what it means."""
        import re  # 4 ms, so not before somebody waits

        pattern = re.compile(command["line"].encode())
        log = os.open(command["path"], os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(log, command["offset"], os.SEEK_SET)
        notices = sc.inotify_modified(command["path"])
        seen = bytearray()

        def written() -> None:
            os.read(notices, 4096)
            look()

        def look() -> bool:
            seen.extend(os.read(log, 1 << 20))
            if not pattern.search(seen):
                return False
            told = {"_line": command["id"], "pid": command["pid"], "t": time.monotonic_ns()}
            self._out.raw(dumps(told).encode() + b"\n")
            if notices in self._handlers:
                self._drop(notices)
            os.close(notices)
            os.close(log)
            return True

        if not look():
            self._add(notices, written)

    def _follow_servers(self, identity: str, path: str, offset: int) -> None:
        """Tell what a HAProxy says of its servers; its next process goes on with the same log."""
        if identity not in self._servers:
            states = self._servers[identity] = ServerStates(self._out, identity, path, offset)
            self._add(states.fd, states.readable)

    def _follow(self, identity: str, pid: int) -> None:
        """Tell when a process ends: a `_exited` line, which the engine completes and records."""
        try:
            fd = sc.pidfd_open(pid)
        except ProcessLookupError:
            self._out.raw(_exited(identity, pid))
            return

        def ended() -> None:
            self._waits.forget(pid)
            self._out.raw(_exited(identity, pid))
            self._drop(fd)
            os.close(fd)

        self._waits.follow(identity, pid)
        self._add(fd, ended)

    def _serve(self, ready: list[int]) -> None:
        """Call the handlers of descriptors that were found readable."""
        for fd, handler in [(fd, self._handlers.get(fd)) for fd in ready]:
            # One of them may close the next, whose number then another gets that nothing was found of.
            if handler and self._handlers.get(fd) is handler:
                handler()

    def run(self) -> None:
        """Serve until the engine closes the command pipe; then the process ends."""
        due = time.monotonic_ns()
        self._out.raw(b'{"_ready":true}\n')
        while not self._commands.closed:
            sent = self._out.flush()
            ready = self._epoll.poll(self._patience_s(due) if sent else 0.01)
            now = time.monotonic_ns()
            self._serve([fd for fd, _ in ready])
            self._tables.awake(now)
            self._last_wake = now
            if self._tick and now >= due + LOOK_NS:
                self._tell_lag(now, "observer", now - due - LOOK_NS)
                due = now
                self._clock.check()
                for identity, waited in self._waits.look():
                    self._tell_lag(now, identity, waited)
                for ended, waited in self._lock.waits() if self._lock else ():
                    self._tell_lag(ended, NETWORK_LOCK, waited)
        self._packet()
        for watch in self._watches.values():
            watch.readable()
        self._tables.look(time.monotonic_ns())
        self._out.drain()
        # Closed first: the engine need not wait for the sockets, which take the kernel 10 ms and more.
        os.close(self._out.fd)
        os._exit(0)

    def _patience_s(self, due: int) -> float | None:
        """How long to wait for something to happen (s); None: for ever."""
        now = time.monotonic_ns()
        waits = [due + LOOK_NS - now] if self._tick else []
        table = self._tables.wait_ns(now)
        waits += [] if table is None else [table]
        return max(0, min(waits)) / 1e9 if waits else None

    def _tell_lag(self, now: int, source: str, lag_ns: int) -> None:
        if lag_ns >= LAG_TOLD_NS:
            self._out.emit(now, "lag", source=source, lag_ns=lag_ns)


def _exited(identity: str, pid: int) -> bytes:
    return dumps({"_exited": identity, "pid": pid, "t": time.monotonic_ns()}).encode() + b"\n"


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    Observer(loads(sys.argv[-1])).run()
