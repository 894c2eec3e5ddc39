"""self-client: whether the nodes behind and below the VIP reach it."""

from __future__ import annotations

from checks.selftest.pooled import PoolLab
from harness.properties import judge_all
from harness.verdict import Status, Verdict


def judge(lab: PoolLab) -> dict[str, Verdict]:
    """The findings by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), ["self-client"])}


def asked(*clients: str, owner: str = "lb1") -> PoolLab:
    """A calm run in which these nodes ask."""
    lab = PoolLab()
    lab.takes(owner, 0.5, 4.0)
    lab.steady()
    for client in clients:
        lab.asks(1.0, 3.0, client=client)
    lab.done(4.0)
    return lab


class TestControls:
    def test_members_and_balancers_are_judged_by_what_they_are(self) -> None:
        found = judge(asked("m1", "lb1", "lb2", "cl"))
        assert set(found) == {"member", "holder", "standby"}
        assert {v.status for v in found.values()} == {Status.PASS}
        assert "by itself" in found["member"].sentence

    def test_what_a_fault_costs_is_not_counted(self) -> None:
        lab = asked("m1")
        lab.fault("kill", "lb1/keepalived", 3.1, 3.5)
        lab.attempt(3.2, None, client="m1")
        assert judge(lab)["member"].status is Status.PASS

    def test_nobody_asks_where_no_node_of_the_balanced_is_a_client(self) -> None:
        assert judge(asked("cl")) == {}


class TestSaboteurs:
    def test_a_lost_attempt_of_each(self) -> None:
        for client, aspect in (("m1", "member"), ("lb1", "holder"), ("lb2", "standby")):
            lab = asked(client)
            lab.attempt(2.505, None, client=client, result="refused")
            assert judge(lab)[aspect].status is Status.FAIL

    def test_a_node_that_asked_only_during_the_fault_is_unknown(self) -> None:
        lab = asked()
        lab.fault("kill", "lb1/keepalived", 2.0)
        lab.attempt(2.5, "m2", client="m1")
        assert judge(lab)["member"].status is Status.UNKNOWN

    def test_a_testbed_that_stood_still_is_unknown(self) -> None:
        lab = asked("m1")
        lab.attempt(2.505, None, client="m1")
        lab.lag(3.0, 0.5, "lb1/haproxy")
        assert judge(lab)["member"].status is Status.UNKNOWN
