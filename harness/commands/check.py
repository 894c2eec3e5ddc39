"""`vipdrill check`: the drills that apply to a user's own balancers, by their files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

MOST = 1000
# Of virtual time, unless another one is given: so that the figures of two runs can be compared.
EXACT_SEED = 1


def check(
    lb: Annotated[Path, typer.Option(help="folder with a folder for each balancer, laid out as on its disk")],
    base: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="such a folder as it was before: drill both by turns, and compare them"),
    ] = None,
    fault: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="this drill only (may be given several times) [all that apply]"),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="only tell what would be done, and what was assumed")
    ] = False,
    heal: Annotated[bool, typer.Option(help="heal each fault and watch what follows")] = True,
    seed: Annotated[Optional[int], typer.Option(help="repeat the drills' random choices")] = None,  # noqa: UP045
    suite: Annotated[str, typer.Option(help="Debian release of the node image")] = "trixie",
    rate: Annotated[float, typer.Option(help="new connections per second and client")] = 50.0,
    time: Annotated[str, typer.Option(help="real, or virtual: one exact figure for each drill")] = "real",
    repeat: Annotated[int, typer.Option(help="each drill so often, as a comparison needs it")] = 1,
    phase: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="moment of the fault in the advertisement cycle, 0 to 1 [by the seed]"),
    ] = None,
    jobs: Annotated[int, typer.Option(help="so many drills side by side [3 for each CPU; virtual: 1]")] = 0,
    artifacts: Annotated[Optional[str], typer.Option(help="folder that gets the artifact folder")] = None,  # noqa: UP045
    json_file: Annotated[Optional[Path], typer.Option("--json", help="also write the results here")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="of one drill: only the final report")] = False,
    folder: Annotated[Optional[Path], typer.Option(hidden=True)] = None,  # noqa: UP045
) -> None:
    """Drill your own keepalived, HAProxy and Nginx files, verbatim: DIR/lb1/etc/keepalived/keepalived.conf, …

    Members, routers and clients are fakes at the addresses that the files name.  What the files cannot tell
    may stand in DIR/vipdrill.yaml (docs/check.md).  Exit codes are those of `vipdrill run`, of the worst;
    with --base those of `vipdrill compare`.
    """
    from harness import bubble, faults, session
    from harness.commands import check_all, children
    from harness.commands.arguments import check_json_file, command_again
    from harness.commands.drill import perform
    from harness.commands.stages import prepare
    from harness.errors import UsageError
    from harness.lb import build as building
    from harness.lb import plan as planning
    from harness.plan import Plan, checked_phase, checked_rate, which_world

    virtual = which_world("--time", time)
    checked_rate(rate)
    checked_phase(phase)
    if not 1 <= repeat <= MOST:
        raise UsageError(f"--repeat takes 1 to {MOST}, not {repeat}")
    check_json_file(json_file)
    image = session.image(suite)
    built = building.build(lb, image.rootfs)
    if base is not None:
        building.build(base, image.rootfs)
    for one in fault or ():
        faults.check(one, built.topology)
    listed = list(fault or planning.faults(built))
    if folder is None and (plan or bubble.inside()):
        check_all.introduce(built, listed)
    if plan:
        return
    make_stage = prepare(built.topology, image, listed, virtual=virtual)
    bubble.enter()
    session.pki_ready()
    chosen = seed
    if chosen is None:
        chosen = EXACT_SEED if virtual else session.new_seed()
    again = command_again(chosen, without=("--folder",))
    if len(listed) > 1 or repeat > 1 or base is not None:
        given = ("--heal" if heal else "--no-heal", "--suite", suite, "--rate", f"{rate:g}", "--time", time)
        root = session.new_folder(session.artifacts_root(artifacts), "lb")
        batch = check_all.Batch(lb, base, tuple(listed), given, root, chosen, repeat, phase)
        side_by_side = children.side_by_side(jobs, virtual=virtual)
        raise typer.Exit(check_all.run(batch, side_by_side, again, json_file))
    place = folder or session.new_folder(session.artifacts_root(artifacts), f"lb-{listed[0]}")
    one_drill = Plan("lb", listed[0], heal=heal, seed=chosen, rate=rate, phase=phase)
    raise typer.Exit(perform(make_stage(one_drill, place), place, again, json_file=json_file, quiet=quiet))
