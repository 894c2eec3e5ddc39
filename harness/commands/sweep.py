"""`vipdrill sweep`: the same fault at every phase of the advertisement cycle, in virtual time."""

from __future__ import annotations

import os
from typing import Annotated, Optional

import typer

from harness import bubble
from harness.errors import UsageError, VipdrillError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(sweep)


def sweep(
    context: typer.Context,
    architecture: Annotated[str, typer.Argument(help="see `vipdrill list`")],
    fault: Annotated[str, typer.Option(help="FAULT[:TARGET][,KEY=VALUE...], see `vipdrill list`")],
    step: Annotated[str, typer.Option(help="from one phase to the next: 10ms, 0.05")] = "10ms",
    rate: Annotated[float, typer.Option(help="new connections per second and client")] = 100.0,
    seed: Annotated[Optional[int], typer.Option(help="repeat a sweep exactly")] = None,  # noqa: UP045
    suite: Annotated[str, typer.Option(help="Debian release of the node image")] = "trixie",
    artifacts: Annotated[Optional[str], typer.Option(help="folder that gets the artifact folder")] = None,  # noqa: UP045
) -> None:
    """Show how takeover and outage depend on the phase of the fault, beside what is predicted.

    Options of the architecture are given like any other: --advert-int 1 --vrrp-version 2.
    """
    import topologies
    from harness import faults, session
    from harness.commands.arguments import extra_options
    from harness.plan import Plan, checked_rate, duration_s
    from harness.virtual.stage import VirtualStage, means

    options = extra_options(context.args)
    faults.check(fault, topologies.make(architecture, options))
    step_s = duration_s("--step", step)
    if step_s < 0.001:
        raise UsageError(f"--step must be at least 1ms, not {step}")
    chosen_seed = session.new_seed() if seed is None else seed
    plan = Plan(architecture, fault, options, seed=chosen_seed, rate=checked_rate(rate), sweep_step_s=step_s)
    image = session.image(suite)
    kernel, clock = means(fault)
    bubble.enter()
    from harness.report import sweep as report

    session.pki_ready()
    folder = session.new_folder(session.artifacts_root(artifacts), f"sweep-{architecture}-{fault}")
    stage = VirtualStage(plan, image, kernel, clock, folder)
    try:
        stage.perform(lambda event: None)
    except VipdrillError:
        typer.echo(f"what was seen until then is in {os.path.relpath(folder)}", err=True)
        raise
    found = report.rows(stage.timeline)
    typer.echo(f"{'phase':>9}{'takeover':>11}{'predicted':>11}{'outage':>9}   (seconds; seed {plan.seed})")
    for row in found:
        values = (row.phase_s, row.takeover_s, row.predicted_s, row.outage_s)
        cells = ["-" if value is None else f"{value:.4f}" for value in values]
        typer.echo(f"{cells[0]:>9}{cells[1]:>11}{cells[2]:>11}{cells[3]:>9}")
    missed = [row.missed_s for row in found if row.missed_s is not None]
    if missed:
        typer.echo(f"takeover and prediction differ by {max(missed) * 1e3:.3f} ms at most")
    for path in report.write(found, folder):
        typer.echo(str(path))
