"""The project's own run of its suite: what takes longest begins first, so that nothing waits for it alone."""

from __future__ import annotations

import os

import pytest

from checks.order import ordered


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests into the order in which so many of xdist's workers are done with them soonest."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    # Drills wait long for timers; what is short comes last, where it evens out who is done first.
    items.sort(key=lambda item: item.path.parent.name == "selftest")
    items[:] = ordered(items, workers, on_machines=_on_machines, in_virtual_time=_in_virtual_time)


def _on_machines(item: pytest.Item) -> bool:
    testbed = item.get_closest_marker("testbed")
    return testbed is not None and "vip-l4" in testbed.args


def _in_virtual_time(item: pytest.Item) -> bool:
    return item.get_closest_marker("virtual_time") is not None or item.path.name == "test_virtual_time.py"
