"""Verdicts: what a judge found, against what bound, and the evidence that decided it.

A bound is missed by less than the resolution of VRRP's timers: that is within it.  Missed by no more
than the lateness that the harness measured on itself meanwhile: `unknown`, as the testbed may be to
blame.  Missed by more, to either side: `fail`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from harness.bounds.bound import RESOLUTION_S, Bound, number
from harness.errors import CheckFailed, TestbedError
from harness.timeline import Event


class Status(enum.Enum):
    """What a judge says.  LIMITATION: it does not hold, as the architecture cannot, and the run proves it."""

    PASS = "pass"  # noqa: S105 -- a verdict
    FAIL = "fail"
    UNKNOWN = "unknown"
    LIMITATION = "limitation"
    NOT_APPLICABLE = "not-applicable"


# The worst first: what a set of verdicts amounts to.
_ORDER = (Status.FAIL, Status.UNKNOWN, Status.LIMITATION, Status.PASS, Status.NOT_APPLICABLE)
_ROUNDING = 1e-6


class Inconclusive(TestbedError):
    """The run cannot decide a check: the testbed itself was too late, or ended too early."""

    def __init__(self, text: str, verdict: Verdict | None = None) -> None:
        self.verdict = verdict
        super().__init__(text)


@dataclass(frozen=True)
class Verdict:
    """One finding. `aspect` tells apart the questions of one property, `subject` what it is about.

    Evidence is events, shown with their time relative to `origin_ns`, and plain sentences.  `fault` is
    the id of the fault that was judged.  `outright` marks a limitation that left clients without service
    for as long as the fault lasted.
    """

    property: str
    status: Status
    sentence: str
    measured: float | None = None
    bound: Bound | None = None
    unit: str = "s"
    evidence: tuple[Event | str, ...] = ()
    aspect: str = ""
    subject: str = ""
    origin_ns: int | None = field(default=None, compare=False)
    fault: str = field(default="", compare=False)
    outright: bool = False

    def title(self) -> str:
        """The property with the aspect that is judged."""
        return f"{self.property}: {self.aspect}" if self.aspect else self.property

    def text(self) -> str:
        """The finding for a person: one sentence, measured and bound, the reason, the evidence."""
        lines = [f"{self.status.value.upper()} {self.title()}: {self.sentence}"]
        if self.measured is not None:
            lines.append(f"  measured {number(self.measured)} {self.unit}")
        if self.bound is not None:
            lines.append(f"  bound    {self.bound}")
            lines.append(f"  because  {self.bound.source}")
        if self.evidence:
            since = "" if self.origin_ns is None else " (seconds from the fault)"
            lines.append(f"  evidence{since}")
            lines += [f"    {describe(item, self.origin_ns)}" for item in self.evidence]
        return "\n".join(lines)

    def check(self) -> None:
        """Raise CheckFailed for a failure and Inconclusive for an unknown; otherwise do nothing."""
        if self.status is Status.FAIL:
            raise CheckFailed(self.text(), self)
        if self.status is Status.UNKNOWN:
            raise Inconclusive(self.text(), self)

    def to_json(self) -> dict[str, Any]:
        """The finding as it stands under `checks` in the file of `--json`."""
        bound = None
        if self.bound is not None:
            bound = {"low": _finite(self.bound.low), "high": _finite(self.bound.high)}
        return {
            "property": self.property,
            "aspect": self.aspect,
            "subject": self.subject,
            "verdict": self.status.value,
            "measured": _finite(self.measured),
            "bound": bound,
            "unit": self.unit,
            "sentence": self.sentence,
        }


def weigh(
    measured: float, bound: Bound, lag_s: float = 0.0, resolution: float = RESOLUTION_S
) -> tuple[Status, str]:
    """Whether a value is within a bound, and in words how far it is off.

    `lag_s` is the harness's own lateness while the value was measured.
    """
    excess = bound.excess(measured)
    # Timers count in microseconds, so what is less is the rounding of the arithmetic here.
    if abs(excess) < _ROUNDING:
        return Status.PASS, "within the bound"
    side = "above the highest" if excess > 0 else "below the lowest"
    if bound.unit == "s":
        side = "later than the latest" if excess > 0 else "earlier than the earliest"
    words = f"{number(max(abs(excess), 0.0001))} {bound.unit} {side}"
    beyond = abs(excess) - resolution - _ROUNDING
    if beyond <= 0:
        return (
            Status.PASS,
            f"within the bound and the resolution of {number(resolution)} {bound.unit} ({words})",
        )
    if beyond <= lag_s:
        return Status.UNKNOWN, f"{words}, which the testbed's own lateness of {number(lag_s)} s may explain"
    return Status.FAIL, words


def worst(verdicts: Iterable[Verdict]) -> Status:
    """What these findings amount to: fail before unknown before pass; nothing at all is not applicable.

    A limitation comes before a pass where it is outright; any other is the architecture's known price.
    """
    listed = list(verdicts)
    found = {verdict.status for verdict in listed}
    if Status.PASS in found and not any(verdict.outright for verdict in listed):
        found.discard(Status.LIMITATION)
    return next((status for status in _ORDER if status in found), Status.NOT_APPLICABLE)


def check_all(verdicts: Iterable[Verdict]) -> None:
    """Raise for the worst of these, with the text of every one that is as bad; do nothing if all is well."""
    listed = list(verdicts)
    status = worst(listed)
    if status not in (Status.FAIL, Status.UNKNOWN):
        return
    text = "\n\n".join(verdict.text() for verdict in listed if verdict.status is status)
    raise CheckFailed(text) if status is Status.FAIL else Inconclusive(text)


def describe(item: Event | str, origin_ns: int | None = None) -> str:
    """A piece of evidence as one line, with its time relative to `origin_ns` where there is one."""
    if isinstance(item, str):
        return f"{'':10} {item}"
    seconds = (item.t - (origin_ns or 0)) / 1e9
    return f"{seconds:+10.4f} {_words(item)}"


def _words(event: Event) -> str:
    teller = _TELL.get(event.kind)
    return teller(event) if teller else repr(event)


def _advert(event: Event) -> str:
    said = "priority 0: I am leaving" if event.priority == 0 else f"priority {event.priority}"
    bad = f", discarded by receivers: {event.bad}" if event.get("bad") else ""
    return f"{event.node}: VRRP advert, VRID {event.vrid}, {said}{bad}"


def _arp(event: Event) -> str:
    kind = "gratuitous ARP" if event.gratuitous else f"ARP {event.op}"
    return f"{event.node}: {kind}, {event.sender_ip} is at {event.sender_mac}"


def _table_change(event: Event) -> str:
    what = f"{event.member} of {event.service}" if event.get("member") else event.service
    if event.change == "weight":
        return f"{what} has weight {event.weight}"
    return f"{what} {'added' if event.change == 'add' else 'removed'}"


def _probe(event: Event) -> str:
    taken = (event.end - event.t) / 1e9
    by = f" by {event.member}" if event.member else ""
    return f"{event.client}: attempt {event.seq} to {event.target}: {event.result}{by} after {taken:.4f} s"


_TELL: dict[str, Callable[[Event], str]] = {
    "vrrp": _advert,
    "arp": _arp,
    "probe": _probe,
    "fault": lambda event: f"fault {event.fault} on {event.target}: {event.state}",
    "address": lambda event: (
        f"{event.node}: {event.address} {'added to' if event.change == 'add' else 'removed from'} "
        f"{event.interface}"
    ),
    "link": lambda event: f"{event.node}: {event.interface} {'up' if event.up else 'down'}",
    "service": lambda event: f"{event.node}: {event.service} {event.state}",
    "node": lambda event: f"{event.node}: {event.state}",
    "phase": lambda event: f"phase {event.name}",
    "lag": lambda event: f"{event.source}: {event.lag_ns / 1e9:.4f} s late",
    "ipvs": lambda event: f"{event.node}: IPVS {_table_change(event)}",
    "icmp": lambda event: f"{event.node}: ICMP to {event.dst}, {event.what}, MTU {event.mtu}: {event.about}",
    "packet": lambda event: (
        f"{event.node}: {event.what} from {event.src} to {event.dst}, sent to {event.get('to', '?')}"
    ),
    "note": lambda event: str(event.text),
}


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else round(value, 6)
