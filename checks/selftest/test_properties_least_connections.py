"""distribution by lc and wlc: each connection to who has the least to do, as far as order is known."""

from __future__ import annotations

import pytest

from checks.selftest.directed import SERVICE, DirectorLab, virtual_server
from checks.selftest.pooled import MEMBERS, TARGET
from harness.properties import judge_all
from harness.verdict import Status, Verdict


def asked(scheduler: str, members: str, weights: dict[str, int] | None = None) -> Verdict:
    """The finding where attempts of 2 ms, 60 ms apart, are answered by these members in turn.

    m1 has a long connection from the beginning.
    """
    lab = DirectorLab(virtual_server(scheduler=scheduler, weights=weights))
    lab.takes("lb1", 0.5, 4.0)
    lab.steady(0.6)
    for number in range(30):
        lab.exchange(0.7 + 0.1 * number, member="m1")
    order = members.split()
    counts = {f"{MEMBERS[name]}:6443": [1 if name == "m1" else 0, 0] for name in MEMBERS}
    lab.add(0.95, "ipvs-load", node="lb1", service=SERVICE, members=counts)
    for number in range(45):
        lab.attempt(1.0 + 0.06 * number, order[number % len(order)])
    lab.done(4.0)
    (found,) = [v for v in judge_all(lab.timeline(), ["distribution"]) if v.subject == TARGET]
    return found


def test_who_has_a_long_connection_is_left_out() -> None:
    found = asked("lc", "m2 m3")
    assert (found.aspect, found.status) == ("lb1, least", Status.PASS)


@pytest.mark.parametrize("members", ["m1 m2 m3", "m2"])
def test_turns_and_a_favourite_are_caught(members: str) -> None:
    assert asked("lc", members).status is Status.FAIL


def test_weights_count_for_wlc() -> None:
    weights = {"m1": 1, "m2": 2, "m3": 1}
    assert asked("wlc", "m2 m3 m2", weights).status is Status.PASS
    assert asked("wlc", "m2 m3", weights).status is Status.FAIL
    assert asked("lc", "m2 m3", weights).status is Status.PASS
