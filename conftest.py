"""The project's own run of its suite: what takes longest begins first, so that nothing waits for it alone."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests in virtual time first: one of them keeps a CPU busy for minutes."""
    items.sort(key=lambda item: item.get_closest_marker("virtual_time") is None)
