"""`vipdrill run`: one drill, from the words of the command line to the verdict; or several of the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from harness import bubble
from harness.commands.arguments import check_json_file, command_again, extra_options
from harness.commands.children import side_by_side
from harness.commands.drill import perform
from harness.commands.stages import prepare
from harness.errors import UsageError
from harness.lab import completion

if TYPE_CHECKING:
    from harness.scenario import Scenario

# What a scenario file says itself.
_OF_THE_FILE = ("fault", "heal", "before", "after", "phase")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)


def run(
    context: typer.Context,
    architecture: Annotated[
        str,
        typer.Argument(
            metavar="ARCHITECTURE|FILE.yaml",
            help="see `vipdrill list`; or a scenario file (docs/scenario.md)",
            autocompletion=completion.drills,
        ),
    ],
    fault: Annotated[
        str, typer.Option(help="FAULT[:TARGET][,KEY=VALUE...], see `vipdrill list`", show_default=False)
    ] = "",
    heal: Annotated[bool, typer.Option(help="heal the fault and watch what follows")] = True,
    seed: Annotated[Optional[int], typer.Option(help="repeat a drill's random choices")] = None,  # noqa: UP045
    suite: Annotated[str, typer.Option(help="Debian release of the node image")] = "trixie",
    rate: Annotated[float, typer.Option(help="new connections per second and client")] = 100.0,
    time: Annotated[str, typer.Option(help="real, or virtual: see docs/virtual-time.md")] = "real",
    kernel: Annotated[str, typer.Option(help="whose kernel nodes run on: auto, host or uml")] = "auto",
    before: Annotated[str, typer.Option(help="watch so long before the fault: 90, 15m, 4h")] = "0",
    after: Annotated[str, typer.Option(help="watch so long before healing")] = "0",
    phase: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="moment of the fault in the advertisement cycle, 0 to 1 [by the seed]"),
    ] = None,
    artifacts: Annotated[Optional[str], typer.Option(help="folder that gets the artifact folder")] = None,  # noqa: UP045
    report: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="write the artifact folder exactly here; it must be new or empty"),
    ] = None,
    json_file: Annotated[Optional[Path], typer.Option("--json", help="also write the result here")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="only the final report")] = False,
    repeat: Annotated[int, typer.Option(help="drills at phases spread over the advertisement cycle")] = 1,
    jobs: Annotated[int, typer.Option(help="so many of them side by side [3 for each CPU; virtual: 1]")] = 0,
    folder_given: Annotated[Optional[Path], typer.Option("--folder", hidden=True)] = None,  # noqa: UP045
) -> None:
    """Build an architecture, inject a fault, and tell what clients saw and for how long.

    Options of the architecture are given like any other: --advert-int 1 --preempt no.  A scenario file has
    several faults, at moments of their own, and what is expected to be found.
    """
    from harness import scenario, session
    from harness.plan import Plan, checked_phase, checked_rate, duration_s, which_world

    told = None
    if scenario.is_file(architecture):
        _refuse_beside_a_file(context)
        told = scenario.read_scenario(Path(architecture))
        seed = told.seed if seed is None else seed
        rate = told.rate if told.rate is not None and not _given(context, "rate") else rate
        virtual = which_world("--time", time) if _given(context, "time") else told.virtual
        plan = told.plan(_chosen(seed), checked_rate(rate), kernel)
    elif not fault:
        raise UsageError(
            f"--fault says what is to happen to {architecture} (`vipdrill list` shows the faults); or give a "
            "scenario file, whose name ends in .yaml"
        )
    else:
        virtual = which_world("--time", time)
        plan = Plan(
            architecture,
            fault,
            extra_options(context.args),
            heal=heal,
            seed=_chosen(seed),
            rate=checked_rate(rate),
            before_s=duration_s("--before", before),
            after_s=duration_s("--after", after),
            phase=checked_phase(phase),
            kernel=kernel,
        )
        plan.check()
    check_json_file(json_file)
    if report is not None and repeat != 1:
        raise UsageError(
            "--report is the folder of one drill; with --repeat, --artifacts is where theirs are put"
        )
    if report is not None:
        session.check_free(report)
    make_stage = prepare(
        plan.topology, session.image(suite), plan.written, virtual=virtual, kernel=plan.kernel
    )
    bubble.enter()
    session.pki_ready()
    if repeat != 1:
        from harness.commands.repeat import run_repeats

        words = ["run", architecture, "--fault", fault, "--heal" if heal else "--no-heal", *context.args]
        words += ["--suite", suite, "--rate", f"{rate:g}", "--time", time, "--kernel", kernel]
        words += ["--before", before, "--after", after]
        most = side_by_side(jobs, virtual=virtual)
        raise typer.Exit(
            run_repeats(words, repeat, most, seed=seed, phase=phase, artifacts=artifacts, json_file=json_file)
        )
    name = f"{architecture}-{fault}" if told is None else told.path.stem
    folder = folder_given or session.folder(report, session.artifacts_root(artifacts), name)
    again = command_again(plan.seed, without=("--report", "--folder"))
    _keep(told, folder)
    expect = {} if told is None else told.expect
    stage = make_stage(plan, folder)
    raise typer.Exit(perform(stage, folder, again, json_file=json_file, quiet=quiet, expect=expect))


def _chosen(seed: int | None) -> int:
    from harness import session

    return session.new_seed() if seed is None else seed


def _given(context: typer.Context, parameter: str) -> bool:
    """Whether an option stands on the command line."""
    source = context.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_beside_a_file(context: typer.Context) -> None:
    """Raise UsageError for what a scenario file says itself, or may not be mixed with it."""
    if _given(context, "repeat"):
        raise UsageError(
            "--repeat is for one fault at every phase of the advertisement cycle; a scenario has moments of "
            "its own; run it with other seeds instead"
        )
    given = [f"--{name}" for name in _OF_THE_FILE if _given(context, name)]
    given += [word for word in context.args if word.startswith("--")] or context.args[:1]
    if given:
        raise UsageError(
            f"{given[0]} and a scenario file do not go together; write it into the file (docs/scenario.md); "
            "beside it there may be --time, --seed, --rate, --suite, --kernel"
        )


def _keep(told: Scenario | None, folder: Path) -> None:
    """A scenario file belongs to the evidence."""
    if told is not None:
        (folder / "scenario.yaml").write_bytes(told.path.read_bytes())
