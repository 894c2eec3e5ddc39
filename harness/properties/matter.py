"""What a verdict is about, said once: a judge adds what it found."""

from __future__ import annotations

from dataclasses import dataclass

from harness.bounds.bound import Bound
from harness.properties.facts import Facts, FaultSpan
from harness.timeline import Event
from harness.verdict import Status, Verdict


@dataclass(frozen=True)
class Matter:
    """One aspect of a property, of one subject; under one fault (its id), or over the whole run.

    Evidence is told relative to `origin_ns`.  `unit` is that of a value which has no bound.
    """

    property: str
    subject: str
    aspect: str = ""
    origin_ns: int | None = None
    fault: str = ""
    unit: str = "s"

    @classmethod
    def of_fault(cls, name: str, fault: FaultSpan, subject: str, aspect: str = "", unit: str = "s") -> Matter:
        """What a property says of a subject under a fault."""
        return cls(name, subject, aspect, fault.inject_ns, fault.id, unit)

    @classmethod
    def of_run(cls, name: str, facts: Facts, subject: str, aspect: str = "", unit: str = "s") -> Matter:
        """What a property says of a subject over the whole run, told relative to its first fault."""
        origin_ns = facts.faults[0].inject_ns if facts.faults else None
        return cls(name, subject, aspect, origin_ns, unit=unit)

    def verdict(
        self,
        status: Status,
        sentence: str,
        measured: float | None = None,
        bound: Bound | None = None,
        evidence: tuple[Event | str, ...] = (),
        *,
        outright: bool = False,
    ) -> Verdict:
        """What was found of it."""
        return Verdict(
            property=self.property,
            status=status,
            sentence=sentence,
            measured=measured,
            bound=bound,
            unit=self.unit if bound is None else bound.unit,
            evidence=evidence,
            aspect=self.aspect,
            subject=self.subject,
            origin_ns=self.origin_ns,
            fault=self.fault,
            outright=outright,
        )
