"""Which of the two worlds this process is in: the real one, or a guest whose clock jumps."""

from __future__ import annotations

import os

REAL, VIRTUAL = "real", "virtual"
MARK = "VIPDRILL_WORLD"
# Libraries of `harness.virtual.library` that programs in a guest are started with: ours, and those in nodes.
PRELOAD, IN_NODES = "LD_PRELOAD", "VIPDRILL_IN_NODES"


def name() -> str:
    """`real` or `virtual`."""
    return os.environ.get(MARK, REAL)


def virtual() -> bool:
    """Whether time here costs no time, and work none of it."""
    return name() == VIRTUAL


def environment() -> dict[str, str]:
    """What a program of ours has in its environment in this world, beside what it has in the other."""
    return {PRELOAD: os.environ[PRELOAD]} if virtual() and PRELOAD in os.environ else {}
