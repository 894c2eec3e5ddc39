"""What the machine's memory holds, counted in several ways, because none of them sees everything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """KiB in use: by the kernel's own objects, by processes' private pages, by tmpfs, and in all."""

    slab: float
    kernel: float
    processes: float
    shmem: float
    in_use: float

    def __sub__(self, other: Memory) -> Memory:
        return Memory(*(mine - its for mine, its in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[float, ...]:
        """All of them, in order."""
        return self.slab, self.kernel, self.processes, self.shmem, self.in_use

    @property
    def counted(self) -> float:
        """The sum of what was seen piece by piece."""
        return self.slab + self.kernel + self.processes + self.shmem


def now(ours: set[int]) -> Memory:
    """Memory in use, processes being those of the bubble except `ours`, which are the bench's own."""
    info = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        info[name] = float(value.split()[0])
    kernel = info["KernelStack"] + info["PageTables"] + info["Percpu"]
    return Memory(
        info["Slab"], kernel, _private_kib(ours), info["Shmem"], info["MemTotal"] - info["MemAvailable"]
    )


def _private_kib(ours: set[int]) -> float:
    """Pages that no other process shares, and each one's share of the rest (proc(5): smaps_rollup)."""
    total = 0.0
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) in ours:
            continue
        try:
            rollup = Path(f"/proc/{name}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                total += float(line.split()[1])
    return total
