"""When an agent tells that something was late, and from when to when that was.

A `lag` event of `lag_ns` at `t` says: from `t - lag_ns` to `t` somebody had to wait for a processor or
for a lock of the kernel, or was not woken.  Who tells of another process looks at it every `LOOK_NS` only,
so that lateness began up to that much earlier.
"""

from __future__ import annotations

# What is shorter than this drowns in the scheduler's own slices and is not told.
LAG_TOLD_NS = 2_000_000
# How often the observer looks at itself and at the services.
LOOK_NS = 20_000_000
# What the detail of an attempt says that was never made, as the probe was late for longer than it may take.
STALE = "not made: the probe itself was later than the time-out"
# What was late if not a process: the kernel's lock on addresses and links, held by somebody else.
NETWORK_LOCK = "network lock"
# What the process of a node with a kernel of its own is called.
MACHINE = "machine"


def is_machine(source: str) -> bool:
    """Whether a whole kernel was late, with one processor for all that runs in it: its waits add up."""
    return source.rpartition("/")[2] == MACHINE
