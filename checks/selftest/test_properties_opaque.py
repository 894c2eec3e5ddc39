"""An appliance is judged by its adverts: what a trip did to it, and what is not known of it."""

from __future__ import annotations

from checks.selftest.synthetic import Lab, failover
from harness.properties import fail_back, vip_migration
from harness.properties.facts import Effect, Facts
from harness.verdict import Status, Verdict


def opaque(lab: Lab) -> Facts:
    """What is known without the configurations and without the balancers' own addresses."""
    lab.events = [event for event in lab.events if event.kind not in ("config", "address")]
    return Facts.of(lab.timeline())


def effect(lab: Lab) -> Effect:
    facts = opaque(lab)
    return facts.effect(facts.faults[0], facts.routers[0])


def by_aspect(verdicts: list[Verdict]) -> dict[str, Status]:
    return {verdict.aspect: verdict.status for verdict in verdicts}


def test_a_trip_after_which_the_owner_is_silent_ends_it() -> None:
    assert effect(failover("trip")) == "silences"


def test_a_trip_that_makes_the_owner_say_goodbye_ends_it() -> None:
    lab = Lab()
    lab.announce("lb1", 0.5, 2.05)
    lab.fault("trip", "lb1", 2.03)
    lab.advert("lb1", 3.0, priority=0)
    lab.announce("lb2", 3.06, 6.0)
    lab.add(6.0, "phase", name="done")
    assert effect(lab) == "silences"


def test_a_trip_that_the_owner_survives_is_not_held_against_anybody() -> None:
    lab = Lab()
    lab.fault("trip", "lb1", 2.03)
    lab.announce("lb1", 0.5, 6.0)
    lab.add(6.0, "phase", name="done")
    assert effect(lab) == "open"


def test_an_owner_that_lowers_its_priority_decided_for_itself() -> None:
    lab = Lab()
    lab.announce("lb1", 0.5, 2.05)
    lab.fault("trip", "lb1", 2.03)
    lab.advert("lb1", 2.1, priority=50)
    lab.announce("lb2", 2.2, 6.0)
    lab.add(6.0, "phase", name="done")
    assert effect(lab) == "open"


def test_a_trip_of_the_standby_is_nobody_s_end() -> None:
    lab = Lab()
    lab.fault("trip", "lb2", 2.03)
    lab.announce("lb1", 0.5, 6.0)
    lab.add(6.0, "phase", name="done")
    assert effect(lab) == "harmless"


def test_the_takeover_is_bounded_by_what_the_adverts_say() -> None:
    facts = opaque(failover("trip"))
    found = by_aspect(vip_migration.judge(facts))
    assert found["takeover"] is found["timer"] is found["gratuitous ARP"] is Status.PASS
    assert "address" not in found


def test_a_late_takeover_of_an_appliance_fails() -> None:
    found = by_aspect(vip_migration.judge(opaque(failover("trip", late_s=0.2))))
    assert found["takeover"] is Status.FAIL


def test_nothing_is_promised_about_the_return_of_an_appliance() -> None:
    lab = failover("trip")
    lab.add(4.0, "fault", id="trip-1", fault="trip", target="lb1", state="heal", nodes=["lb1"])
    lab.add(4.1, "fault", id="trip-1", fault="trip", target="lb1", state="healed", nodes=["lb1"])
    verdicts = fail_back.judge(opaque(lab))
    assert [verdict.status for verdict in verdicts] == [Status.NOT_APPLICABLE]
    assert "configuration is not known" in verdicts[0].sentence
