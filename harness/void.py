"""Tests whose drill is void (`harness.late_runs`) are run again, at last alone; the summary tells."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from harness.late_runs import MOST_RUNS, lateness
from harness.turns import alone
from harness.verdict import Inconclusive

if TYPE_CHECKING:
    from harness.testbed import Testbed

_PROPERTY = "vipdrill-void"
_MOST_SHOWN = 120
_reason_key = pytest.StashKey[str]()


def note(item: pytest.Item, error: BaseException, testbed: Testbed | None) -> None:
    """Declare a test's run void, if its error is an unknown verdict of a testbed that was late."""
    if testbed is None or not isinstance(error, Inconclusive):
        return
    if late := lateness(testbed.recorder.timeline):
        item.stash[_reason_key] = f"{late}: {str(error).partition(chr(10))[0][:_MOST_SHOWN]}"


def told(reports: Iterable[object]) -> list[str]:
    """A line for each void run that the reports of tests tell of."""
    return [
        f"{getattr(report, 'nodeid', '?')}: {text}"
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, text in getattr(report, "user_properties", ())
        if name == _PROPERTY
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test, and again while it is void and has runs left; with the last, no other drill runs."""
    from harness import plugin

    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    void: list[str] = []
    for left in reversed(range(MOST_RUNS)):
        item.stash[_reason_key] = ""
        with alone() if void and not left else nullcontext():
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        reason = item.stash[_reason_key]
        if not (reason and left):
            break
        void.append(reason)
        plugin.start_afresh(item)
        item.user_properties[:] = [(_PROPERTY, text) for text in void]
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
