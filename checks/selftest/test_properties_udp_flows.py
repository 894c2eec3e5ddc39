"""udp-flows on timelines made by hand: a flow moves, is dropped, or stays; and each where it must not."""

from __future__ import annotations

from typing import Any

import pytest

from checks.selftest.directed import DirectorLab, virtual_server
from harness.properties import judge_all
from harness.verdict import Status, Verdict


def flow(
    *after: str, fault: str = "kill", change: str = "del", lines: str = "", at_s: float = 2.5, **options: Any
) -> Verdict | None:
    """m1 is hit at 2 s and out at 2.5 s; what becomes of the flow's datagrams then, by turns, until 5 s.

    Each of `after` is who answered, or how it was lost.
    """
    server = virtual_server(lines=lines).replace("protocol TCP", "protocol UDP")
    lab = DirectorLab(server, options=options)
    lab.takes("lb1", 0.5, 5.0)
    lab.tabled(0.6)
    lab.steady()
    lab.exchanges(1.0, 2.0)
    lab.fault(fault, "m1/resolver", 2.0)
    for step in range(20, 50):
        told = after[step % len(after)] if step / 10 >= at_s else "timeout"
        result = told if told in ("timeout", "refused") else "ok"
        lab.exchange(step / 10, result, member=told)
    lab.tabled(at_s, change, weight=0)
    lab.done(5.6)
    found = judge_all(lab.timeline(), ["udp-flows"])
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize(
    ("after", "given", "status"),
    [
        (("m2",), {"expire_nodest_conn": True}, Status.PASS),
        (("timeout",), {"expire_nodest_conn": True}, Status.FAIL),
        (("m2", "timeout"), {"expire_nodest_conn": True}, Status.FAIL),
        (("timeout",), {}, Status.LIMITATION),
        (("m2",), {}, Status.FAIL),
        (("m1",), {"change": "weight", "fault": "drain"}, Status.LIMITATION),
        (("refused",), {"change": "weight"}, Status.LIMITATION),
        (("m2",), {"change": "weight"}, Status.FAIL),
        (("m2", "m3"), {"change": "weight", "fault": "drain", "lines": "ops"}, Status.PASS),
        (("m1", "m3"), {"change": "weight", "fault": "drain", "lines": "ops"}, Status.FAIL),
    ],
)
def test_what_becomes_of_a_flow(after: tuple[str, ...], given: dict[str, Any], status: Status) -> None:
    found = flow(*after, **given)
    assert found is not None
    assert found.status is status, found.sentence


def test_a_flow_that_is_lost_for_good_is_so_outright() -> None:
    assert (found := flow("timeout"))
    assert found.outright
    assert (found := flow("m1", "refused", change="weight"))
    assert not found.outright


def test_a_member_that_stays_in_the_table_is_no_matter_of_flows() -> None:
    assert flow("m1", at_s=9.0) is None
