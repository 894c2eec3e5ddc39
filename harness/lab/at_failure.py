"""A failed test's testbed as a lab: open while pytest waits (`--lab-on-failure`), or kept (`--keep`).

What is done in the lab is no part of the test: its timeline, and so its evidence, end where the test failed.
"""

from __future__ import annotations

import os
import re
import select
import threading
from typing import TYPE_CHECKING

import pytest

from harness import bubble
from harness.lab import registry
from harness.lab.channel import listen
from harness.lab.live import Lab
from harness.lab.publish import describe
from harness.lab.registry import Claim

if TYPE_CHECKING:
    from harness.testbed import Testbed

MOST_KEPT = 4
"""More labs than this would take the machine from the tests that follow."""
_kept: list[Kept] = []
_not_kept: list[str] = []


def refusal(config: pytest.Config) -> str:
    """Why a failed test's lab cannot be had in such a run, or ''."""
    wanted = [name for name in ("--lab-on-failure", "--keep") if config.getoption(name)]
    if not wanted:
        return ""
    if config.getoption("numprocesses", None) or config.getoption("dist", "no") != "no":
        return (
            f"{wanted[0]} is for one pytest process: a worker of -n has no terminal and ends with its tests"
        )
    if "--lab-on-failure" in wanted and not (os.isatty(0) and os.isatty(1)):
        return "--lab-on-failure waits for you at a terminal, and there is none; --keep keeps the lab without"
    return ""


def _open(testbed: Testbed, test: str) -> tuple[Lab, Claim]:
    """Let a testbed be entered as a lab named after the test."""
    testbed.recorder.seal()
    claim = registry.free_name(re.sub(r"[^A-Za-z0-9._-]+", "-", test).strip("-._")[:60] or "test")
    lab = Lab(claim.name, testbed)
    claim.publish(describe(claim.name, testbed))
    lab.server.listen(listen(claim.folder / "socket"))
    return lab, claim


def wait_in(testbed: Testbed, item: pytest.Item) -> None:
    """Open the lab, tell how to enter it, and wait for Enter, or for its `down`."""
    capture = item.config.pluginmanager.getplugin("capturemanager")
    reporter = item.config.pluginmanager.getplugin("terminalreporter")
    if capture is not None:
        capture.suspend_global_capture(in_=True)
    lab, claim = _open(testbed, item.name)
    try:
        reporter.ensure_newline()
        reporter.section("vipdrill: the testbed of the failed test is open", yellow=True)
        for line in _how_to_enter(claim.name, testbed):
            reporter.write_line(line)
        reporter.write_line("Press Enter to go on with the tests, Ctrl-C to end them.")
        testbed.recorder.serve(0, select.EPOLLIN, lambda _: _entered(lab))
        lab.serve()
    finally:
        testbed.recorder.dismiss(0)
        lab.server.stop_listening()
        claim.abandon()
        for connection in lab.ending:
            told = {"artifacts": str(testbed.artifacts), "headline": "The tests go on."}
            connection.say_last(ok=told)
        lab.server.hang_up()
        if capture is not None:
            capture.resume_global_capture()


def _entered(lab: Lab) -> None:
    os.read(0, 4096)
    lab.stop()


def _how_to_enter(name: str, testbed: Testbed) -> list[str]:
    return [
        f"It is the lab {name}. From another terminal:",
        f"  vipdrill shell -n {name} NODE    (nodes: {', '.join(testbed.nodes)})",
        f"  vipdrill watch -n {name}",
    ]


class Kept:
    """A testbed that outlives its test, served by a thread of its own until its `down`."""

    def __init__(self, testbed: Testbed, test: str, again: str) -> None:
        self.lab, self._claim = _open(testbed, test)
        self.test, self._again = test, again
        self._thread = threading.Thread(target=self._serve, name=f"lab {self.lab.name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        from harness.lab.holder import conclude

        try:
            self.lab.serve()
        finally:
            self._claim.retire()
            conclude(self.lab, self._again, then=self._claim.abandon)

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()


def keep(testbed: Testbed, item: pytest.Item, again: str) -> bool:
    """Keep a failed test's testbed as a lab; False where it cannot be, or enough are kept."""
    if not testbed.built:
        return False
    if len(_kept) >= MOST_KEPT:
        _not_kept.append(item.nodeid)
        return False
    _kept.append(Kept(testbed, item.name, again))
    return True


def summary() -> list[str]:
    """What is to be told of the labs that are kept."""
    names = [kept.lab.name for kept in _kept]
    lines = [f"{name}: enter it by `vipdrill shell -n {name} NODE`" for name in names]
    if _not_kept:
        lines.append(f"{len(_not_kept)} more failed, whose testbeds were not kept: {MOST_KEPT} labs at most")
    return [*lines, "They are up until `vipdrill down --all`."] if names else []


def leave(status: int) -> None:
    """Give the user the terminal back, and hold the kept labs until the last one is down."""
    if not _kept:
        return
    bubble.leave(status)
    for kept in _kept:
        kept.join()
