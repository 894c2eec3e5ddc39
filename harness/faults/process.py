"""Faults of one service's processes."""

from __future__ import annotations

import signal

from harness.errors import FaultNotEffective
from harness.faults.base import Fault
from harness.faults.target import Target

_DEFAULT_SERVICE = {"balancer": "keepalived"}


class Kill(Fault):
    """All processes of a service get SIGKILL at once: nothing is cleaned up; healed by starting it again."""

    name = "kill"
    default_service = _DEFAULT_SERVICE

    def _act(self, target: Target) -> None:
        process = self.testbed.process(target.node, target.service)
        process.expected_end = True
        process.signal_tree(signal.SIGKILL)

    def _verify(self, target: Target) -> None:
        process = self.testbed.process(target.node, target.service)
        if process.reap(wait=True) != -signal.SIGKILL:
            raise FaultNotEffective(f"{self.name}: {process} ended otherwise")

    def _heal(self, target: Target) -> None:
        self.testbed.start_service(target.node, target.service)


class Stop(Fault):
    """A service is stopped as its service manager would: it may say goodbye; healed by starting it again."""

    name = "stop"
    default_service = _DEFAULT_SERVICE
    _patience_s = 10.0

    def _act(self, target: Target) -> None:
        process = self.testbed.process(target.node, target.service)
        process.expected_end = True
        self.testbed.service(target.node, target.service).stop(process)

    def _verify(self, target: Target) -> None:
        process = self.testbed.process(target.node, target.service)
        self.testbed.recorder.wait(
            lambda: not process.running, self._patience_s, f"the end of {target}", lambda: repr(process)
        )

    def _heal(self, target: Target) -> None:
        self.testbed.start_service(target.node, target.service)
