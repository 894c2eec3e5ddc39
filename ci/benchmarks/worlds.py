"""Whether the virtual world agrees with the real one: ten kinds of drills, each 20 times in real time.

What is compared is the figure that each drill is about, and that timers make: takeovers, detection by tracked
scripts and by members' checks, a client's outage.  What work makes (a boot, the way from an advertisement to
the gratuitous ARP after it) takes no virtual time at all, so it lies below what is real.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ci.benchmarks.figure import Figure, at_least
from ci.benchmarks.options import Options

# Fault, property, aspect.
DRILLS = (
    ("host-crash", "vip-migration", "takeover"),
    ("freeze", "vip-migration", "takeover"),
    ("link-down", "vip-migration", "takeover"),
    ("kill:active/keepalived", "vip-migration", "takeover"),
    ("partition", "vip-migration", "takeover"),
    ("stop", "client-outage", "outage"),
    ("kill:active/haproxy", "service-tracking", "detection"),
    ("hang:active/haproxy", "service-tracking", "detection"),
    ("kill:member", "member-removal", "removal"),
    ("backend-blackhole", "member-removal", "removal"),
)
_JOBS = 4
_SEED = "7"
# Real drills strike at phases spread over the cycle, the virtual one in the middle of it.
_VIRTUAL = ("--time", "virtual", "--phase", "0.5")
_ROUNDING_S = 1e-6


@dataclass(frozen=True)
class Agreement:
    """One kind of drill: its figure in virtual time, and those of the real drills (s)."""

    name: str
    virtual_s: float
    real_s: tuple[float, ...]

    @property
    def within(self) -> bool:
        """Whether the virtual figure lies within the real ones."""
        return min(self.real_s) - _ROUNDING_S <= self.virtual_s <= max(self.real_s) + _ROUNDING_S

    def figure(self) -> Figure:
        """For the table."""
        least, most, count = min(self.real_s), max(self.real_s), len(self.real_s)
        where = "within" if self.within else "OUTSIDE OF"
        return Figure(
            f"virtual time: {self.name}",
            self.virtual_s * 1e3,
            "ms",
            median(self.real_s) * 1e3,
            "median of the real drills",
            note=f"{where} {count} real ones, {least * 1e3:.1f} to {most * 1e3:.1f} ms",
        )


def measure(options: Options) -> list[Figure]:
    """Each kind of drill, and in how many of them the worlds agree."""
    found = [_agreement(*drill, options.repeats(20, 8)) for drill in DRILLS]
    agree = sum(one.within for one in found)
    total = Figure(
        "virtual time: kinds of drills whose figure lies within the real ones",
        agree,
        f"of {len(found)}",
        target=at_least(len(found)),
    )
    return [total, *(one.figure() for one in found)]


def _agreement(fault: str, property_: str, aspect: str, count: int) -> Agreement:
    virtual = _figures(_run(fault, *_VIRTUAL), property_, aspect)
    real = _figures(_run(fault, "--repeat", str(count), "--jobs", str(_JOBS)), property_, aspect)
    if not virtual or not real:
        raise RuntimeError(f"no drill of {fault} decided {property_}: {aspect}")
    return Agreement(f"{fault}, {property_}: {aspect}", virtual[0], tuple(real))


def _run(fault: str, *more: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        words = ["run", "vip-l7", "--fault", fault, "--seed", _SEED, *more, "--quiet"]
        done = subprocess.run(
            [sys.executable, "-m", "harness", *words, "--artifacts", folder, "--json", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if not out.exists():
            raise RuntimeError(f"vipdrill {' '.join(words)} ended with {done.returncode}: {done.stderr}")
        data = json.loads(out.read_text())
    results: list[dict[str, Any]] = data.get("results") or [data]
    return results


def _figures(results: list[dict[str, Any]], property_: str, aspect: str) -> list[float]:
    """The figure of each drill that decided it; of several clients the first's."""
    found = []
    for result in results:
        decided = [
            check["measured"]
            for check in result["checks"]
            if (check["property"], check["aspect"]) == (property_, aspect)
            and check["verdict"] in ("pass", "limitation", "fail")
            and check["measured"] is not None
        ]
        found += decided[:1]
    return found
