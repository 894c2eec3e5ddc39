"""What the checks say of a drill that has ended: its verdicts must pass, or a named one must fail."""

from __future__ import annotations

from harness.drill import Drill
from harness.errors import CheckFailed
from harness.properties import judge_all
from harness.verdict import Status, Verdict


def drilled(drill: Drill, fault: str, *, heal: bool = True) -> list[Verdict]:
    """Run a whole drill and judge it by every property."""
    drill.run(fault, heal=heal)
    return judge_all(drill.testbed.recorder.timeline)


def must_hold(verdicts: list[Verdict], *properties: str) -> None:
    """Every verdict of these properties passes, and each of them was judged at all."""
    for name in properties:
        judged = [verdict for verdict in verdicts if verdict.property == name]
        if not any(verdict.status in (Status.PASS, Status.FAIL, Status.UNKNOWN) for verdict in judged):
            raise CheckFailed(f"{name} was not judged: {[v.sentence for v in judged]}")
        for verdict in judged:
            verdict.check()


def must_catch(verdicts: list[Verdict], name: str, aspect: str | None = None) -> Verdict:
    """The saboteur was caught: a verdict of this property (and aspect) fails. Returns it."""
    judged = [v for v in verdicts if v.property == name and (aspect is None or v.aspect == aspect)]
    for verdict in judged:
        if verdict.status is Status.FAIL:
            return verdict
    said = "\n".join(verdict.text() for verdict in judged) or "it was not judged"
    raise CheckFailed(f"the saboteur was not caught by {name} {aspect or ''}:\n{said}")
