"""Swim lanes: what each part of a testbed did, one lane each, on the timeline's one axis.

The same lanes are drawn in the page (`report/html`) and written as a trace (`report/perfetto`).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import UsageError
from harness.properties.facts import Facts
from harness.report.lanes import bounds, clients, health, machine, neighbours, vip, vrrp
from harness.report.lanes.model import Group
from harness.timeline import Timeline
from harness.verdict import Verdict


def lanes_of(timeline: Timeline, verdicts: Sequence[Verdict] = ()) -> list[Group]:
    """All lanes of a run, with the verdicts' bounds marked on them; what it cannot tell has no lane."""
    if timeline.first("run") is None:
        return []
    try:
        facts = Facts.of(timeline)
    except UsageError:
        facts = None
    groups = [
        Group("VIP", vip.lanes(timeline, facts)),
        Group("VRRP on the wire", vrrp.lanes(timeline, facts)),
        Group("Where neighbours believe the VIP to be", neighbours.lanes(timeline)),
        Group("Clients", clients.lanes(timeline)),
        Group("Members, as each balancer sees them", health.lanes(timeline)),
        Group("Hosts and services", machine.lanes(timeline, facts)),
    ]
    return bounds.marked([group for group in groups if group.lanes], verdicts, facts)
