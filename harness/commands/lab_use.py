"""What is done with a live lab: `exec`, `shell`, `logs`, `pcap`, `fault`, `heal`, `probe` (docs/lab.md)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from harness.commands.lab import LabOption
from harness.lab import completion

if TYPE_CHECKING:
    from harness.lab.channel import Message
    from harness.lab.client import Client

Node = Annotated[str, typer.Argument(help="a node of the lab", autocompletion=completion.nodes)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("exec")(exec_)
    app.command()(shell)
    app.command()(logs)
    app.command()(pcap)
    app.command()(fault)
    app.command()(heal)
    app.command()(probe)


def exec_(
    node: Node,
    command: Annotated[list[str], typer.Argument(help="the command, after `--`", metavar="-- COMMAND")],
    lab: LabOption = None,
) -> None:
    """Run a command in a node, on your own streams; exits as it does (128 and the signal, if by one)."""
    raise typer.Exit(_run(lab, node, command))


def shell(node: Node, lab: LabOption = None) -> None:
    """A shell in a node. Ctrl-C there is for what runs there; the lab is never harmed."""
    from harness.errors import UsageError
    from harness.lab import registry

    info = registry.choose(lab)
    if info.node(node)["own_kernel"]:
        raise UsageError(
            f"{node} has a kernel of its own, which no terminal reaches; "
            f"see `vipdrill exec {node} -- COMMAND`"
        )
    raise typer.Exit(_run(lab, node, ["bash"]))


def _run(lab: str | None, node: str, command: list[str], output: int = 1) -> int:
    from harness import bubble
    from harness.lab import registry, terminal
    from harness.lab.client import Client

    bubble.open_standard_streams()
    info = registry.choose(lab)
    reached = not info.node(node)["own_kernel"]
    with Client(info) as client:
        return terminal.run(client, node, command, output=output, terminal=reached)


def logs(
    place: Annotated[
        str, typer.Argument(help="NODE or NODE/SERVICE; all, if not given", autocompletion=completion.places)
    ] = "",
    lab: LabOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on as more comes, until Ctrl-C")] = False,
    tail: Annotated[Optional[int], typer.Option(min=0, help="only the last lines of each log")] = None,  # noqa: UP045
) -> None:
    """What the services of a lab say."""
    from harness.lab import logs as library
    from harness.lab import registry
    from harness.lab.client import Client

    info = registry.choose(lab)
    found = library.find(info, place)
    library.show(found, tail, typer.echo)
    if not follow:
        return
    sys.stdout.flush()
    with Client(info) as client:
        library.follow(found, client.fileno(), typer.echo)
    typer.echo(f"the lab {info.name} has ended", err=True)


def pcap(
    place: Annotated[
        str,
        typer.Argument(
            help="NODE:INTERFACE, or a NODE that has only one", autocompletion=completion.interfaces
        ),
    ],
    filter_: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="which packets, after `--`: see pcap-filter(7)", metavar="-- FILTER"),
    ] = None,
    lab: LabOption = None,
    write: Annotated[Optional[Path], typer.Option("--write", "-w", help="a file, instead of stdout")] = None,  # noqa: UP045
) -> None:
    """The packets of an interface, by the node's own tcpdump, until Ctrl-C.

    Live in Wireshark: `vipdrill pcap lb1:eth0 | wireshark -k -i -`
    """
    from harness.errors import UsageError
    from harness.lab import registry

    node, interface = _interface(lab, place)
    if write is None and os.isatty(1):
        raise UsageError(
            f"packets are not for a terminal: `vipdrill pcap {place} -w FILE`, or `| wireshark -k -i -`"
        )
    argv = ["tcpdump", "-i", interface, "-U", "--immediate-mode", "--time-stamp-precision=nano", "-Z", "root"]
    argv += ["-w", "-", *(filter_ or ())]
    # The name must not change its meaning while the command runs.
    name = registry.choose(lab).name
    if write is None:
        raise typer.Exit(_run(name, node, argv, output=_duplicate(1)))
    try:
        output = os.open(write, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"cannot write {write}: {error.strerror}") from None
    raise typer.Exit(_run(name, node, argv, output=output))


def _duplicate(fd: int) -> int:
    """The same stream under another number, so that it is not taken for a terminal's."""
    return os.dup(fd)


def _interface(lab: str | None, place: str) -> tuple[str, str]:
    from harness.errors import one_of
    from harness.lab import registry

    node, _, interface = place.partition(":")
    known = [str(i["name"]) for i in registry.choose(lab).node(node)["interfaces"]]
    if not interface and len(known) == 1:
        return node, known[0]
    if interface not in [*known, "lo", "any"]:
        raise one_of(f"interface of {node}", interface, [*known, "lo", "any"])
    return node, interface


def fault(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FAULT",
            help="FAULT[:TARGET][,KEY=VALUE...], see `vipdrill list`",
            autocompletion=completion.faults,
        ),
    ],
    lab: LabOption = None,
    for_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--for", help="heal it after so long (10s, 500ms, 2m), or at Ctrl-C before"),
    ] = None,
) -> None:
    """Let something go wrong in a lab, and tell its id: it acts until `vipdrill heal ID`, or for a while."""
    from harness.lab import registry
    from harness.lab.amounts import seconds
    from harness.lab.client import Client

    for_s = None if for_ is None else seconds(for_, "--for")
    with Client(registry.choose(lab)) as client:
        told = client.ask("fault", fault=what, for_s=for_s)
        if for_s is None:
            typer.echo(f"{told['id']} acts on {told['target']} until `vipdrill heal {told['id']}`")
            return
        try:
            typer.echo(f"{told['id']} acts on {told['target']} for {for_}; Ctrl-C heals it before")
            message = _healed(client)
        except KeyboardInterrupt:
            client.send({"do": "heal", "which": [told["id"]]})
            message = _healed(client)
        typer.echo(f"{message['healed']} is healed; it acted for {message['acted_s']:.3f} s")


def _healed(client: Client) -> Message:
    from harness.lab.client import checked

    while (message := client.read()) is not None:
        if "healed" in checked(message):
            return message
    raise client.gone()


def heal(
    which: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(
            metavar="[ID|FAULT|all]...", help="the only one, if not given", autocompletion=completion.acting
        ),
    ] = None,
    lab: LabOption = None,
) -> None:
    """Heal faults that act in a lab: by id, by the fault's name, or all."""
    from harness.lab import registry
    from harness.lab.client import Client, checked

    with Client(registry.choose(lab)) as client:
        client.send({"do": "heal", "which": which or []})
        while (message := client.read()) is not None:
            if "healed" in checked(message):
                typer.echo(f"{message['healed']} is healed; it acted for {message['acted_s']:.3f} s")
            elif "ok" in message:
                return
        raise client.gone()


def probe(
    lab: LabOption = None,
    for_: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--for", help="from now on for so long, instead of the last 5 s"),
    ] = None,
) -> None:
    """What a lab's clients see: answered, lost, how long it takes, who answers."""
    from harness.lab import registry
    from harness.lab.amounts import seconds
    from harness.lab.client import Client
    from harness.lab.fortunes import collect, table

    for_s = None if for_ is None else seconds(for_, "--for")
    info = registry.choose(lab)
    clients = [name for name, node in info.nodes.items() if node["role"] == "client"]
    with Client(info) as client:
        events = collect(client, for_s)
    for line in table(events, clients):
        typer.echo(line)
