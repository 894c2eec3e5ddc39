"""Maintenance of one service: reloading and restarting it, which a good service does unnoticed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.errors import TestbedError, UsageError
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.process import DEFAULT_SERVICE
from harness.faults.target import Target
from harness.properties.in_force import PROXIES

if TYPE_CHECKING:
    from harness.nodes.process import Process
    from harness.services.base import Service

_ENDING_S = 10.0
_RELOADING_S = 20.0
# HAProxy's master, which reports itself ready then, too.
_REFUSED = "STATUS=Reload failed"


class Restart(Fault):
    """A service is stopped as its service manager would and started again; nothing is left to heal."""

    name = "restart"
    default_service = DEFAULT_SERVICE
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("pause_s", 0.0, "how long it is stopped, in seconds", low=0, high=600),
    )

    def _prepare(self, targets: list[Target]) -> None:
        self._ending = self._processes(targets)

    def _act(self, target: Target) -> None:
        process = self._ending[target]
        process.expected_end = True
        self.testbed.service(target.node, target.service).stop(process)

    def _verify(self, target: Target) -> None:
        recorder, process = self.testbed.recorder, self._ending[target]
        recorder.wait(lambda: not process.running, _ENDING_S, f"the end of {target}", lambda: repr(process))
        recorder.pass_time(
            time.monotonic_ns() + round(self.values["pause_s"] * 1e9), "the pause of a restart"
        )
        self.testbed.start_service(target.node, target.service)

    def _heal(self, target: Target) -> None:
        """It runs as before."""


class Reload(Fault):
    """A service reads its configuration again in its own way (HUP, USR2); healed by the old configuration."""

    name = "reload"
    default_service = DEFAULT_SERVICE
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("config", "", "a file of this machine with the new configuration; without one: unchanged"),
        Parameter(
            "handover",
            "yes",
            "whether the new process gets the listening sockets; no: HAProxy is started anew (-sf)",
            choices=("yes", "no"),
        ),
    )

    def _prepare(self, targets: list[Target]) -> None:
        self._text = _read(self.values["config"]) if self.values["config"] else None
        self._before: dict[Target, tuple[str, bytes]] = {}
        self._asked: dict[Target, tuple[Process, int]] = {}
        for target in targets:
            service = self.testbed.service(target.node, target.service)
            try:
                _reload_of(service)
            except AttributeError:
                raise UsageError(f"{target} knows no reload") from None
            if self.values["handover"] == "no" and not hasattr(service, "replace"):
                raise UsageError(f"{target} cannot be reloaded without a hand-over: only HAProxy can")
            self.testbed.process(target.node, target.service)
            # keepalived refuses no file: it takes of it what it understands.
            if self._text is not None and target.service in PROXIES:
                self._check(target, service, self._text)

    def _check(self, target: Target, service: Service, text: str) -> None:
        """Let the service's own syntax check judge a configuration, which it finds in its place only."""
        node, path = self._up(target), next(iter(service.files()))
        before = node.read(path)
        node.write(path, text)
        try:
            service.validate(node)
        finally:
            node.write(path, before)

    def _act(self, target: Target) -> None:
        if self._text is not None:
            node = self.testbed.node(target.node)
            path = next(iter(self.testbed.service(target.node, target.service).files()))
            self._before[target] = path, node.read(path)
            self._configure(target, path, self._text)
        self._reload(target)

    def _configure(self, target: Target, path: str, text: str) -> None:
        self.testbed.node(target.node).write(path, text)
        self.testbed.recorder.emit("config", node=target.node, service=target.service, path=path, text=text)

    def _reload(self, target: Target) -> None:
        """Ask for it, and have its completion told."""
        if self.values["handover"] == "no":
            self.testbed.replace_service(target.node, target.service)
            self._asked[target] = self.testbed.process(target.node, target.service), time.monotonic_ns()
            return
        process = self.testbed.process(target.node, target.service)
        service = self.testbed.service(target.node, target.service)
        written = process.log.stat().st_size
        self._asked[target] = process, time.monotonic_ns()
        _reload_of(service)(process)
        if not process.notifies:
            line = getattr(service, "reload_line", service.ready_line)
            self.testbed.witnesses.expect_line(process, line, written)

    def _verify(self, target: Target) -> None:
        process, asked_ns = self._asked[target]
        if process.notifies:
            said = process.wait_notified(_RELOADING_S)
            if _REFUSED in said:
                self._put_back(target)
                self._before.pop(target, None)
                raise self._fails(f"{process} goes on as before; its log: {process.log}")
            return
        recorder = self.testbed.recorder
        recorder.wait(
            partial(self._reloaded, process, asked_ns),
            _RELOADING_S,
            f"{target} reloaded",
            lambda: repr(process),
        )
        if not process.running:
            raise TestbedError(f"{target} ended while it reloaded; its log: {process.log}")

    def _reloaded(self, process: Process, asked_ns: int) -> bool:
        found = self.testbed.recorder.timeline.last(
            "service", node=process.node, service=process.name, state="ready", since=asked_ns
        )
        return found is not None or not process.running

    def _heal(self, target: Target) -> None:
        self._asked.pop(target, None)
        running = {process.name for process in self.testbed.processes_of(target.node)}
        # What does not run just now reads it when it is started.
        if self._put_back(target) and target.service in running:
            self._reload(target)

    def _put_back(self, target: Target) -> bool:
        """Put the old configuration into its place, if it was given another; whether it was."""
        if target not in self._before:
            return False
        self._up(target)
        path, text = self._before[target]
        self._configure(target, path, text.decode())
        return True

    def _verify_healed(self, target: Target) -> None:
        if target in self._asked:
            self._verify(target)


def _reload_of(service: object) -> Callable[[Process], None]:
    """The service's own way of reloading; raises AttributeError where it has none."""
    verb: Callable[[Process], None] = service.reload  # type: ignore[attr-defined]
    return verb


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        raise UsageError(f"the fault reload cannot read its config {path}: {error.strerror}") from None
