"""Waiting for descriptors, of whatever number: select(2) knows none above 1023, and large labs have more."""

from __future__ import annotations

import select
from collections.abc import Iterable


def readable(descriptors: Iterable[int], timeout_s: float | None = None) -> list[int]:
    """Those that can be read from, or whose other end is gone, once there are some or time is up."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1e3)]
