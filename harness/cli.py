"""The `vipdrill` command. Only what a command needs is imported, when it is needed."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from harness import __version__
from harness.commands import gate, lab, lab_use, run, sweep
from harness.errors import INTERRUPTED, CannotWrite, VipdrillError

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure what a load balancer's failover costs, with the bound that its configuration promises.",
)
image_app = typer.Typer(no_args_is_help=True, help="Node images: build, list, remove.")
app.add_typer(image_app, name="image")
run.register(app)


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
            typer.echo(f"      {flag:<18} {option.help}{choices} [{_shown(option.default)}]")
    typer.echo("Faults, written FAULT[:TARGET][,KEY=VALUE...]; how to name a target: docs/faults.md")
    for name in faults.FAULTS:
        fault = faults.find(name)
        first_line = (fault.__doc__ or "").strip().splitlines()[0]
        typer.echo(f"  {name:<18}{first_line} [{fault.default_target or 'the first segment'}]")
        for parameter in fault.parameters:
            typer.echo(f"      {parameter!s:<18} {parameter.help} ({parameter.allowed})")


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


@app.command()
def analyze(
    folder: Annotated[Path, typer.Argument(help="an artifact folder of an earlier run")],
    against: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="another run's folder: write comparison.html of the two"),
    ] = None,
) -> None:
    """Judge a saved run again, say what has changed since, and write its page anew."""
    from harness.report.analyze import analyze as analyze_folder
    from harness.report.terminal import print_analysis
    from harness.report.views import write_again

    analysis = analyze_folder(folder)
    other = None if against is None else analyze_folder(against)
    analysis.problems.extend(write_again(analysis))
    print_analysis(analysis)
    if other is not None:
        from harness.report.views import write_both

        typer.echo(f"Compared with {against} in {write_both(analysis, other)}")


@image_app.command("build")
def image_build(
    suite: Annotated[str, typer.Argument(help="trixie, bookworm, sid, or kernel")] = "trixie",
) -> None:
    """Build a node image, or the kernel for nodes that have their own, or find that it is there."""
    from harness.image import store
    from harness.image.kernel import KernelSpec
    from harness.image.progress import Display
    from harness.image.spec import ImageSpec

    spec = KernelSpec() if suite == "kernel" else ImageSpec(suite)
    with Display(f"{spec.title} {spec.key}") as progress:
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
        named = ("keepalived", "haproxy", "user-mode-linux")
        versions = " ".join(f"{n} {info.packages[n]}" for n in named if n in info.packages)
        typer.echo(f"{info.key:<24}{info.size_bytes / 1e6:>8.0f} MB  {versions}")


@image_app.command("rm")
def image_rm(key: Annotated[str, typer.Argument(help="as `vipdrill image ls` shows it")]) -> None:
    """Remove a node image."""
    from harness.image import store

    store.remove(key)
    typer.echo(f"removed {key}")


sweep.register(app)
gate.register(app)
lab.register(app)
lab_use.register(app)


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
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise
        typer.echo(f"vipdrill: {CannotWrite(error.filename or 'a file of this run', error)}", err=True)
        sys.exit(CannotWrite.exit_code)
