"""Which of the two worlds this process is in: the real one, or a guest whose clock jumps."""

from __future__ import annotations

import os

REAL, VIRTUAL = "real", "virtual"
MARK = "VIPDRILL_WORLD"


def name() -> str:
    """`real` or `virtual`."""
    return os.environ.get(MARK, REAL)


def virtual() -> bool:
    """Whether time here costs no time, and work none of it."""
    return name() == VIRTUAL
