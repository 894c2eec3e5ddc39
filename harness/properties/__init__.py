"""The properties that a timeline is judged by: one file each, pure functions from facts to verdicts.

`PROPERTIES` is the registry: a new property is a file with a `judge` function and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.errors import one_of
from harness.properties import (
    arp_hygiene,
    client_outage,
    configured_table,
    coverage,
    director_start,
    distribution,
    entangled,
    fail_back,
    flow_survival,
    maintenance,
    member_removal,
    quorum,
    self_client,
    service_tracking,
    single_owner,
    udp_flows,
    vip_migration,
)
from harness.properties.facts import Facts
from harness.timeline import Timeline
from harness.verdict import Verdict

Judge = Callable[[Facts], list[Verdict]]

PROPERTIES: Mapping[str, Judge] = {
    vip_migration.NAME: vip_migration.judge,
    client_outage.NAME: client_outage.judge,
    fail_back.NAME: fail_back.judge,
    single_owner.NAME: single_owner.judge,
    service_tracking.NAME: service_tracking.judge,
    member_removal.NAME: member_removal.judge,
    self_client.NAME: self_client.judge,
    flow_survival.NAME: flow_survival.judge,
    udp_flows.NAME: udp_flows.judge,
    maintenance.NAME: maintenance.judge,
    distribution.NAME: distribution.judge,
    quorum.NAME: quorum.judge,
    director_start.NAME: director_start.judge,
    arp_hygiene.NAME: arp_hygiene.judge,
    configured_table.NAME: configured_table.judge,
}


def judge_all(timeline: Timeline, only: Iterable[str] | None = None) -> list[Verdict]:
    """Judge a timeline by every property, or by those named; by all, a fault that none judged is unknown.

    Raises UsageError for an unknown name, a timeline without a `run` event, or a configuration in it
    that cannot be read.
    """
    names = list(PROPERTIES) if only is None else list(only)
    for name in names:
        if name not in PROPERTIES:
            raise one_of("property", name, list(PROPERTIES))
    facts = Facts.of(timeline)
    verdicts = entangled.disentangled(facts, (v for name in names for v in PROPERTIES[name](facts)))
    return verdicts if only is not None else [*verdicts, *coverage.unjudged(facts, verdicts)]
