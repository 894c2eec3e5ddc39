"""Tests whose drill is void (`harness.late_runs`) are run again, at last alone; the summary tells."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal

import pytest
from _pytest.runner import check_interactive_exception, get_reraise_exceptions

from harness.late_runs import MOST_RUNS, lateness
from harness.turns import alone
from harness.verdict import Inconclusive

if TYPE_CHECKING:
    from harness.testbed import Testbed

_PROPERTY = "vipdrill-void"
_MOST_SHOWN = 120
_reason_key = pytest.StashKey[str]()
_again_key = pytest.StashKey[bool]()


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


def again(item: pytest.Item) -> bool:
    """Whether the run of a test that goes on is void and not the last: nothing of it counts."""
    return item.stash.get(_again_key, False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test, and again while it is void and has runs left; with the last, no other drill runs."""
    from harness import plugin

    if item.config.getoption("setupshow", False):  # or --setup-only: pytest's own affair
        return None
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    void: list[str] = []
    for left in reversed(range(MOST_RUNS)):
        item.stash[_reason_key], item.stash[_again_key] = "", False
        with alone() if void and not left else nullcontext():
            _run(item, nextitem, left)
        if not again(item):
            break
        void.append(item.stash[_reason_key])
        plugin.start_afresh(item)
        item.user_properties[:] = [(_PROPERTY, text) for text in void]
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run(item: pytest.Item, nextitem: pytest.Item | None, left: int) -> None:
    """One run, as pytest's own (`_pytest.runner.runtestprotocol`); a void one is not reported."""
    if hasattr(item, "_request") and not item._request:
        item._initrequest()  # type: ignore[attr-defined]
    try:
        call, report = _phase(item, "setup")
        reports = [report]
        if report.passed:
            call, report = _phase(item, "call")
            reports.append(report)
        item.stash[_again_key] = bool(item.stash[_reason_key] and left)
        if not again(item):
            for one in reports:
                item.ihook.pytest_runtest_logreport(report=one)
            _interact(item, call, report)
        call, report = _phase(item, "teardown", nextitem=coming(item, nextitem))
        if report.failed or not again(item):
            item.ihook.pytest_runtest_logreport(report=report)
            _interact(item, call, report)
    finally:
        if hasattr(item, "_request"):
            item._request = False
            item.funcargs = None  # type: ignore[attr-defined]


def coming(item: pytest.Item, nextitem: pytest.Item | None) -> pytest.Item | None:
    """The test whose needs outlast this one: none where the run stops here, and all is torn down with it."""
    return None if item.session.shouldfail or item.session.shouldstop else nextitem


def _phase(
    item: pytest.Item, when: Literal["setup", "call", "teardown"], **more: Any
) -> tuple[pytest.CallInfo[None], pytest.TestReport]:
    hook = getattr(item.ihook, f"pytest_runtest_{when}")
    call = pytest.CallInfo.from_call(
        lambda: hook(item=item, **more), when, reraise=get_reraise_exceptions(item.config)
    )
    return call, item.ihook.pytest_runtest_makereport(item=item, call=call)


def _interact(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    if check_interactive_exception(call, report):
        item.ihook.pytest_exception_interact(node=item, call=call, report=report)
