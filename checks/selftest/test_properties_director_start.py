"""director-start: who is in the table of a director that has just started, and from when."""

from __future__ import annotations

import pytest

from checks.selftest.directed import CHECK, SERVICE, DirectorLab, virtual_server
from harness.properties import judge_all
from harness.verdict import Status, Verdict

ILL = "10.0.0.21:6443"


def judge(lab: DirectorLab) -> dict[tuple[str, str], Verdict]:
    """The findings by aspect and member."""
    return {(v.aspect, v.subject.split()[0]): v for v in judge_all(lab.timeline(), ["director-start"])}


def started(
    lines: str = "warmup 0", *, out_s: float | None = None, in_s: float = 0.0, ill_in: bool = True
) -> DirectorLab:
    """lb1 starts at 3 s, a second after m1 has died; m2 and m3 come into its table so long after that.

    m1 comes at once, if it does, and leaves so long after the start.
    """
    lab = DirectorLab(virtual_server(CHECK, lines=lines))
    lab.takes("lb1", 0.5, 12.0)
    lab.steady()
    lab.fault("kill", "m1/master", 2.0)
    lab.add(3.0, "ipvs", node="lb1", service=SERVICE, change="add", scheduler="rr")
    if ill_in:
        lab.tabled(3.0)
    if out_s is not None:
        lab.tabled(3.0 + out_s, "del")
    for member in ("m2", "m3"):
        lab.tabled(3.0 + in_s, member=member)
    lab.done(12.0)
    return lab


class TestWithoutAlpha:
    @pytest.mark.parametrize(
        ("out_s", "status"), [(1.0, Status.PASS), (0.9, Status.FAIL), (1.1, Status.FAIL)]
    )
    def test_a_dead_member_leaves_with_the_first_check_that_fails(self, out_s: float, status: Status) -> None:
        found = judge(started(out_s=out_s))
        assert {key: v.status for key, v in found.items()} == {("taken out", "m1"): status}

    def test_warmup_is_time_more(self) -> None:
        assert judge(started("warmup 3", out_s=3.9))["taken out", "m1"].status is Status.PASS
        assert judge(started("warmup 3", out_s=4.2))["taken out", "m1"].status is Status.FAIL

    def test_one_that_stays_is_caught(self) -> None:
        assert judge(started())["taken out", "m1"].status is Status.FAIL

    def test_one_of_weight_0_is_in_without_getting_any(self) -> None:
        lab = DirectorLab(virtual_server(CHECK, lines="warmup 0", scheduler="wrr", weights={"m2": 0}))
        lab.takes("lb1", 0.5, 12.0)
        lab.add(3.0, "ipvs", node="lb1", service=SERVICE, change="add", scheduler="wrr")
        for member in ("m1", "m2", "m3"):
            lab.tabled(3.0, member=member, weight=0 if member == "m2" else 1)
        lab.done(12.0)
        assert not judge(lab)

    def test_one_that_is_well_and_late_is_caught(self) -> None:
        assert judge(started(out_s=1.0, in_s=1.5))["let in", "lb1,"].status is Status.FAIL


class TestWithAlpha:
    LINES = "warmup 0\nalpha"

    def test_a_dead_member_stays_outside(self) -> None:
        found = judge(started(self.LINES, ill_in=False, in_s=1.1))
        assert found["kept out", "m1"].status is Status.PASS
        assert found["let in", "lb1,"].status is Status.PASS

    def test_one_that_comes_in_is_caught(self) -> None:
        assert judge(started(self.LINES, in_s=1.1))["kept out", "m1"].status is Status.FAIL

    @pytest.mark.parametrize("in_s", [0.5, 2.0])
    def test_too_early_and_too_late_are_caught(self, in_s: float) -> None:
        assert judge(started(self.LINES, ill_in=False, in_s=in_s))["let in", "lb1,"].status is Status.FAIL


def test_where_a_sorry_server_stands_in_nothing_is_said() -> None:
    assert judge(started("warmup 0\nsorry_server 10.0.0.99 6443", out_s=9.0)) == {}
