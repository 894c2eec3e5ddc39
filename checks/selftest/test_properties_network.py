"""Faults of the network: who hears whom, who has the address meanwhile, and what neighbours believe after."""

from __future__ import annotations

import pytest

from checks.selftest.pooled import PoolLab, nginx
from checks.selftest.synthetic import Lab
from harness.properties import judge_all
from harness.verdict import Status, Verdict, worst

TAKEN_S, HEAL_S, END_S = 2.36485, 4.0, 6.0
HALVES = "shape=halves: lb2+cl hears no lb1; lb1 hears no cl+lb2"


def judge(lab: Lab, name: str) -> dict[str, Verdict]:
    """The findings of one property by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), [name])}


def split(
    fault: str = "vrrp-drop",
    target: str = "lb2",
    detail: str = "direction=in",
    *,
    lab: Lab | None = None,
    taken_s: float | None = TAKEN_S,
    over_s: float = HEAL_S + 0.05,
    told_s: float | None = HEAL_S + 0.051,
) -> Lab:
    """lb2 does not hear lb1 from 2.03 to 4.0 s; both announce until lb2 gives way, and lb1 tells so."""
    lab = lab or Lab()
    lab.takes("lb1", 0.5, END_S)
    lab.fault(fault, target, 2.03, HEAL_S, detail)
    if taken_s is not None:
        lab.takes("lb2", taken_s, over_s)
        lab.address("lb2", over_s, "del")
    if told_s is not None:
        lab.garp("lb1", told_s)
    lab.probes(0.6, END_S)
    lab.add(END_S, "phase", name="done")
    return lab


def hidden(target: str, *, beside: bool = True) -> Lab:
    """VRRP is dropped at one balancer both ways: its adverts are seen by nobody, its address is."""
    lab = Lab()
    owner_to_s = 2.05 if target == "lb1" else END_S
    lab.takes("lb1", 0.5, owner_to_s)
    lab.fault("vrrp-drop", target, 2.03, HEAL_S, "direction=both")
    if target == "lb1":
        lab.takes("lb2", TAKEN_S, HEAL_S + 0.02)
        lab.announce("lb1", HEAL_S + 0.02, END_S)
        if not beside:
            lab.address("lb1", 2.04, "del")
    elif beside:
        lab.address("lb2", TAKEN_S)
    lab.address("lb2", HEAL_S + 0.02, "del")
    lab.garp("lb1", HEAL_S + 0.021)
    lab.add(END_S, "phase", name="done")
    return lab


class TestTwoOwners:
    def test_who_does_not_hear_the_owner_takes_over_beside_it(self) -> None:
        lab = split()
        assert judge(lab, "vip-migration")["takeover"].status is Status.PASS
        two = judge(lab, "single-owner")["two"]
        assert (two.status, two.outright) == (Status.LIMITATION, True)
        assert "no quorum" in two.sentence
        assert worst(judge_all(lab.timeline())) is Status.LIMITATION

    def test_but_not_after_it_hears_it_again(self) -> None:
        assert judge(split(over_s=HEAL_S + 0.5), "single-owner")["two"].status is Status.FAIL

    def test_nor_without_a_fault(self) -> None:
        lab = split(fault="drain", target="m1")
        assert judge(lab, "single-owner")["two"].status is Status.FAIL

    def test_a_deaf_backup_that_does_nothing_is_caught(self) -> None:
        assert judge(split(taken_s=None), "vip-migration")["takeover"].status is Status.FAIL

    @pytest.mark.parametrize("late_s", [-0.15, 0.15])
    def test_a_deaf_backup_that_is_early_or_late_is_caught(self, late_s: float) -> None:
        assert judge(split(taken_s=TAKEN_S + late_s), "vip-migration")["timer"].status is Status.FAIL

    def test_an_advert_from_while_the_fault_was_put_in_force_may_have_been_heard(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, END_S)
        lab.fault("vrrp-drop", "lb2", 2.03, HEAL_S, "direction=in", late=0.08)
        lab.takes("lb2", TAKEN_S + 0.1, HEAL_S)
        found = judge(lab, "vip-migration")
        assert (found["takeover"].status, found["timer"].status) == (Status.PASS, Status.PASS)

    @pytest.mark.parametrize("target", ["lb1", "lb2"])
    def test_an_owner_that_nobody_hears_has_the_address_all_the_same(self, target: str) -> None:
        two = judge(hidden(target), "single-owner")["two"]
        assert two.status is Status.LIMITATION
        assert "two nodes had" in two.sentence
        assert judge(hidden(target, beside=False), "single-owner")["two"].status is Status.PASS

    def test_a_backup_that_nobody_hears_is_not_waited_for(self) -> None:
        assert judge(hidden("lb2"), "vip-migration")["takeover"].status is Status.PASS

    def test_what_a_backup_behind_a_blocked_port_does_concerns_nobody(self) -> None:
        lab = split("link-blocked", "lb2", "", taken_s=None, told_s=None)
        assert worst(judge_all(lab.timeline())) is Status.PASS

    @pytest.mark.parametrize(("gone_s", "status"), [(2.6, Status.PASS), (2.7, Status.FAIL)])
    def test_who_has_the_address_in_silence_is_an_owner(self, gone_s: float, status: Status) -> None:
        lab = Lab()
        lab.takes("lb2", 0.5, 2.5)
        lab.takes("lb1", 2.5, END_S)
        lab.address("lb2", gone_s, "del")
        lab.advert("lb2", 2.499)
        found = judge(lab, "single-owner")["two"]
        assert found.status is status
        assert ("without announcing it" in found.sentence) == (status is Status.FAIL)

    @pytest.mark.parametrize("fault", ["kill", "freeze"])
    def test_unless_a_fault_left_it_there(self, fault: str) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault(fault, "lb1/keepalived" if fault == "kill" else "lb1", 2.03)
        lab.takes("lb2", TAKEN_S, END_S)
        assert judge(lab, "single-owner")["two"].status is Status.PASS

    def test_two_owners_by_chance_losses_are_no_failure(self) -> None:
        lab = split("loss", "lb2", "percent=30", over_s=2.7)
        found = judge(lab, "single-owner")["two"]
        assert (found.status, found.outright) == (Status.LIMITATION, False)
        assert "nothing is promised" in found.sentence


class TestNeighbours:
    def judge(self, lab: Lab) -> Verdict | None:
        """Whether neighbours were told after the healing."""
        return judge(lab, "fail-back").get("gratuitous ARP")

    def test_told_at_once(self) -> None:
        found = self.judge(split())
        assert found is not None
        assert found.status is Status.PASS

    def test_told_by_nobody(self) -> None:
        found = self.judge(split(told_s=None))
        assert found is not None
        assert found.status is Status.FAIL
        assert "vrrp_garp_master_refresh" in found.sentence
        assert found.sentence.startswith("cl heard last from lb2")

    def test_told_too_late(self) -> None:
        found = self.judge(split(told_s=HEAL_S + 0.8))
        assert found is not None
        assert found.status is Status.FAIL

    def test_told_by_a_refresh(self) -> None:
        lab = Lab(instance={"lb1": "garp_master_delay 1\n garp_master_refresh 1"})
        found = self.judge(split(lab=lab, told_s=HEAL_S + 0.8))
        assert found is not None
        assert found.status is Status.PASS

    def test_a_refresh_that_may_come_yet(self) -> None:
        lab = Lab(instance={"lb1": "garp_master_refresh 60"})
        found = self.judge(split(lab=lab, told_s=None))
        assert found is not None
        assert found.status is Status.UNKNOWN

    def test_who_never_heard_the_other_need_not_be_told(self) -> None:
        lab = split("partition", "front", "shape=halves: lb2 hears no lb1+cl; cl hears no lb2", told_s=None)
        assert self.judge(lab) is None

    def test_an_owner_that_starts_anew_must_tell_as_well(self) -> None:
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03, HEAL_S)
        lab.takes("lb2", TAKEN_S, 4.4)
        lab.announce("lb1", 4.4, END_S)
        lab.add(END_S, "phase", name="done")
        found = self.judge(lab)
        assert found is not None
        assert found.status is Status.FAIL


class TestClients:
    def unserved(self, to_s: float = HEAL_S) -> Verdict:
        """Nothing reaches the owner, which goes on announcing itself; clients are served again at `to_s`."""
        lab = Lab()
        lab.takes("lb1", 0.5, END_S)
        lab.fault("link-oneway", "lb1", 2.03, HEAL_S, "lost=in")
        lab.probes(0.6, END_S, (2.03, to_s))
        lab.add(END_S, "phase", name="done")
        return judge(lab, "client-outage")["outage"]

    def test_an_owner_that_serves_nobody_is_a_limitation(self) -> None:
        found = self.unserved()
        assert (found.status, found.outright) == (Status.LIMITATION, True)

    def test_unless_it_was_over_before_the_fault(self) -> None:
        assert self.unserved(3.0).status is Status.NOT_APPLICABLE

    def healing(self, lost_s: float, instance: str = "", *, back: bool = True) -> Verdict:
        """lb1 crashes and comes back; clients lose their attempts for so long when it does."""
        lab = Lab(instance={"lb1": instance})
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1", 2.03, HEAL_S)
        lab.takes("lb2", TAKEN_S, 4.4 if back else END_S)
        if back:
            lab.takes("lb1", 4.4, END_S)
        lab.probes(0.6, HEAL_S, (2.03, TAKEN_S + 0.002))
        lab.probes(HEAL_S, END_S, (4.4, 4.4 + lost_s))
        lab.add(END_S, "phase", name="done")
        return judge(lab, "client-outage")["healing"]

    def test_a_return_costs_no_more_than_an_advertisement(self) -> None:
        assert self.healing(0.05).status is Status.PASS

    def test_a_second_outage_is_caught(self) -> None:
        assert self.healing(0.5).status is Status.FAIL

    def test_who_stays_away_costs_nothing(self) -> None:
        assert self.healing(0.0, "nopreempt", back=False).status is Status.PASS
        assert self.healing(0.03, "nopreempt", back=False).status is Status.FAIL

    def returned(self, lost_s: float, fault_s: float) -> Verdict:
        """lb1's link is down for so long, and its members do not answer it at once when it is back."""
        lab = PoolLab()
        back_s = 2.03 + fault_s + 0.36094
        lab.takes("lb1", 0.5, 2.05)
        lab.steady()
        lab.fault("link-down", "lb1", 2.03, 2.03 + fault_s)
        lab.takes("lb2", TAKEN_S, back_s)
        lab.takes("lb1", back_s, back_s + 4)
        lab.asks(1.0, 2.03)
        lab.asks(2.37, back_s)
        lab.asks(back_s, back_s + lost_s, "m1", ill="m1")
        lab.asks(back_s + lost_s, back_s + 4)
        lab.done(back_s + 4)
        return judge(lab, "client-outage")["healing"]

    def test_a_proxy_that_was_alone_needs_its_checks_first(self) -> None:
        found = self.returned(2.0, 5.0)
        assert found.status is Status.LIMITATION
        assert "before its checks had found its members again" in found.sentence

    def test_but_no_longer_than_that(self) -> None:
        assert self.returned(3.9, 5.0).status is Status.FAIL

    def test_and_not_if_it_was_alone_too_shortly(self) -> None:
        assert self.returned(2.0, 1.0).status is Status.FAIL


class TestAllDown:
    def judge(self, heal_s: float | None, back_s: float) -> Verdict:
        """Both balancers crash at 2.03 s; lb1 announces itself again at `back_s`."""
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("host-crash", "lb1+lb2", 2.03, heal_s)
        if heal_s is not None:
            lab.takes("lb1", back_s, 9.0)
        lab.add(9.0, "phase", name="done")
        return judge(lab, "single-owner")["none"]

    def test_nobody_is_missed_while_nobody_could_come(self) -> None:
        assert self.judge(5.0, 5.36).status is Status.PASS
        assert self.judge(None, 0).status is Status.NOT_APPLICABLE

    def test_but_then_one_must_come(self) -> None:
        assert self.judge(5.0, 6.5).status is Status.FAIL


class TestLateness:
    def moved(self, lag_s: float) -> Verdict:
        """lb1 is silent for a down interval although nothing was done to it."""
        lab = Lab()
        lab.takes("lb1", 0.5, 2.05)
        lab.fault("arp-spoof", "m1", 1.8)
        lab.takes("lb2", TAKEN_S, END_S)
        if lag_s:
            lab.lag(2.3, lag_s, "lb1/keepalived")
        lab.add(END_S, "phase", name="done")
        return judge(lab, "vip-migration")["takeover"]

    def test_an_owner_that_the_testbed_starved_is_not_to_blame(self) -> None:
        assert self.moved(0.3).status is Status.UNKNOWN

    def test_one_that_it_did_not_starve_for_long_enough_is(self) -> None:
        assert self.moved(0.0).status is Status.FAIL
        assert self.moved(0.1).status is Status.FAIL


class TestMembers:
    def test_nginx_may_notice_a_reset_that_comes_at_once(self) -> None:
        lab = PoolLab("nginx", nginx())
        lab.takes("lb1", 0.5, END_S)
        lab.steady()
        lab.fault("backend-reset", "m1/master", 2.03, detail="stage=accept")
        lab.asks(1.0, 2.1)
        lab.asks(2.1, 5.0, "m2 m3")
        lab.done(5.0)
        assert judge(lab, "member-removal")["removal"].status is Status.NOT_APPLICABLE
        lab.detail("stage=request")
        assert judge(lab, "member-removal")["removal"].status is Status.FAIL
