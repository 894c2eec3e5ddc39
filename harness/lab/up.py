"""`vipdrill up`: start a holder, show how it gets on, and leave it when the lab is up."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import TestbedError
from harness.lab.channel import Channel, LabError
from harness.lab.client import checked
from harness.lab.holder import Order, start
from harness.lab.registry import Claim
from harness.report.terminal import LiveView
from harness.timeline import Event

_LOG_BYTES = 2000


def bring_up(order: Order, claim: Claim, *, quiet: bool) -> str:
    """Hold a lab from now on; what is wrong with it though it is up, or ''.

    Raises what the building raised, and KeyboardInterrupt; then nothing is left of the lab.
    """
    process, channel = start(order, claim)
    try:
        with LiveView(quiet=quiet) as view:
            unsteady = _follow(channel, view, claim)
    except BaseException:
        _end(process, channel)
        claim.abandon()
        raise
    # An interrupt meanwhile waits for no end of the holder's, which may have let go already.
    _let_go(channel, claim)
    return unsteady


def _follow(channel: Channel, view: LiveView, claim: Claim) -> str:
    while (message := channel.read()) is not None:
        checked(message)
        if "event" in message:
            view.take(_event(message["event"]))
        elif "up" in message:
            return str(message["unsteady"])
    raise _ended(claim)


def _let_go(channel: Channel, claim: Claim) -> None:
    """Leave the lab, which is up, to itself; until its holder has heard that, it ends with who started it."""
    with suppress(OSError):  # the holder is gone, which the next read tells
        channel.send({"do": "let-go"})
    while (message := channel.read()) is not None:
        if "ok" in checked(message):
            return
    raise _ended(claim)


def _ended(claim: Claim) -> LabError:
    said = (claim.folder / "log").read_bytes()[-_LOG_BYTES:].decode(errors="replace").strip()
    return LabError(f"the lab's holder ended: {said or 'it said nothing'}", TestbedError.exit_code)


def _event(record: dict[str, Any]) -> Event:
    return Event(record.pop("t"), record.pop("kind"), record)


def _end(process: subprocess.Popen[bytes], channel: Channel) -> None:
    """Let the holder end, which it does when nobody waits for it any more; a second interrupt makes it."""
    channel.close()
    try:
        process.wait()
    except KeyboardInterrupt:
        process.kill()
        process.wait()


def folder_of(artifacts: Path, name: str) -> Path:
    """A new artifact folder for a lab."""
    from harness import session

    return session.new_folder(artifacts, f"lab-{name}")
