"""The page that tells the time (`page.h`), made known in a guest: its programs need not ask the kernel.

The host's file of the page is memory of a device to the guest (User-Mode Linux's mmapper, mapped by its
option `iomem=`), and how far the guest's own two clocks are ahead of the kernel's is written into it.
"""

from __future__ import annotations

import mmap
import os
import re
import stat
import struct
import time
from pathlib import Path

NAME = "mmapper"
_OFFSETS = struct.Struct("=qqq")
_NOW = struct.Struct("=Q")
_OFFSETS_AT = 32
_TICK_NS = 256
_TRIES = 16
_CLOCKS = (time.CLOCK_MONOTONIC, time.CLOCK_REALTIME)


def make_known(device: str) -> None:
    """In a guest's process 1: make the device at a path, and tell what its clocks differ by.

    Nothing where the kernel has no such device: then programs ask it for the time.
    """
    found = re.search(rf"^\s*(\d+) {NAME}$", Path("/proc/misc").read_text(), re.MULTILINE)
    if found is None:
        return
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(10, int(found[1])))
    os.chmod(device, 0o666)  # noqa: S103  # every program of the guest looks at it
    fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    with mmap.mmap(fd, mmap.PAGESIZE) as page:
        os.close(fd)
        _OFFSETS.pack_into(page, _OFFSETS_AT, 1, *(_offset_ns(page, clock) for clock in _CLOCKS))


def _offset_ns(page: mmap.mmap, clock: int) -> int:
    """What a clock is ahead of the kernel's; the most counts, as the kernel may look again meanwhile."""
    return max(_difference_ns(page, clock) for _ in range(_TRIES))


def _difference_ns(page: mmap.mmap, clock: int) -> int:
    told_ns = time.clock_gettime_ns(clock)
    (now_ns,) = _NOW.unpack_from(page)
    return told_ns - int(now_ns) // _TICK_NS * _TICK_NS
