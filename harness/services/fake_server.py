"""The fake server agent: masters and routers that are well, ill, or on their way out.

Configuration, one JSON argument:

    {"node": "m1", "kind": "master", "service": "master",
     "listeners": [{"address": "10.0.0.21", "port": 6443, "tls": true, "cert": PATH, "key": PATH,
                    "name": "6443", "names": {SERVER_NAME: {"cert": PATH, "key": PATH}}}],
     "watch_interval_s": 1, "shutdown": {"delay_s": 0, "drain_s": 60, "watch_grace_s": 0}}

A router (`"kind": "router"`) also has `"hosts": {HOST: "allow" or "redirect"}`, and on its health port a
listener with `"purpose": "health"`.

Commands, JSON lines on stdin: `{"do": "ill", "illness": NAME, ...options}` (fake_illness names them),
`{"do": "well"}` (or with `illness`, that one only; an illness may be given an `id`, so that a server can
have two of a kind, and is then healed by it), and `{"do": "shutdown", ...}`, which is also what
SIGTERM does; a second one ends it at once.
"""

from __future__ import annotations

import os
import resource
import sys
from select import EPOLLIN

from harness.eventpipe import CommandReader, EventWriter
from harness.lean_json import loads
from harness.loop import Loop
from harness.services.fake_core import Listener, Server
from harness.services.fake_illness import Illness, make
from harness.services.fake_master import Master
from harness.services.fake_router import Router
from harness.services.fake_site import Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any

    from harness.services.fake_core import Behaviour
else:
    import _signal  # what `signal` wraps, without its import of `enum`

KINDS: dict[str, Callable[[Loop, str, dict[str, Any]], Behaviour]] = {
    "master": Master,
    "router": Router,
    "site": Site,
}

# net/http's Server.Shutdown treats a connection as idle that has sent no request for so long.
_UNUSED_CONNECTION_NS = 5_000_000_000


class FakeServer:
    """The agent: it turns configuration and commands into a server's life."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._loop = Loop(EventWriter(), CommandReader(), self._command)
        self._node: str = config["node"]
        self._service: str = config.get("service", "master")
        self._shutdown_defaults: dict[str, float] = config.get("shutdown", {})
        self._behaviour = KINDS[config.get("kind", "master")](self._loop, self._node, config)
        self._server = Server(self._loop, self._node, self._behaviour)
        self._server.listeners = [Listener(self._server, listener) for listener in config["listeners"]]
        self._ill: dict[str, tuple[Illness, list[Listener]]] = {}
        self._stopping = False

    def run(self) -> None:
        """Serve until told to shut down; raises OSError if an address cannot be listened on."""
        self._heed_sigterm()
        for listener in self._server.listeners:
            try:
                listener.open()
            except OSError as error:
                raise OSError(
                    error.errno, f"listen on {listener.address}:{listener.port}: {error.strerror}"
                ) from None
        listening = [
            {"name": each.name, "address": each.address, "port": each.port} for each in self._server.listeners
        ]
        self._tell("service", service=self._service, state="ready", pid=os.getpid(), listeners=listening)
        self._loop.writer.flush()
        self._loop.run()

    def _tell(self, kind: str, **fields: Any) -> None:
        self._loop.writer.emit(self._loop.now, kind, node=self._node, **fields)

    # -- commands ------------------------------------------------------------------------------

    def _command(self, command: dict[str, Any]) -> None:
        do, given_id = command.pop("do", None), command.get("id")
        try:
            if do == "ill":
                self._fall_ill(command.pop("illness", ""), command)
            elif do == "well":
                self._get_well(command.get("id") or command.get("illness"))
            elif do == "shutdown":
                self._shut_down(command)
            else:
                raise ValueError(f"unknown command {do!r}; known: ill, well, shutdown")
        except (ValueError, OSError) as error:
            self._tell("note", text=f"{self._node}: {error}", refused=do, id=given_id)

    def _fall_ill(self, name: str, options: dict[str, Any]) -> None:
        wanted = options.get("listeners")
        listeners = [each for each in self._server.listeners if wanted is None or each.name in wanted]
        if not listeners:
            known = ", ".join(each.name for each in self._server.listeners)
            raise ValueError(f"no listener {wanted!r}; known: {known}")
        key = options.pop("id", name)
        illness = make(name, options)
        self._heal(key)
        self._ill[key] = illness, listeners
        for listener in listeners:
            illness.begin(listener)
            listener.illnesses.append(illness)
        how = "".join(f" {option}={value}" for option, value in options.items())
        text = f"{self._node} is ill: {name}{how}"
        self._tell("note", text=text, illness=name, state="ill", options=options, id=key)

    def _get_well(self, name: str | None) -> None:
        for each in [name] if name else list(self._ill):
            self._heal(each)
        text = f"{self._node} is well: {name or 'of everything'}"
        self._tell("note", text=text, illness=name, state="well", id=name)

    def _heal(self, key: str) -> None:
        illness, listeners = self._ill.pop(key, (None, []))
        if illness is None:
            return
        for listener in listeners:
            listener.illnesses.remove(illness)
            if self._server.draining:
                continue
            if not any(isinstance(other, type(illness)) for other in listener.illnesses):
                illness.end(listener)
            # What it had in common with others (a socket, a certificate, a limit) is theirs again.
            for other in listener.illnesses:
                other.begin(listener)

    # -- the end -------------------------------------------------------------------------------

    def _heed_sigterm(self) -> None:
        """Let SIGTERM wake the loop through a pipe."""
        wake, waker = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(waker, False)

        def woken(_mask: int) -> None:
            os.read(wake, 64)
            self._shut_down({})

        self._loop.add(wake, EPOLLIN, woken)
        _signal.set_wakeup_fd(waker)
        _signal.signal(_signal.SIGTERM, lambda _number, _frame: None)

    def _shut_down(self, options: dict[str, Any]) -> None:
        """As kube-apiserver: unready at once, serving for `delay_s`, then draining for `drain_s` at most.

        Source: openshift/installer docs/dev/kube-apiserver-health-check.md, and RunWithContext in
        k8s.io/apiserver/pkg/server/genericapiserver.go, whose defaults these are (no delay, 60 s
        for what is in flight, watches among it); given a `watch_grace_s`, watches end in order instead.
        """
        if self._stopping:
            self._loop.stop()
            return
        self._stopping = True
        terms = {"delay_s": 0.0, "drain_s": 60.0, "watch_grace_s": 0.0, **self._shutdown_defaults, **options}
        self._behaviour.shutdown_begins()
        self._tell("note", text=f"{self._node} shuts down: not ready, still serving", shutdown="delay")

        def drain() -> None:
            if terms["watch_grace_s"] > 0:
                self._behaviour.end_streams()
            self._tell("note", text=f"{self._node} shuts down: no longer listening", shutdown="drain")
            self._server.begin_draining()
            now = self._loop.now
            self._loop.at(now + min(_UNUSED_CONNECTION_NS, round(terms["drain_s"] * 1e9)), self._drop_unused)
            self._loop.at(now + round(terms["drain_s"] * 1e9), self._loop.stop)

        self._loop.at(self._loop.now + round(terms["delay_s"] * 1e9), drain)

    def _drop_unused(self) -> None:
        for connection in self._server.connections:
            if not connection.served:
                connection.close()


def main() -> None:
    """The agent's entry: its configuration is the one argument, as JSON."""
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    try:
        FakeServer(loads(sys.argv[-1])).run()
    except OSError as error:
        sys.exit(f"fake server: {error}")
    os._exit(0)
