"""What the checks say of a drill that has ended: its verdicts must pass, or a named one must fail."""

from __future__ import annotations

from collections.abc import Callable

from harness.errors import CheckFailed
from harness.verdict import Status, Verdict

Judge = Callable[[], list[Verdict]]
"""The `judge` fixture: judges the drill so far by every property."""


def must_hold(verdicts: list[Verdict], *properties: str) -> None:
    """Every verdict of these properties passes, and each of them was judged at all.

    A property is named as a whole, or with one of its aspects (`flow-survival: reconnect`).
    """
    for name in properties:
        judged = [verdict for verdict in verdicts if name in (verdict.property, verdict.title())]
        if all(verdict.status is Status.NOT_APPLICABLE for verdict in judged):
            raise CheckFailed(f"{name} was not judged: {[v.sentence for v in judged]}")
        for verdict in judged:
            if verdict.status is Status.LIMITATION:
                raise CheckFailed(verdict.text())
            verdict.check()


def must_be_limited(verdicts: list[Verdict], name: str) -> Verdict:
    """The property does not hold, by a limitation that the run proves; nothing of it fails. Returns it."""
    judged = [verdict for verdict in verdicts if name in (verdict.property, verdict.title())]
    for verdict in judged:
        verdict.check()
    for verdict in judged:
        if verdict.status is Status.LIMITATION:
            return verdict
    said = "\n".join(verdict.text() for verdict in judged) or "it was not judged"
    raise CheckFailed(f"no limitation of {name} was proven:\n{said}")


def must_catch(verdicts: list[Verdict], name: str, aspect: str | None = None) -> Verdict:
    """The saboteur was caught: a verdict of this property (and aspect) fails. Returns it."""
    judged = [v for v in verdicts if v.property == name and (aspect is None or v.aspect == aspect)]
    for verdict in judged:
        if verdict.status is Status.FAIL:
            return verdict
    for verdict in judged:
        if verdict.status is Status.UNKNOWN:
            verdict.check()
    said = "\n".join(verdict.text() for verdict in judged) or "it was not judged"
    raise CheckFailed(f"the saboteur was not caught by {name} {aspect or ''}:\n{said}")
