"""Which of the two worlds this process is in: the real one, or a guest whose clock jumps."""

from __future__ import annotations

import os

REAL, VIRTUAL = "real", "virtual"
MARK = "VIPDRILL_WORLD"
# What programs of a guest are started with, its nodes' too: libraries, and the page with the time.
START = "/run/vipdrill-start"
EAGER, GLANCE, FRUGAL = (f"{START}/{name}.so" for name in ("eager", "glance", "frugal"))
CLOCK = f"{START}/clock"
# With an auditing library (rtld-audit(7)) the C library has less room for the thread-local storage of others.
_TUNED = "glibc.rtld.optional_static_tls=16384"


def name() -> str:
    """`real` or `virtual`."""
    return os.environ.get(MARK, REAL)


def virtual() -> bool:
    """Whether time here costs no time, and work none of it."""
    return name() == VIRTUAL


def environment(*, ours: bool = False) -> dict[str, str]:
    """What a program, one of a node's or of `ours`, has in its environment in this world only."""
    if not virtual():
        return {}
    return {"LD_AUDIT": EAGER, "LD_PRELOAD": GLANCE if ours else FRUGAL, "GLIBC_TUNABLES": _TUNED}
