"""`ci/bench [NAME...]`: run the groups of figures, each in a process of its own, and print one table."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from ci.benchmarks.figure import Figure, Target
from ci.benchmarks.options import Options
from ci.benchmarks.table import machine, markdown, terminal

GROUPS = {
    "network": "six hosts: links, whole nodes, tear-down",
    "library": "pyroute2 beside our netlink encoder",
    "vip": "a balanced service: VIP answers, tear-down",
    "bubble": "start of the bubble",
    "commands": "commands in nodes",
    "scale": "100 and 500 nodes on one segment",
    "failover": "failover experiments side by side, and whether witnesses agree",
    "uml": "nodes with kernels of their own: boot, memory, forwarding, promptness",
    "virtual": "virtual time: start, hours in minutes, where time goes, repeats, real drills beside it",
    "directors": "a request through IPVS beside one through HAProxy, on machines of their own",
    "witnesses": "CPU of the witnesses, and what a fake master can serve",
}
_INSIDE = "--inside"
QUICK = 0.25


def main() -> int:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(prog="ci/bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GROUPS) + " (all)")
    parser.add_argument("--quick", action="store_true", help="fewer repeats: for a look, not for the record")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file too")
    parser.add_argument(_INSIDE, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    options = Options(QUICK if asked.quick else 1.0)
    if asked.inside:
        return _measure(asked.inside, options, asked.json)
    for name in asked.names:
        if name not in GROUPS:
            parser.error(f"there is no group {name!r}; there are {', '.join(GROUPS)}")
    began = time.monotonic()
    figures, broken = _run(asked.names or list(GROUPS), quick=asked.quick)
    taken = time.monotonic() - began
    print(markdown(figures, taken, asked.quick) if asked.markdown else terminal(figures, taken))
    if asked.json:
        found = [{**asdict(figure), "met": figure.met} for figure in figures]
        asked.json.write_text(json.dumps({"machine": machine(), "figures": found}, indent=1) + "\n")
    for name in broken:
        print(f"ci/bench: {name} could not be measured, see above", file=sys.stderr)
    return 2 if broken else int(any(figure.met is False for figure in figures))


def _run(names: list[str], *, quick: bool) -> tuple[list[Figure], list[str]]:
    figures: list[Figure] = []
    broken = []
    for name in names:
        print(f"ci/bench: {name} ({GROUPS[name]}) ...", file=sys.stderr, flush=True)
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            argv = [sys.executable, "-m", "ci.benchmarks", _INSIDE, name, "--json", out.name]
            if subprocess.run([*argv, *(["--quick"] if quick else [])], check=False).returncode:
                broken.append(name)
                continue
            figures += [_figure(data) for data in json.load(out)]
    return figures, broken


def _figure(data: dict[str, object]) -> Figure:
    target = data.pop("target")
    return Figure(**data, target=Target(**target) if isinstance(target, dict) else None)  # type: ignore[arg-type]


def _measure(name: str, options: Options, out: Path) -> int:
    """Measure one group in this process, in a bubble if it wants one."""
    group = importlib.import_module(f"ci.benchmarks.{name}")
    if group.INSIDE_BUBBLE:
        from harness import bubble

        bubble.enter()
    out.write_text(json.dumps([asdict(figure) for figure in group.measure(options)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
