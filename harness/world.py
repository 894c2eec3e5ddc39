"""Which of the two worlds this process is in: the real one, or a guest whose clock jumps."""

from __future__ import annotations

import os

REAL, VIRTUAL = "real", "virtual"
MARK = "VIPDRILL_WORLD"
PRELOAD = "LD_PRELOAD"


def name() -> str:
    """`real` or `virtual`."""
    return os.environ.get(MARK, REAL)


def virtual() -> bool:
    """Whether time here costs no time, and work none of it."""
    return name() == VIRTUAL


def preloaded() -> str:
    """The library that programs of a guest start with (`harness/virtual/eager.c`); none in the real world."""
    return os.environ.get(PRELOAD, "") if virtual() else ""


def environment(preloaded: str) -> dict[str, str]:
    """What a program in a guest, which finds the library there, has in its environment beside its own."""
    return {PRELOAD: preloaded} if virtual() else {}
