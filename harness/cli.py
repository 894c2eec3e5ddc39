"""The `vipdrill` command. Only what a command needs is imported, when it is needed."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from harness import __version__, bubble
from harness.errors import UsageError, VipdrillError

if TYPE_CHECKING:
    from harness.timeline import Timeline
    from harness.verdict import Verdict

UNDECIDED, LIMITED = 4, 5
INTERRUPTED = 130

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure what a load balancer's failover costs, with the bound that its configuration promises.",
)
image_app = typer.Typer(no_args_is_help=True, help="Node images: build, list, remove.")
app.add_typer(image_app, name="image")


@app.command("list")
def list_() -> None:
    """Architectures with their options, and faults."""
    import topologies
    from harness import faults

    typer.echo("Architectures (vipdrill run ARCHITECTURE --fault FAULT)")
    for name in topologies.ARCHITECTURES:
        architecture = topologies.find(name)
        typer.echo(f"  {name:<14}{architecture.SUMMARY}")
        for option in architecture.OPTIONS:
            flag = "--" + option.names[0].replace("_", "-")
            choices = f" ({', '.join(map(str, option.choices))})" if option.choices else ""
            typer.echo(f"      {flag:<18}{option.help}{choices} [{_shown(option.default)}]")
    typer.echo("Faults, written FAULT[:TARGET][,KEY=VALUE...]; how to name a target: docs/faults.md")
    for name in faults.FAULTS:
        fault = faults.find(name)
        first_line = (fault.__doc__ or "").strip().splitlines()[0]
        typer.echo(f"  {name:<18}{first_line} [{fault.default_target or 'the first segment'}]")
        for parameter in fault.parameters:
            typer.echo(f"      {parameter!s:<18}{parameter.help} ({parameter.allowed})")


def _shown(value: Any) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


@app.command()
def doctor() -> None:
    """What this machine can and cannot do, and what to do about it."""
    from harness import doctor as examination

    findings = examination.examine()
    for finding in findings:
        typer.echo(finding.line())
    raise typer.Exit(0 if all(finding.ok for finding in findings if finding.required) else 1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    architecture: Annotated[str, typer.Argument(help="see `vipdrill list`")],
    fault: Annotated[str, typer.Option(help="FAULT[:TARGET][,KEY=VALUE...], see `vipdrill list`")],
    heal: Annotated[bool, typer.Option(help="heal the fault and watch what follows")] = True,
    seed: Annotated[Optional[int], typer.Option(help="repeat a drill's random choices")] = None,  # noqa: UP045
    suite: Annotated[str, typer.Option(help="Debian release of the node image")] = "trixie",
    rate: Annotated[float, typer.Option(help="new connections per second and client")] = 100.0,
    artifacts: Annotated[Optional[str], typer.Option(help="folder that gets the artifact folder")] = None,  # noqa: UP045
    json_file: Annotated[Optional[Path], typer.Option("--json", help="also write the result here")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="only the final report")] = False,
) -> None:
    """Build an architecture, inject a fault, and tell what clients saw and for how long.

    Options of the architecture are given like any other: --advert-int 1 --preempt no.
    """
    import topologies
    from harness import faults, session

    options = _extra_options(context.args)
    topology = topologies.make(architecture, options)
    faults.check(fault)
    if not 0 < rate <= 2000:
        raise UsageError(f"--rate must be above 0 and at most 2000 per second, not {rate:g}")
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise UsageError(f"--json: there is no folder {json_file.absolute().parent}")
    image = session.image(suite)
    bubble.enter()
    from harness.report.terminal import LiveView, print_report

    session.pki_ready()
    chosen_seed = session.new_seed() if seed is None else seed
    folder = session.new_folder(session.artifacts_root(artifacts), f"{architecture}-{fault}")
    again = _command_again(chosen_seed)
    from harness.drill import Drill
    from harness.testbed import Testbed

    testbed = Testbed(
        topology, image.rootfs, folder, seed=chosen_seed, versions=image.versions, probe_rate=rate
    )
    view = LiveView(quiet=quiet)
    testbed.recorder.listeners.append(view.take)
    try:
        with view, testbed:
            Drill(testbed).run(fault, heal=heal)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what was seen until then is in {folder}", err=True)
        _conclude(testbed.recorder.timeline, folder, again, None)
        raise typer.Exit(INTERRUPTED) from None
    except VipdrillError:
        typer.echo(f"what was seen until then is in {folder}", err=True)
        raise
    timeline = testbed.recorder.timeline
    verdicts = _conclude(timeline, folder, again, json_file)
    print_report(timeline, verdicts, folder, again)
    from harness.report.headline import outcome
    from harness.verdict import Status

    exit_codes = {Status.PASS: 0, Status.FAIL: 1, Status.LIMITATION: LIMITED}
    raise typer.Exit(exit_codes.get(outcome(verdicts), UNDECIDED))


def _conclude(timeline: Timeline, folder: Path, again: str, json_file: Path | None) -> list[Verdict]:
    """Judge, and write what the artifact folder lacks."""
    from harness.properties import judge_all
    from harness.report.evidence import write_artifacts

    # A run that ended before its testbed was described has nothing to be judged.
    verdicts = judge_all(timeline) if timeline.first("run") else []
    write_artifacts(folder, timeline, verdicts, again, also=json_file)
    return verdicts


def _command_again(seed: int) -> str:
    words = ["vipdrill", *sys.argv[1:]]
    return shlex.join(words if "--seed" in words else [*words, "--seed", str(seed)])


def _extra_options(words: list[str]) -> dict[str, str | bool]:
    """`--advert-int 1 --preempt=no --opaque` as {"advert_int": "1", "preempt": "no", "opaque": True}."""
    options: dict[str, str | bool] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UsageError(
                f"unexpected argument {word!r}; options of the architecture are given as --NAME VALUE"
            )
        name, equals, value = word[2:].partition("=")
        bare = not equals and (not rest or rest[0].startswith("--"))
        if not equals and not bare:
            value = rest.pop(0)
        options[name.replace("-", "_")] = bare or value
    return options


@app.command()
def analyze(
    folder: Annotated[Path, typer.Argument(help="an artifact folder of an earlier run")],
) -> None:
    """Judge a saved run again, and say what has changed since."""
    from harness.report.analyze import analyze as analyze_folder
    from harness.report.terminal import print_analysis

    print_analysis(analyze_folder(folder))


@image_app.command("build")
def image_build(
    suite: Annotated[str, typer.Argument(help="Debian release: trixie, bookworm or sid")] = "trixie",
) -> None:
    """Build a node image, or find that it is there."""
    from harness.image import store
    from harness.image.progress import Display
    from harness.image.spec import ImageSpec

    spec = ImageSpec(suite)
    with Display(f"node image {spec.key}") as progress:
        path = store.ensure(spec, progress)
    typer.echo(f"{path.name} is ready in {path}")


@image_app.command("ls")
def image_ls() -> None:
    """The node images that are there."""
    from harness.image import store

    images = store.list_images()
    if not images:
        typer.echo("no image is built yet; `vipdrill image build` makes one")
    for info in images:
        versions = " ".join(
            f"{n} {info.packages[n]}" for n in ("keepalived", "haproxy") if n in info.packages
        )
        typer.echo(f"{info.key:<24}{info.size_bytes / 1e6:>8.0f} MB  {versions}")


@image_app.command("rm")
def image_rm(key: Annotated[str, typer.Argument(help="as `vipdrill image ls` shows it")]) -> None:
    """Remove a node image."""
    from harness.image import store

    store.remove(key)
    typer.echo(f"removed {key}")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"vipdrill {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry of the console script: a user's mistake is one sentence and exit code 2, never a traceback."""
    try:
        app(standalone_mode=True)
    except VipdrillError as error:
        typer.echo(f"vipdrill: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os._exit(141)
