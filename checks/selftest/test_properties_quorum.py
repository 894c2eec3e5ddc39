"""quorum and arp-hygiene: who stands in for whom, and who tells where the VIP is."""

from __future__ import annotations

from checks.selftest.directed import SERVICE, DirectorLab, virtual_server
from harness.properties import judge_all
from harness.verdict import Status, Verdict

SORRY = "sorry_server 10.0.0.99 6443\nquorum {}\nhysteresis {}"


def judge(lab: DirectorLab, name: str = "quorum") -> dict[str, Verdict]:
    """The findings of a property by aspect."""
    return {v.aspect: v for v in judge_all(lab.timeline(), [name])}


def killed(
    quorum: int, hysteresis: int = 0, *, come_s: float | None = None, gone_s: float | None = None
) -> DirectorLab:
    """m1 is killed at 2 s and well again at 5 s; the sorry server comes and goes so long after these."""
    lab = DirectorLab(virtual_server(lines=SORRY.format(quorum, hysteresis)))
    lab.takes("lb1", 0.5, 9.0)
    lab.steady()
    lab.fault("kill", "m1/master", 2.0, 5.0)
    for at_s, change in ((come_s, "add"), (gone_s, "del")):
        if at_s is not None:
            moment = at_s + (2.0 if change == "add" else 5.0)
            member = {"member": "10.0.0.99:6443", "weight": 1, "forward": "DR"}
            lab.add(moment, "ipvs", node="lb1", service=SERVICE, change=change, **member)
    lab.done(9.0)
    return lab


class TestQuorum:
    def test_it_is_lost_and_regained_in_time(self) -> None:
        found = judge(killed(3, come_s=1.0, gone_s=0.9))
        assert (found["lost"].status, found["regained"].status) == (Status.PASS, Status.PASS)

    def test_too_early_too_late_and_never_are_caught(self) -> None:
        for come_s in (0.2, 2.0, None):
            assert judge(killed(3, come_s=come_s))["lost"].status is Status.FAIL
        assert judge(killed(3, come_s=1.0))["regained"].status is Status.FAIL

    def test_within_the_hysteresis_nothing_happens(self) -> None:
        assert judge(killed(2, 1))["kept"].status is Status.PASS
        assert judge(killed(2, 1, come_s=1.0))["kept"].status is Status.FAIL

    def test_below_the_upper_threshold_it_stays_lost(self) -> None:
        """m2 dies as well, and is still dead when m1 is well again: weight 2, and 3 is needed."""
        for gone_s, status in ((None, Status.PASS), (1.0, Status.FAIL)):
            lab = killed(3, come_s=1.0, gone_s=gone_s)
            lab.fault("host-crash", "m2", 4.0)
            found = {(v.aspect, v.fault): v for v in judge_all(lab.timeline(), ["quorum"])}
            assert [v.status for (aspect, _), v in found.items() if aspect == "not regained"] == [status]
            assert not [aspect for aspect, _ in found if aspect == "regained"]

    def test_an_inhibited_sorry_server_stands_in_by_its_weight(self) -> None:
        lab = killed(3)
        for at_s, change, weight in ((0.6, "add", 0), (3.0, "weight", 1), (5.9, "weight", 0)):
            member = {"member": "10.0.0.99:6443", "weight": weight, "forward": "DR"}
            lab.add(at_s, "ipvs", node="lb1", service=SERVICE, change=change, **member)
        found = judge(lab)
        assert (found["lost"].status, found["regained"].status) == (Status.PASS, Status.PASS)

    def test_what_was_lost_before_cannot_be_lost(self) -> None:
        lab = killed(3)
        member = {"member": "10.0.0.99:6443", "weight": 1, "forward": "DR"}
        lab.add(1.0, "ipvs", node="lb1", service=SERVICE, change="add", **member)
        assert judge(lab)["kept"].status is Status.NOT_APPLICABLE

    def test_without_a_sorry_server_nobody_is_asked(self) -> None:
        lab = DirectorLab()
        lab.takes("lb1", 0.5, 4.0)
        lab.fault("kill", "m1/master", 2.0)
        assert judge(lab) == {}


class TestArpHygiene:
    @staticmethod
    def calm(method: str = "DR") -> DirectorLab:
        lab = DirectorLab(virtual_server(method=method))
        lab.takes("lb1", 0.5, 4.0)
        lab.steady()
        lab.done(4.0)
        return lab

    def test_the_directors_may_tell(self) -> None:
        assert judge(self.calm(), "arp-hygiene")[""].status is Status.PASS

    def test_a_member_may_not(self) -> None:
        lab = self.calm()
        lab.garp("m1", 2.0)
        found = judge(lab, "arp-hygiene")[""]
        assert (found.status, found.measured) == (Status.FAIL, 1)
        assert "m1" in found.sentence

    def test_a_member_that_is_made_to_lie_is_excused(self) -> None:
        lab = self.calm()
        lab.fault("arp-spoof", "m1", 1.9, 2.5)
        lab.garp("m1", 2.0)
        assert judge(lab, "arp-hygiene")[""].status is Status.PASS

    def test_behind_nat_nobody_else_has_the_vip(self) -> None:
        assert judge(self.calm("NAT"), "arp-hygiene") == {}
