"""How saboteurs deceive the judges: a service runs by another configuration than the timeline tells."""

from __future__ import annotations

import time
from typing import Any

from harness.testbed import Testbed


def reconfigure_secretly(testbed: Testbed, node: str, service: str, old: str, new: str) -> None:
    """Put `new` in the place of `old` in a service's main file and reload it, telling nobody."""
    spec: Any = testbed.service(node, service)
    path = next(iter(spec.files()))
    text = testbed.node(node).read(path).decode()
    assert old in text, f"{path} of {node} has no {old!r}"
    testbed.node(node).write(path, text.replace(old, new))
    process = testbed.process(node, service)
    written, asked_ns = process.log.stat().st_size, time.monotonic_ns()
    spec.reload(process)
    if process.notify is not None:
        process.wait_notified(20.0)
        return
    testbed.witnesses.expect_line(process, spec.reload_line, written)
    ready = {"node": node, "service": service, "state": "ready", "since": asked_ns}
    recorder = testbed.recorder
    recorder.wait(
        lambda: recorder.timeline.first("service", **ready) is not None, 20.0, f"{service} reloaded"
    )
