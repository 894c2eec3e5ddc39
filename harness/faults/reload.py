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

if TYPE_CHECKING:
    from harness.nodes.process import Process

_ENDING_S = 10.0
_RELOADING_S = 20.0


class Restart(Fault):
    """A service is stopped as its service manager would and started again; nothing is left to heal."""

    name = "restart"
    default_service = DEFAULT_SERVICE
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("pause_s", 0.0, "how long it is stopped, in seconds", low=0, high=600),
    )

    def _prepare(self, targets: list[Target]) -> None:
        self._ending = {target: self.testbed.process(target.node, target.service) for target in targets}

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
    ends_with_node = True

    def _prepare(self, targets: list[Target]) -> None:
        self._text = _read(self.values["config"]) if self.values["config"] else None
        self._before: dict[Target, tuple[str, bytes]] = {}
        for target in targets:
            service = self.testbed.service(target.node, target.service)
            try:
                _reload_of(service)
            except AttributeError:
                raise UsageError(f"{target} knows no reload") from None
            if self.values["handover"] == "no" and not hasattr(service, "replace"):
                raise UsageError(f"{target} cannot be reloaded without a hand-over: only HAProxy can")

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
            return
        process = self.testbed.process(target.node, target.service)
        service = self.testbed.service(target.node, target.service)
        written, self._asked_ns = process.log.stat().st_size, time.monotonic_ns()
        _reload_of(service)(process)
        if not process.notifies:
            line = getattr(service, "reload_line", service.ready_line)
            self.testbed.witnesses.expect_line(process, line, written)

    def _verify(self, target: Target) -> None:
        process = self.testbed.process(target.node, target.service)
        if process.notifies:
            process.wait_notified(_RELOADING_S)
            return
        recorder = self.testbed.recorder
        recorder.wait(
            partial(self._reloaded, process), _RELOADING_S, f"{target} reloaded", lambda: repr(process)
        )
        if not process.running:
            raise TestbedError(f"{target} ended while it reloaded; its log: {process.log}")

    def _reloaded(self, process: Process) -> bool:
        found = self.testbed.recorder.timeline.last(
            "service", node=process.node, service=process.name, state="ready", since=self._asked_ns
        )
        return found is not None or not process.running

    def _heal(self, target: Target) -> None:
        if target in self._before:
            path, text = self._before[target]
            self._configure(target, path, text.decode())
            self._reload(target)

    def _verify_healed(self, target: Target) -> None:
        if target in self._before:
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
