"""director-start: who is in the IPVS table of a director that has just started, and from when."""

from __future__ import annotations

import pytest

from checks.directors import QUICK, deceive
from checks.judging import Judge, must_catch, must_hold
from harness.drill import Drill


def started_anew(drill: Drill, old: str = "", new: str = "") -> None:
    """A member is dead for good; then the standby director's keepalived starts, perhaps by another file."""
    drill.steady()
    if old:
        deceive(drill, old, new, directors="lb2")
    drill.strike("kill:m1")
    drill.watch(1.0)
    drill.strike("restart:lb2/keepalived,pause_s=0.3")
    drill.watch(3.0)
    drill.finish()


@pytest.mark.testbed("vip-l4", **QUICK)
def test_without_alpha_a_dead_member_is_in_the_table_until_its_checks_fail(
    drill: Drill, judge: Judge
) -> None:
    started_anew(drill)
    must_hold(judge(), "director-start: taken out")


@pytest.mark.parametrize("testbed", [{"check": "ssl"}, {"check": "tcp"}], indirect=True, ids=str)
@pytest.mark.testbed("vip-l4", alpha=True, **QUICK)
def test_with_alpha_a_dead_member_never_comes_in(drill: Drill, judge: Judge) -> None:
    started_anew(drill)
    must_hold(judge(), "director-start: kept out", "director-start: let in")


@pytest.mark.testbed("vip-l4", warmup=1.0, **QUICK)
def test_warmup_keeps_a_dead_member_longer(drill: Drill, judge: Judge) -> None:
    """The first check comes at random within it."""
    started_anew(drill)
    must_hold(judge(), "director-start: taken out")


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l4", alpha=True, **QUICK)
def test_members_that_are_well_come_in_after_their_first_check(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.finish()
    must_hold(judge(), "director-start: let in")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", alpha=True, **QUICK)
def test_a_director_without_alpha_is_caught(drill: Drill, judge: Judge) -> None:
    """keepalived really takes everybody for well at its start."""
    started_anew(drill, "alpha", "#")
    must_catch(judge(), "director-start", "kept out")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l4", **QUICK)
def test_a_director_that_warms_up_too_long_is_caught(drill: Drill, judge: Judge) -> None:
    """keepalived really waits up to a minute with its first checks."""
    started_anew(drill, "warmup 0", "warmup 60")
    must_catch(judge(), "director-start", "taken out")
