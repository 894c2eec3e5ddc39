"""configured-table on timelines made by hand: what is missing, what is too much, and what a check may do."""

from __future__ import annotations

import pytest

from checks.selftest.directed import CHECK, SERVICE, DirectorLab, virtual_server
from checks.selftest.pooled import MEMBERS
from checks.selftest.synthetic import VIP
from harness.properties import judge_all
from harness.verdict import Status, Verdict

AGAIN = f"real_server {MEMBERS['m1']} %d {{\n{CHECK}\n}}\n"


def lab(lines: str = "", members: str = "m1 m2 m3", *, method: str = "DR", check: str = CHECK) -> DirectorLab:
    """lb1 has these members in its table, and is steady at 1 s."""
    made = DirectorLab(virtual_server(check, method, lines))
    made.takes("lb1", 0.5, 6.0)
    made.add(0.6, "ipvs", node="lb1", service=SERVICE, change="add", scheduler="rr")
    for member in members.split():
        made.tabled(0.6, member=member)
    made.steady()
    return made


def entry(made: DirectorLab, member: str, service: str = SERVICE) -> None:
    """lb1 has another member in its table."""
    made.add(0.6, "ipvs", node="lb1", service=service, change="add", member=member, weight=1, forward="")


def judge(made: DirectorLab) -> dict[str, Verdict]:
    """The findings by aspect."""
    made.done(6.0)
    return {v.aspect: v for v in judge_all(made.timeline(), ["configured-table"])}


def test_a_table_that_is_as_the_file_says() -> None:
    assert judge(lab())["steady"].status is Status.PASS


def test_a_member_that_never_came_is_missed() -> None:
    found = judge(lab(members="m1 m3"))["steady"]
    assert found.status is Status.FAIL
    assert f"{MEMBERS['m2']}:6443 of {SERVICE} is not in it" in found.sentence


def test_one_that_a_check_took_out_before_is_another_s_matter() -> None:
    made = lab()
    made.tabled(0.8, "del", "m2")
    assert judge(made)["steady"].status is Status.PASS


def test_one_that_waits_for_its_first_check_is_too() -> None:
    assert judge(lab(members="m1 m3", lines="alpha"))["steady"].status is Status.PASS


def test_what_the_file_does_not_know_is_too_much() -> None:
    made = lab()
    entry(made, "10.0.0.99:6443")
    assert judge(made)["steady"].status is Status.FAIL


def test_a_sorry_server_is_not() -> None:
    made = lab("sorry_server 10.0.0.99 6443")
    entry(made, "10.0.0.99:6443")
    assert judge(made)["steady"].status is Status.PASS


@pytest.mark.parametrize(("method", "status"), [("DR", Status.FAIL), ("NAT", Status.PASS)])
def test_two_ports_have_one_place_without_nat(method: str, status: Status) -> None:
    made = lab(AGAIN % 6444, method=method)
    if method == "NAT":
        entry(made, f"{MEMBERS['m1']}:6444")
    assert judge(made)["steady"].status is status


class TestReload:
    def reloaded(self, *, out: str = "", ill: str = "", at_s: float = 3.0) -> Verdict | None:
        """lb1 is reloaded at 3 s; a member leaves its table at some time."""
        made = lab()
        if ill:
            made.fault("kill", f"{ill}/master", 2.0)
        if out:
            made.tabled(at_s, "del", out)
        made.fault("reload", "lb1/keepalived", 3.0)
        return judge(made).get("reload")

    def test_nothing_changes(self) -> None:
        assert (found := self.reloaded())
        assert found.status is Status.PASS

    @pytest.mark.parametrize("at_s", [2.9, 3.5])
    def test_who_was_taken_out_before_or_by_it_is_missed(self, at_s: float) -> None:
        assert (found := self.reloaded(out="m2", at_s=at_s))
        assert found.status is Status.FAIL

    def test_but_not_who_is_ill(self) -> None:
        assert (found := self.reloaded(out="m2", ill="m2"))
        assert found.status is Status.PASS

    def test_nor_whose_check_may_have_failed_by_lateness(self) -> None:
        made = lab()
        made.fault("reload", "lb1/keepalived", 3.0)
        made.tabled(3.5, "del", "m2")
        made.lag(3.45, 0.6, "lb1/kernel")
        assert judge(made)["reload"].status is Status.UNKNOWN

    def test_what_was_in_the_table_before_a_crash_is_not_after_it(self) -> None:
        made = lab()
        made.add(2.0, "node", node="lb1", state="crashed")
        made.add(2.5, "ipvs", node="lb1", service=SERVICE, change="add", scheduler="rr")
        for member in ("m1", "m3"):
            made.tabled(2.5, member=member)
        made.fault("reload", "lb1/keepalived", 3.0)
        assert judge(made)["reload"].status is Status.FAIL


def test_ipv6_addresses_are_the_same_however_they_are_written() -> None:
    real = "real_server fd00::1 53 {\n}\n"
    text = f"virtual_server fd00::64 53 {{\nprotocol UDP\nlvs_sched rr\nlvs_method NAT\n{real}}}\n"
    made = DirectorLab(text)
    made.takes("lb1", 0.5, 6.0)
    service = "UDP [fd00:0000:0000:0000:0000:0000:0000:0064]:53"
    made.add(0.6, "ipvs", node="lb1", service=service, change="add", scheduler="rr")
    entry(made, "[fd00:0000:0000:0000:0000:0000:0000:0001]:53", service)
    made.steady()
    assert judge(made)["steady"].status is Status.PASS


def test_a_director_without_virtual_servers_is_not_judged() -> None:
    made = DirectorLab(f"# {VIP}\n")
    made.takes("lb1", 0.5, 6.0)
    made.steady()
    assert judge(made) == {}
