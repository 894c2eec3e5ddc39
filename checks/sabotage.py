"""How saboteurs deceive the judges: a service runs by another configuration than the timeline tells."""

from __future__ import annotations

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
    spec.reload(process)
    process.wait_notified(20.0)
