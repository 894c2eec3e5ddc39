"""Who owned the address when: the wire's word, the nodes' word, and where they differ."""

from __future__ import annotations

import pytest

from checks.selftest.synthetic import VIP, VRID, Lab, failover, ns
from harness.errors import UsageError
from harness.properties.facts import Facts
from harness.properties.owners import Ownership, address_owners, disagreements, owners, wire_owners


def wire(lab: Lab) -> list[Ownership]:
    """The claims on the wire of the only virtual router."""
    facts = Facts.of(lab.timeline())
    return wire_owners(facts, facts.routers[0])


def told(claims: list[Ownership]) -> list[tuple[str, float, float, str]]:
    """Claims as node, begin and end in seconds of the run, and how they ended."""
    return [
        (c.node, round((c.from_ns - ns(0)) / 1e9, 3), round((c.to_ns - ns(0)) / 1e9, 3), c.ended_by)
        for c in claims
    ]


class TestWire:
    def test_silence_ends_a_claim_at_its_last_advert(self) -> None:
        assert told(wire(failover())) == [("lb1", 0.5, 2.0, "silence"), ("lb2", 2.365, 6.0, "end")]

    def test_a_farewell_ends_it_at_once(self) -> None:
        lab = Lab()
        lab.announce("lb1", 0.5, 2.05)
        lab.advert("lb1", 2.03, priority=0)
        lab.announce("lb2", 2.0949, 4.0)
        assert told(wire(lab))[0] == ("lb1", 0.5, 2.03, "farewell")

    def test_preemption_ends_it_at_the_first_advert_that_outranks_it(self) -> None:
        lab = Lab()
        lab.announce("lb2", 0.5, 2.05)
        lab.announce("lb1", 2.06, 4.0)
        assert told(wire(lab)) == [("lb2", 0.5, 2.06, "outranked"), ("lb1", 2.06, 3.96, "end")]

    def test_equal_priorities_are_decided_by_the_address(self) -> None:
        lab = Lab({"lb1": 100, "lb2": 100})
        lab.announce("lb1", 0.5, 2.05)
        lab.announce("lb2", 2.06, 4.0)
        assert told(wire(lab))[0] == ("lb1", 0.5, 2.06, "outranked")

    def test_one_lost_advert_is_no_end(self) -> None:
        lab = Lab()
        lab.announce("lb1", 0.5, 2.05)
        lab.announce("lb1", 2.2, 4.0)
        assert told(wire(lab)) == [("lb1", 0.5, 3.9, "end")]

    def test_a_split_shows_two_claims_at_once(self) -> None:
        lab = Lab()
        lab.announce("lb1", 0.5, 4.05)
        lab.announce("lb2", 2.37, 4.05)
        assert told(wire(lab)) == [("lb1", 0.5, 4.0, "end"), ("lb2", 2.37, 4.0, "outranked")]

    def test_a_short_reign_ended_by_farewell_splits_the_claim_it_interrupted(self) -> None:
        lab = Lab()
        lab.announce("lb2", 0.5, 2.05)
        lab.announce("lb1", 2.06, 2.17)
        lab.advert("lb1", 2.18, priority=0)
        lab.announce("lb2", 2.245, 4.0)
        assert [c[0] for c in told(wire(lab))] == ["lb2", "lb1", "lb2"]

    def test_an_appliance_is_known_from_its_adverts(self) -> None:
        lab = failover()
        lab.events = [e for e in lab.events if e.kind != "config"]
        assert [c.node for c in wire(lab)] == ["lb1", "lb2"]
        facts = Facts.of(lab.timeline())
        assert facts.routers[0].addresses == (VIP,)
        assert facts.routers[0].speakers["lb2"].priority == 90


class TestAddresses:
    def test_intervals_from_netlink(self) -> None:
        lab = Lab()
        lab.address("lb1", 0.5)
        lab.address("lb1", 2.0, "del")
        lab.address("lb2", 2.1)
        lab.add(3.0, "note", text="end")
        facts = Facts.of(lab.timeline())
        assert told(address_owners(facts, facts.routers[0])) == [
            ("lb1", 0.5, 2.0, "removed"),
            ("lb2", 2.1, 3.0, "end"),
        ]

    def test_a_crashed_host_has_no_address(self) -> None:
        facts = Facts.of(failover().timeline())
        assert told(address_owners(facts, facts.routers[0]))[0] == ("lb1", 0.501, 2.03, "crash")
        assert disagreements(facts, facts.routers[0]) == []

    def test_the_address_left_behind_by_a_kill_is_told(self) -> None:
        facts = Facts.of(failover("kill").timeline())
        (said,) = disagreements(facts, facts.routers[0])
        assert said == f"lb1 had {VIP} for 4.000 s without announcing it"

    def test_adverts_without_the_address_are_told(self) -> None:
        lab = failover(address=False)
        lab.address("lb2", 0.1)
        lab.address("lb2", 0.2, "del")
        facts = Facts.of(lab.timeline())
        assert any("lb2 announced" in said for said in disagreements(facts, facts.routers[0]))


class TestOwners:
    @pytest.mark.parametrize("which", [VIP, VRID])
    def test_both_witnesses_by_address_or_vrid(self, which: str | int) -> None:
        held = owners(failover().timeline(), which)
        assert {(o.node, o.witness) for o in held} == {
            (n, w) for n in ("lb1", "lb2") for w in ("wire", "address")
        }

    def test_an_unknown_one_is_an_error_that_names_the_known(self) -> None:
        with pytest.raises(UsageError, match=f"known: {VIP}, {VRID}"):
            owners(failover().timeline(), "10.9.9.9")
