"""`ci/rounds [ROUNDS] [--fresh] [--sample] [PYTEST ARGUMENTS]`: the suite in virtual time, again and again.

With one seed every round is the same computation: tests must come to the same end, and every check to the
same verdict with the same figure.  With --fresh each round has a seed of its own, and its tests must come to
the same end.  With --sample it is one test of each file only.  Ends at the first round that differs, with
what does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

ROUNDS = 200
# What is about A2, or about virtual time itself.
_OTHERS = ("_l4", "director_start", "quorum", "arp_hygiene", "virtual_time", "theory", "report_drill")
_SHOWN = 20
Findings = dict[str, str]


def main() -> int:
    """Entry of the command line: 0 if all rounds were alike."""
    parser = argparse.ArgumentParser(prog="ci/rounds", description=__doc__.partition("\n")[0])
    parser.add_argument("rounds", nargs="?", type=int, default=ROUNDS, help=f"how many ({ROUNDS})")
    parser.add_argument("--fresh", action="store_true", help="a seed of its own for each round")
    parser.add_argument("--sample", action="store_true", help="one test of each file, every other a saboteur")
    parser.add_argument("--seed", type=int, help="the seed of all rounds, or what theirs are made of")
    asked, more = parser.parse_known_args()
    options = [argument for argument in more if not argument.startswith("checks")]
    tests = [argument for argument in more if argument.startswith("checks")] or files()
    if asked.sample:
        tests = sample([*options, *tests])
        if not tests:
            raise SystemExit("ci/rounds: pytest finds no tests to take a sample of")
    chance = random.Random(asked.seed)
    seed = chance.randrange(1_000_000) if asked.seed is None else asked.seed
    first: Findings | None = None
    for number in range(1, asked.rounds + 1):
        if asked.fresh:
            seed = chance.randrange(1_000_000)
        began = time.monotonic()
        found = one_round(seed, [*options, *tests], figures=not asked.fresh)
        taken_s = time.monotonic() - began
        first = found if first is None else first
        differing = sorted(name for name in first.keys() | found.keys() if first.get(name) != found.get(name))
        said = f"{len(differing)} differ from the first's" if differing else "as the first"
        print(
            f"round {number} of {asked.rounds}, seed {seed}: {len(found)} findings, {taken_s:.0f} s: {said}",
            flush=True,
        )
        for name in differing[:_SHOWN]:
            print(f"  {name}: {first.get(name, 'none')}, now {found.get(name, 'none')}")
        if differing:
            return 1
    return 0


def files() -> list[str]:
    """The files of A1's tests."""
    found = [str(path) for path in sorted(Path("checks").glob("test_*.py"))]
    return [name for name in found if not any(other in name for other in _OTHERS)]


def sample(arguments: Sequence[str]) -> list[str]:
    """Of each file that pytest would take one test: by turns the first of all and the first saboteur."""
    firsts, saboteurs = _firsts(arguments), _firsts([*arguments, "-m", "saboteur"])
    return [
        saboteurs.get(file, first) if number % 2 else first
        for number, (file, first) in enumerate(firsts.items())
    ]


def _firsts(arguments: Sequence[str]) -> dict[str, str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    firsts: dict[str, str] = {}
    for line in said.splitlines():
        file, separator, _ = line.partition("::")
        if separator:
            firsts.setdefault(file, line)
    return firsts


def one_round(seed: int, arguments: Sequence[str], *, figures: bool) -> Findings:
    """How every test ended; with `figures` also every check's verdict and what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "junit.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-n", os.environ.get("VIPDRILL_WORKERS", "2")]
        command += ["--vipdrill-time", "virtual", "--vipdrill-seed", str(seed), "--junitxml", str(report)]
        command += ["--vipdrill-artifacts", folder, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or not report.exists():
            raise SystemExit(f"ci/rounds: pytest ended with {done.returncode}: {done.stdout}{done.stderr}")
        found = dict(_ends(report))
        if figures:
            for path in Path(folder).glob("*/cells.json"):
                found.update(_verdicts(path))
        return found


def _ends(report: Path) -> list[tuple[str, str]]:
    """Every test with how it ended, from a JUnit file of our own making."""
    ends = []
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314
        bad = [part.tag for part in case if part.tag in ("failure", "error", "skipped")]
        ends.append((f"{case.get('classname')}::{case.get('name')}", bad[0] if bad else "passed"))
    return ends


def _verdicts(path: Path) -> Findings:
    """Every check of every test: its verdict and its figure."""
    found: Findings = {}
    for cell in json.loads(path.read_text())["cells"]:
        name, copy = f"{cell['test']} {cell['row']} {cell['subject']}", 1
        while name in found:
            copy, name = copy + 1, f"{name} ({copy})"
        found[name] = f"{cell['status']} {cell['measured']}"
    return found


if __name__ == "__main__":
    sys.exit(main())
