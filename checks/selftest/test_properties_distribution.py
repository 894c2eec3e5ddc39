"""distribution: the members' shares, by Pearson's chi-square."""

from __future__ import annotations

import math
import random

import pytest

from checks.selftest.pooled import PoolLab, haproxy, nginx
from harness.bounds.chi_square import critical, statistic, tail
from harness.properties import judge_all
from harness.verdict import Status, Verdict


def judge(lab: PoolLab) -> list[Verdict]:
    """The findings."""
    return judge_all(lab.timeline(), ["distribution"])


def served(members: str, text: str = "", proxy: str = "haproxy", to_s: float = 4.0) -> PoolLab:
    """A calm run in which the members are asked in this turn."""
    lab = PoolLab(proxy, text)
    lab.takes("lb1", 0.5, to_s)
    lab.steady()
    lab.asks(1.0, to_s, members)
    lab.done(to_s)
    return lab


class TestChiSquare:
    @pytest.mark.parametrize(
        ("x", "degrees", "probability"),
        [(3.841459, 1, 0.05), (5.991465, 2, 0.05), (18.307038, 10, 0.05), (27.631021, 2, 1e-6)],
    )
    def test_the_tail_is_that_of_the_tables(self, x: float, degrees: int, probability: float) -> None:
        assert tail(x, degrees) == pytest.approx(probability, rel=1e-5)
        assert critical(degrees, probability) == pytest.approx(x, rel=1e-5)

    def test_two_degrees_are_an_exponential(self) -> None:
        for x in (0.1, 1, 5, 40):
            assert tail(x, 2) == pytest.approx(math.exp(-x / 2), rel=1e-9)

    def test_what_must_get_nothing_and_gets_something(self) -> None:
        assert statistic({"a": 9, "b": 1}, {"a": 1.0}) == math.inf


class TestControls:
    def test_in_turn(self) -> None:
        (found,) = judge(served("m1 m2 m3"))
        assert (found.status, found.measured) == (Status.PASS, 0)

    def test_by_weight(self) -> None:
        (found,) = judge(served("m1 m1 m2 m3", haproxy(weights={"m1": 2})))
        assert found.status is Status.PASS

    def test_all_to_the_only_one_that_has_a_weight(self) -> None:
        (found,) = judge(served("m1", haproxy(weights={"m2": 0, "m3": 0})))
        assert (found.status, found.measured) == (Status.PASS, 0)

    @pytest.mark.parametrize("listen", ["7000-7005", "unix:/run/lb.sock"])
    def test_nginx_that_listens_elsewhere_too(self, listen: str) -> None:
        other = f"server {{\nlisten {listen};\nproxy_pass be;\n}}\n"
        text = nginx().replace("server {\n", f"{other}server {{\n")
        (found,) = judge(served("m1 m2 m3", text, "nginx"))
        assert found.status is Status.PASS

    def test_at_random(self) -> None:
        rng = random.Random(1)
        lab = PoolLab(text=haproxy().replace("roundrobin", "random"))
        lab.takes("lb1", 0.5, 4.0)
        for step in range(300):
            lab.attempt(1 + step / 100, rng.choice(["m1", "m2", "m3"]))
        (found,) = judge(lab)
        assert found.status is Status.PASS

    def test_nginx(self) -> None:
        (found,) = judge(served("m1 m2 m3", nginx(), "nginx"))
        assert found.status is Status.PASS

    def test_a_new_configuration_is_judged_apart(self) -> None:
        lab = served("m1 m2 m3")
        text = haproxy(weights={"m1": 2})
        lab.add(4.0, "config", node="lb1", service="haproxy", path="/etc/haproxy/haproxy.cfg", text=text)
        lab.announce("lb1", 4.0, 7.0)
        lab.asks(4.0, 7.0, "m1 m1 m2 m3")
        assert [v.status for v in judge(lab)] == [Status.PASS, Status.PASS]

    def test_a_fault_s_time_is_left_out(self) -> None:
        lab = served("m1 m2 m3", to_s=3.0)
        lab.fault("kill", "m1/master", 3.0)
        lab.asks(3.0, 9.0, "m2 m3")
        (found,) = judge(lab)
        assert found.status is Status.PASS

    @pytest.mark.parametrize("balance", ["source", "leastconn", "first"])
    def test_what_promises_no_share_is_not_judged(self, balance: str) -> None:
        (found,) = judge(served("m1", haproxy().replace("roundrobin", balance)))
        assert found.status is Status.NOT_APPLICABLE

    def test_too_few_to_tell(self) -> None:
        (found,) = judge(served("m1 m2 m3", to_s=1.1))
        assert found.status is Status.NOT_APPLICABLE


class TestSaboteurs:
    @pytest.mark.parametrize("members", ["m1 m2", "m1", "m1 m1 m1 m2 m3", "m1 m1 m2 m2 m3"])
    def test_an_uneven_share(self, members: str) -> None:
        (found,) = judge(served(members, to_s=9.0))
        assert found.status is Status.FAIL

    def test_weights_that_nobody_follows(self) -> None:
        (found,) = judge(served("m1 m2 m3", haproxy(weights={"m1": 3})))
        assert found.status is Status.FAIL

    def test_one_that_is_asked_though_only_another_has_a_weight(self) -> None:
        (found,) = judge(served("m1 m1 m2", haproxy(weights={"m2": 0, "m3": 0})))
        assert found.status is Status.FAIL

    def test_a_member_of_weight_0_that_is_asked(self) -> None:
        (found,) = judge(served("m1 m2 m3", haproxy(weights={"m1": 0})))
        assert found.status is Status.FAIL
