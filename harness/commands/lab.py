"""The live lab's own life: `up`, `ps`, `graph`, `watch`, `down`. See docs/lab.md."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from harness.errors import INTERRUPTED, VipdrillError
from harness.lab import completion

if TYPE_CHECKING:
    from harness.lab.registry import LabInfo

LabOption = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--lab", "-n", envvar="VIPDRILL_LAB", help="which lab; the only one if there is one",
        autocompletion=completion.labs,
    ),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(up)
    app.command()(ps)
    app.command()(watch)
    app.command()(graph)
    app.command()(down)


def up(
    context: typer.Context,
    architecture: Annotated[
        str, typer.Argument(help="see `vipdrill list`", autocompletion=completion.architectures)
    ],
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--name", "-n", help="the lab's name; by default the architecture's, numbered if need be"
        ),
    ] = None,
    seed: Annotated[Optional[int], typer.Option(help="repeat random choices")] = None,  # noqa: UP045
    suite: Annotated[str, typer.Option(help="Debian release of the node image")] = "trixie",
    kernel: Annotated[str, typer.Option(help="whose kernel nodes run on: auto, host or uml")] = "auto",
    rate: Annotated[float, typer.Option(help="new connections per second and client")] = 10.0,
    capture: Annotated[bool, typer.Option(help="write what passes on the segments to disk")] = True,
    artifacts: Annotated[Optional[str], typer.Option(help="folder that gets the artifact folder")] = None,  # noqa: UP045
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="only errors")] = False,
) -> None:
    """Build an architecture and keep it up as a lab, until `vipdrill down`.

    Options of the architecture are given like any other: --advert-int 1 --preempt no.
    """
    import topologies
    from harness import session
    from harness.commands.arguments import command_again, extra_options
    from harness.kernel import ladder
    from harness.lab import registry
    from harness.lab.holder import Order
    from harness.lab.up import bring_up, folder_of
    from harness.plan import checked_rate

    options = extra_options(context.args)
    choice = ladder.choose(topologies.make(architecture, options), kernel)
    checked_rate(rate)
    # Held until the holder holds it too.
    image = session.image(suite)
    own = session.kernel() if choice.own_kernels else None
    session.pki_ready()
    claim = registry.claim(name) if name else registry.free_name(architecture)
    chosen_seed = session.new_seed() if seed is None else seed
    order = Order(
        name=claim.name,
        architecture=architecture,
        options=options,
        suite=suite,
        kernel=kernel,
        seed=chosen_seed,
        rate=rate,
        capture=capture,
        artifacts=str(folder_of(session.artifacts_root(artifacts), claim.name)),
        again=command_again(chosen_seed),
    )
    try:
        unsteady = bring_up(order, claim, quiet=quiet)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; what was seen until then is in {order.artifacts}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    del image, own
    if unsteady:
        typer.echo(f"vipdrill: the lab {claim.name} is up, but does not serve: {unsteady}", err=True)
    if not quiet:
        _introduce(claim.name)


def _introduce(name: str) -> None:
    from harness.lab import registry

    several = len(registry.running()) > 1
    which = f" -n {name}" if several else ""
    typer.echo(f"The lab {name} is up, until `vipdrill down{f' {name}' if several else ''}`.")
    for command, what in (
        (f"watch{which}", "see it live"),
        (f"shell{which} lb1", "a shell in a node; `exec NODE -- COMMAND` for one command"),
        (f"fault{which} host-crash --for 10s", "let something go wrong for a while"),
    ):
        typer.echo(f"  vipdrill {command:<36}{what}")


def ps() -> None:
    """The labs that are up, who owns their VIPs, and which faults act."""
    from harness.lab import registry

    labs = registry.running()
    if not labs:
        typer.echo(registry.NO_LAB)
    for info in labs:
        for line in _lines_of(info):
            typer.echo(line)


def _lines_of(info: LabInfo) -> list[str]:
    import time

    from harness.errors import VipdrillError
    from harness.lab.amounts import spoken

    head = f"{info.name:<20}{info.architecture:<14}"
    try:
        status = _status(info)
    except VipdrillError as error:
        return [f"{head}{error}"]
    owners = "; ".join(f"{vip} on {' and '.join(nodes) or 'nobody'}" for vip, nodes in _held(status))
    lines = [f"{head}up {spoken(time.time() - info.started_s):<12}{owners}", f"{'':<20}{info.artifacts}"]
    lines += [
        f"{'':<20}{fault['id']} of {fault['target']} acts for {spoken(fault['for_s'])}"
        for fault in status["faults"]
    ]
    return lines


def _status(info: LabInfo) -> dict[str, Any]:
    from harness.lab.client import Client

    with Client(info) as client:
        told: dict[str, Any] = client.ask("status")
        return told


def _held(status: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Each VIP and the nodes that have it."""
    return [(vip, status["holders"].get(vip, [])) for vip in status["vips"]]


def watch(lab: LabOption = None) -> None:
    """A lab live: VIP owner, nodes, health, how clients fare, what happens; Ctrl-C leaves it."""
    from harness.lab import registry
    from harness.lab.client import Client
    from harness.lab.watch import watch as show

    info = registry.choose(lab)
    with Client(info) as client:
        try:
            show(client)
        except KeyboardInterrupt:
            return
    typer.echo(f"the lab {info.name} has ended")


def graph(
    lab: LabOption = None,
    dot: Annotated[
        bool, typer.Option("--dot", help="for Graphviz: `vipdrill graph --dot | dot -Tsvg`")
    ] = False,
) -> None:
    """The drawing of a lab: segments, nodes, services, and who has the VIP now."""
    from harness.lab import registry
    from harness.lab.drawing import Drawing
    from harness.report.lines import spelled

    info = registry.choose(lab)
    drawing = Drawing(info, _status(info))
    for line in drawing.dot() if dot else drawing.text():
        typer.echo(spelled(line, sys.stdout.encoding))


def down(
    names: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="which labs; the only one if there is one", autocompletion=completion.labs),
    ] = None,
    lab: LabOption = None,
    all_: Annotated[bool, typer.Option("--all", help="every lab")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="kill it, if it does not listen; no result is written")
    ] = False,
) -> None:
    """End a lab: write its result and evidence, and wait until all of it is gone."""
    from harness.lab import registry
    from harness.lab.down import end, kill

    labs = registry.running() if all_ else [registry.choose(name) for name in names or (lab,)]
    if not labs:
        typer.echo(registry.NO_LAB)
    failed = 0
    for info in {info.name: info for info in labs}.values():
        if force:
            kill(info)
            typer.echo(f"The lab {info.name} is gone; what was seen until then is in {info.artifacts}")
            continue
        try:
            told = end(info)
        except VipdrillError as error:  # the others are ended all the same
            typer.echo(f"vipdrill: {error}", err=True)
            failed = error.exit_code
            continue
        typer.echo(f"The lab {info.name} is down. {told['headline']}")
        typer.echo(f"  evidence  {told['artifacts']}")
        typer.echo(f"  judge     vipdrill analyze {shlex.quote(told['artifacts'])}")
    if failed:
        raise typer.Exit(failed)
