"""Nodes for tests: booted on the run's image, gone afterwards whatever happened."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from harness import bubble
from harness.errors import UsageError
from harness.nodes.base import Node
from harness.nodes.netns import NetnsNode

_numbers = itertools.count(1)


class Hosts:
    """Makes nodes without a testbed: `rootfs` is the image's, `logs` gets a folder for each."""

    def __init__(self, rootfs: Path, logs: Path) -> None:
        self._rootfs, self._logs = rootfs, logs
        self._disks = bubble.scratch() / f"bed-hosts-{os.getpid()}-{next(_numbers)}"
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


def copies_folders(node: Node, tmp_path: Path) -> None:
    """Whatever kind of node it is: files and folders go in and come out, with what may be done to them."""
    (tmp_path / "mine/deep").mkdir(parents=True)
    (tmp_path / "mine/one.sh").write_text("exit 0")
    (tmp_path / "mine/one.sh").chmod(0o750)
    (tmp_path / "mine/deep/two").write_bytes(bytes(range(256)))
    node.copy_in(tmp_path / "mine", "/srv/theirs")
    assert node.run(["stat", "-c", "%a", "/srv/theirs/one.sh"]) == "750\n"
    node.run(["ln", "-s", "/nowhere", "/srv/theirs/dangling"])
    node.copy_out("/srv/theirs", tmp_path / "back")
    found = {
        p.relative_to(tmp_path / "back").as_posix() for p in (tmp_path / "back").rglob("*") if p.is_file()
    }
    assert found == {"one.sh", "deep/two"}
    assert (tmp_path / "back/deep/two").read_bytes() == bytes(range(256))
    node.copy_in(tmp_path / "mine/one.sh", "/srv/alone")
    node.copy_out("/srv/alone", tmp_path / "alone")
    assert (tmp_path / "alone").read_text() == "exit 0"
    with pytest.raises(UsageError, match="there is no /nowhere on"):
        node.copy_out("/nowhere", tmp_path / "x")
    with pytest.raises(UsageError, match="nothing to copy to"):
        node.copy_in(tmp_path / "nothing", "/x")
