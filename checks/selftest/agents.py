"""Agents for tests: started as the engine starts them, but all in one network namespace of the tests'.

It is not the one in which pytest runs: there an ordinary user may not filter what a socket receives.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import select
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import paths
from harness.fabric import rtnl
from harness.fabric.netlink import RouteSocket
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.pki import ensure_pki
from harness.timeline import parse_event

ROOT = Path(__file__).resolve().parents[2]
NAME = "api.cluster.test"
PATIENCE_S = 20.0

Event = dict[str, Any]
_SMALLEST_PIPE = 4096


@functools.cache
def network() -> int:
    """The network namespace of the tests' agents: a loopback and nothing else."""

    def make() -> int:
        route = RouteSocket()
        route.send([rtnl.set_link(1, "bring up lo", up=True)])
        route.close()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return namespaces.submit_fresh(sc.CLONE_NEWNET, make).result()


def inside_network(work: Callable[[], namespaces.Result]) -> namespaces.Result:
    """Do what makes a socket or a process in the agents' network."""
    return namespaces.inside(network(), sc.CLONE_NEWNET, work)


def connection_to(address: str, port: int) -> socket.socket:
    """A TCP connection in the agents' network, with a time-out so that no test hangs."""
    return inside_network(lambda: socket.create_connection((address, port), PATIENCE_S))


class Agent:
    """A running agent: its events so far, and its commands."""

    def __init__(self, module: str, config: object, *, small_pipe: bool = False) -> None:
        start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {module} import main; main()"
        self.process = inside_network(
            lambda: subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", start, json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        self._out = self.process.stdout.fileno()
        if small_pipe:
            fcntl.fcntl(self._out, fcntl.F_SETPIPE_SZ, _SMALLEST_PIPE)
        self._partial = b""
        self.events: list[Event] = []

    def command(self, **fields: Any) -> None:
        """Send one command."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields).encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, wanted: Callable[[Event], bool], since: int = 0) -> Event:
        """The first event, from number `since` on, that is wanted; waits for it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for event in self.events[since:]:
                if wanted(event):
                    return event
            since = max(since, len(self.events))
            if not self._read(deadline):
                raise AssertionError(f"the agent ended; last: {self.events[-3:]}; stderr: {self.stderr()}")

    def many(self, count: int, wanted: Callable[[Event], bool], since: int = 0) -> list[Event]:
        """The first `count` events, from number `since` on, that are wanted; waits for them."""
        found: list[Event] = []
        while len(found) < count:
            event = self.wait(wanted, since)
            since = next(i for i in range(since, len(self.events)) if self.events[i] is event) + 1
            found.append(event)
        return found

    def rest(self) -> list[Event]:
        """All events until its end."""
        deadline = time.monotonic() + PATIENCE_S
        while self._read(deadline):
            pass
        return self.events

    def _read(self, deadline: float) -> bool:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._out], [], [], left)[0]:
            raise AssertionError(f"nothing more within {PATIENCE_S} s; last: {self.events[-3:]}")
        data = os.read(self._out, 65536)
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            if not line.startswith(b'{"_'):
                parse_event(line)
            self.events.append(json.loads(line))
        return bool(data)

    def stderr(self) -> str:
        """What it said to a person; only for one that has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def hang_up(self) -> None:
        """Close its commands, as an engine does that dies."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def exit_code(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """Whatever it does, end it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass


def pki() -> Path:
    """Certificates, those of this user's testbeds."""
    return ensure_pki(paths.cache_dir() / "pki")


def listener(**fields: Any) -> dict[str, Any]:
    """A listener's configuration: TLS on a free port of the loopback, unless told otherwise."""
    folder = pki()
    cert, key = str(folder / "server.pem"), str(folder / "server.key")
    return {"name": "tls", "address": "127.0.0.1", "port": 0, "cert": cert, "key": key, **fields}


class Server(Agent):
    """A fake server, ready; `port` is its first listener's."""

    def __init__(self, *listeners: dict[str, Any], small_pipe: bool = False, **config: Any) -> None:
        config = {"node": "m1", "listeners": list(listeners) or [listener()], **config}
        super().__init__("harness.services.fake_server", config, small_pipe=small_pipe)
        ready = self.wait(lambda event: event["kind"] == "service")
        self.ports = {each["name"]: each["port"] for each in ready["listeners"]}
        self.port: int = ready["listeners"][0]["port"]

    def ill(self, illness: str, **options: Any) -> None:
        """Make it ill, and wait until it is."""
        since = len(self.events)
        self.command(do="ill", illness=illness, **options)
        event = self.wait(lambda event: "illness" in event or "refused" in event, since)
        assert event.get("state") == "ill", event

    def well(self) -> None:
        """Make it well, and wait until it is."""
        since = len(self.events)
        self.command(do="well")
        self.wait(lambda event: event.get("state") == "well", since)

    def connect(self, *, tls: bool = True, port: int = 0, name: str = NAME) -> socket.socket:
        """A client's connection, with a time-out so that no test hangs."""
        plain = connection_to("127.0.0.1", port or self.port)
        if not tls:
            return plain
        context = ssl.create_default_context(cafile=str(pki() / "ca.pem"))
        return context.wrap_socket(plain, server_hostname=name)

    def ask(
        self, path: str, *, method: str = "GET", version: str = "1.1", headers: str = ""
    ) -> tuple[int, bytes, bytes]:
        """One request on a connection of its own: status, head, body."""
        with self.connect() as connection:
            connection.sendall(
                f"{method} {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n{headers}\r\n".encode()
            )
            return split_answer(read_to_end(connection))


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = bytearray()
    while data := connection.recv(65536):
        received += data
    return bytes(received)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes until `end` has been seen."""
    received = b""
    while end not in received:
        data = connection.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    return received


def split_answer(answer: bytes) -> tuple[int, bytes, bytes]:
    """An answer's status, head and body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), head, body


def target(server: Server, **fields: Any) -> dict[str, Any]:
    """A probe's target that is this server, its certificate pinned."""
    pins = [str(pki() / "server.pem")]
    place = {"address": "127.0.0.1", "port": server.port, "server_name": NAME, "path": "/version"}
    return {**place, "pins": pins, **fields}


class Prober(Agent):
    """A probe, started; patient, so that a busy machine is no outage, unless told otherwise."""

    def __init__(self, *targets: dict[str, Any], small_pipe: bool = False, **config: Any) -> None:
        config = {
            "client": "cl",
            "targets": list(targets),
            "streams": ["new"],
            "rate": 50,
            "timeout_s": 10,
            **config,
        }
        super().__init__("harness.observe.probe", config, small_pipe=small_pipe)
        self.wait(lambda event: "_ready" in event)
        self.command(do="start")

    def attempts(self, count: int, stream: str = "new", since: int = 0) -> list[Event]:
        """The next `count` attempts of a stream to end."""
        return self.many(
            count, lambda event: event.get("stream") == stream and event["kind"] == "probe", since
        )

    def until(self, result: str, stream: str = "new") -> Event:
        """The first attempt from now on that ends so."""
        wanted = {"kind": "probe", "stream": stream, "result": result}
        return self.wait(lambda event: wanted.items() <= event.items(), len(self.events))

    def stop(self) -> list[Event]:
        """Stop it; all of its attempts."""
        self.command(do="stop")
        events = [event for event in self.rest() if event.get("kind") == "probe"]
        assert self.exit_code() == 0
        return events


@contextmanager
def running(*agents: Agent) -> Iterator[None]:
    """End the agents afterwards, whatever happened."""
    try:
        yield
    finally:
        for agent in agents:
            agent.end()
