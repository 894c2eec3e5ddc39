"""The properties that a timeline is judged by: one file each, pure functions from facts to verdicts.

`PROPERTIES` is the registry: a new property is a file with a `judge` function and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.errors import one_of
from harness.properties import client_outage, fail_back, single_owner, vip_migration
from harness.properties.facts import Facts
from harness.timeline import Timeline
from harness.verdict import Verdict

Judge = Callable[[Facts], list[Verdict]]

PROPERTIES: Mapping[str, Judge] = {
    vip_migration.NAME: vip_migration.judge,
    client_outage.NAME: client_outage.judge,
    fail_back.NAME: fail_back.judge,
    single_owner.NAME: single_owner.judge,
}


def judge_all(timeline: Timeline, only: Iterable[str] | None = None) -> list[Verdict]:
    """Judge a timeline by every property, or by those named.

    Raises UsageError for an unknown name, a timeline without a `run` event, or a configuration in it
    that cannot be read.
    """
    names = list(PROPERTIES) if only is None else list(only)
    for name in names:
        if name not in PROPERTIES:
            raise one_of("property", name, list(PROPERTIES))
    facts = Facts.of(timeline)
    return [verdict for name in names for verdict in PROPERTIES[name](facts)]
