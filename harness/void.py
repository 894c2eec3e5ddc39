"""Void drills: the machine was late, the verdict is unknown, and the drill is run again.

A verdict that lateness alone may explain says nothing about the load balancer, for it or against it.
In a test it is measured anew, at most twice; the summary tells of each such run.  A finding (a check
that failed) is never run again, and neither is an unknown verdict on a machine that was in time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

from harness.bounds.bound import RESOLUTION_S
from harness.verdict import Inconclusive

if TYPE_CHECKING:
    from harness.testbed import Testbed
    from harness.timeline import Timeline

MOST_RUNS = 3
_PROPERTY = "vipdrill-void"
_NS = 1_000_000_000
_reason_key = pytest.StashKey[str]()


def lateness(timeline: Timeline) -> tuple[float, str]:
    """The most that the testbed was late by since it was steady (seconds), and what was."""
    steady = timeline.first("phase", name="steady")
    since = timeline.span[0] if steady is None else steady.t
    worst = max(timeline.of("lag", since=since), key=lambda lag: int(lag.lag_ns), default=None)
    return (0.0, "nothing") if worst is None else (worst.lag_ns / _NS, str(worst.source))


def note(item: pytest.Item, error: BaseException, testbed: Testbed | None) -> None:
    """Declare a test's run void, if its error is an unknown verdict of a testbed that was late."""
    if testbed is None or not isinstance(error, Inconclusive):
        return
    late_s, source = lateness(testbed.recorder.timeline)
    if late_s > RESOLUTION_S:
        item.stash[_reason_key] = f"{source} was late by {late_s:.3f} s"


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
    """Run a test, and again while it is void and has runs left."""
    from harness import plugin

    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    void: list[str] = []
    for left in reversed(range(MOST_RUNS)):
        item.stash[_reason_key] = ""
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
