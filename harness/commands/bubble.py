"""`vipdrill bubble`: any command in a bubble, as pytest-xdist's workers on other machines need one."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer


def bubble(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="what to run, after --")],
    suite: Annotated[str, typer.Option(help="Debian release of the node image")] = "trixie",
) -> None:
    """Run a command where testbeds can be built: in private namespaces that end with it.

    For workers of pytest-xdist: --tx 'ssh=HOST//python=vipdrill bubble -- python3'.
    """
    from harness import bubble as bubbles
    from harness import session
    from harness.errors import UsageError

    if shutil.which(command[0]) is None:
        raise UsageError(f"there is no command {command[0]!r}")
    session.image(suite)
    session.pki_ready()
    bubbles.enter(command)
    # Inside of a bubble already: what is asked for is there.
    os.execvp(command[0], command)
