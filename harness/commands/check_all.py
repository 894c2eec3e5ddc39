"""Many drills of a user's balancers: what they are, how each ended, how they compare with those before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness import world
from harness.commands.children import EXIT, Child, Ended, Result, run_all, worst
from harness.errors import INTERRUPTED, TestbedError
from harness.late_runs import MOST_RUNS
from harness.repeats import plan

if TYPE_CHECKING:
    from harness.lb.build import Built
    from harness.topology import NodeSpec

FORMAT = 1
NAME = "check.json"
_SIGNS = {"pass": "holds", "fail": "FAILS", "unknown": "unknown", "limitation": "limited"}


@dataclass(frozen=True)
class Batch:
    """What is to be drilled: the files (and those before, if they are to be compared), faults, how often."""

    files: Path
    base: Path | None
    faults: tuple[str, ...]
    options: tuple[str, ...]
    root: Path
    seed: int
    repeat: int
    phase: float | None

    def children(self) -> Iterator[Child]:
        """Every drill; each fault, and either side of a comparison, strikes at the same phases.

        The sides take turns, so that whatever else the machine does meets both alike.
        """
        sides = {"": self.files} if self.base is None else {"base": self.base, "candidate": self.files}
        for number, fault in enumerate(self.faults, 1):
            for one in plan(self.seed, self.repeat, self.phase):
                for side, files in sides.items():
                    folder = self.root / side / f"{number:02}-{_safe(fault)}"
                    words = ("check", "--lb", str(files.absolute()), *self.options, "--fault", fault)
                    words = (*words, "--seed", str(one.seed), "--phase", f"{one.phase:g}")
                    folder = folder / f"{one.number:03}" if self.repeat > 1 else folder
                    yield Child(f"{side} {fault}".strip(), words, folder)


def introduce(built: Built, listed: Sequence[str]) -> None:
    """Tell what was derived from the files, and what was assumed."""
    topology = built.topology
    for role in ("balancer", "member", "router", "client"):
        nodes = [_node(node) for node in topology.nodes if node.role == role]
        if nodes:
            typer.echo(f"{role.capitalize() + 's':<10} {', '.join(nodes)}")
    asked = [
        f"{probe.address}:{probe.port} ({'TLS' if probe.tls else 'HTTP'}, {probe.server_name})"
        for probe in topology.probes
    ]
    typer.echo(f"{'Asked':<10} {', '.join(dict.fromkeys(asked))}")
    for note in built.notes:
        typer.echo(f"{'Note':<10} {note}")
    typer.echo(f"{'Drills':<10} {', '.join(listed)}")


def _node(node: NodeSpec) -> str:
    addresses = [address for interface in node.interfaces for address in interface.addresses]
    return f"{node.name} ({', '.join(addresses) or 'no address'})"


def run(batch: Batch, jobs: int, again: str, json_file: Path | None) -> int:
    """Run them all and tell; the exit code of the worst, or of the comparison."""
    children = list(batch.children())
    jobs = min(jobs, len(children))
    typer.echo(f"\n{len(children)} drills, {jobs} side by side, in {batch.root}")
    ended, interrupted = run_all(children, jobs, _tell, most_runs=MOST_RUNS)
    results = [one.result for one in ended if one.result is not None]
    if batch.base is None:
        _findings(ended)
    if results:
        _write(batch.root / NAME, json_file, results)
    if interrupted:
        typer.echo(f"interrupted after {len(results)} of {len(children)} drills, in {batch.root}", err=True)
        return INTERRUPTED
    if broken := [one.child.name for one in ended if one.result is None]:
        raise TestbedError(f"{len(broken)} of {len(children)} drills broke: {', '.join(broken)}")
    typer.echo(f"\nEvidence  {batch.root}\nAgain     {again}")
    if batch.base is not None:
        from harness.commands.compare import tell

        typer.echo("")
        return tell(batch.root / "base", batch.root / "candidate")
    return EXIT[worst(results)]


def _safe(fault: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in fault)


def _tell(one: Ended) -> None:
    if one.void:
        typer.echo(
            f"  {'void':<8} {one.child.name:<24} {one.void}, which may explain what was seen: run again"
        )
        return
    verdict = "broke" if one.result is None else _SIGNS.get(one.result["verdict"], one.result["verdict"])
    text = one.said if one.result is None else f"{_exactly(one.result)}{one.result['summary']}"
    typer.echo(f"  {verdict:<8} {one.child.name:<24} {text}", err=one.result is None)


def _exactly(result: Result) -> str:
    """The figure of a drill in virtual time, which is the same however often it is run."""
    if result["world"] != world.VIRTUAL:
        return ""
    for key, what in (("takeover_s", "takeover"), ("outage_s", "outage")):
        if result[key] is not None:
            return f"{what} {result[key]:.6f} s; "
    return ""


def _findings(ended: Sequence[Ended]) -> None:
    """Each finding that is no plain pass; the same of several repeats or subjects once."""
    told: dict[tuple[str, str, str], None] = {}
    for one in ended:
        for found in one.result["checks"] if one.result else ():
            if found["verdict"] not in ("pass", "not-applicable"):
                title = f"{found['property']}: {found['aspect']}" if found["aspect"] else found["property"]
                verdict = _SIGNS.get(found["verdict"], found["verdict"])
                told[verdict, f"{one.child.name}: {title}", found["sentence"]] = None
    for verdict, title, sentence in told:
        typer.echo(f"  {verdict:<8} {title}\n  {'':8} {sentence}")


def _write(path: Path, also: Path | None, results: Sequence[Result]) -> None:
    from harness.report.result import write_result

    data = {"format": FORMAT, "verdict": worst(results), "results": list(results)}
    write_result(path, data)
    if also is not None:
        write_result(also, data)
