"""The commands of the gate: whether a change may be merged."""

from __future__ import annotations

import typer

from harness.commands import bubble, check, compare, merge


def register(app: typer.Typer) -> None:
    """Add them."""
    app.command("bubble", context_settings={"ignore_unknown_options": True})(bubble.bubble)
    app.command("check")(check.check)
    app.command("compare")(compare.compare)
    app.command("merge")(merge.merge)
