"""Nodes for tests: booted on the run's image, gone afterwards whatever happened."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from harness import bubble
from harness.nodes.netns import NetnsNode

_numbers = itertools.count(1)


class Hosts:
    """Makes nodes without a testbed: `rootfs` is the image's, `logs` gets a folder for each."""

    def __init__(self, rootfs: Path, logs: Path) -> None:
        self._rootfs, self._logs = rootfs, logs
        self._disks = bubble.scratch() / f"hosts-{os.getpid()}-{next(_numbers)}"
        self._made: list[NetnsNode] = []

    def __call__(self, name: str, *, boot: bool = True) -> NetnsNode:
        """A node of this name, booted unless told otherwise."""
        node = NetnsNode(name, self._rootfs, self._disks / name, self._logs / name)
        self._made.append(node)
        if boot:
            node.boot()
        return node

    def end(self) -> None:
        """Power all of them off."""
        for node in self._made:
            node.release()
        for node in self._made:
            node.reap()
