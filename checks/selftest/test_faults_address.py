"""Faults of addresses: announcements lost, lies told, an address gone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from checks.selftest.fault_beds import VIP, NewTestbed, fabric_state, hosts, node_state, pair, steady
from harness import faults
from harness.errors import TestbedError, UsageError
from harness.testbed import Testbed
from harness.topology import Vip

_MAC = {"lb1": "02:00:00:00:00:01", "lb2": "02:00:00:00:00:02", "m1": "02:00:00:00:00:03"}


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """Two balancers, a member and a client that knows where the VIP is."""
    made = steady(new_testbed(pair()))
    made.node("cl").run(["arping", "-c", "1", "-I", "eth0", VIP])
    made.node("cl").run(["ping", "-c", "1", VIP])
    return made


def known_mac(bed: Testbed, node: str = "cl") -> str:
    """Where a node believes the VIP to be."""
    found = json.loads(bed.node(node).run(["ip", "-json", "neigh", "show", VIP]))
    return str(found[0].get("lladdr", "")) if found else ""


def announced(bed: Testbed, mac: str, since_ns: int) -> None:
    """Wait for a gratuitous ARP of the VIP on the wire, and for whoever hears it to have heard it."""
    timeline = bed.recorder.timeline

    def seen() -> bool:
        return (
            timeline.first("arp", sender_mac=mac, sender_ip=VIP, gratuitous=True, since=since_ns) is not None
        )

    bed.recorder.wait(seen, 10, f"{VIP} announced by {mac}")


def test_gratuitous_arp_does_not_reach_the_chosen_node(bed: Testbed) -> None:
    bed.node("m1").run(["ping", "-c", "1", VIP])
    before = fabric_state(bed)
    assert known_mac(bed) == known_mac(bed, "m1") == _MAC["lb1"]
    with faults.parse("garp-drop:cl", bed) as fault, faults.parse("host-crash:lb1", bed):
        announced(bed, _MAC["lb2"], fault.injected_ns)
        bed.witnesses.sync()
        assert known_mac(bed, "m1") == _MAC["lb2"]
        assert known_mac(bed) == _MAC["lb1"]
        assert bed.node("cl").status(["arping", "-c", "1", "-I", "eth0", VIP]).ok
    assert fabric_state(bed) == before


def test_by_default_no_client_hears_it(bed: Testbed) -> None:
    with faults.parse("garp-drop", bed) as fault:
        assert [str(target) for target in fault.targets] == ["cl"]


def test_a_spoofer_is_believed(bed: Testbed) -> None:
    """The owner answers a claim to its address, so who is believed changes with every claim."""
    processes = bed.node("m1").run(["ps", "-e", "-o", "comm="])
    with faults.parse("arp-spoof,every_s=0.02", bed) as fault:
        lies = lambda: bed.recorder.timeline.of("arp", sender_mac=_MAC["m1"], since=fault.injected_ns)  # noqa: E731
        bed.recorder.wait(lambda: known_mac(bed) == _MAC["m1"], 10, "the client to believe it")
        bed.recorder.wait(lambda: len(lies()) > 5, 10, "more lies")
    bed.witnesses.sync()
    told = len(lies())
    assert bed.node("m1").run(["ps", "-e", "-o", "comm="]) == processes
    bed.node("cl").run(["arping", "-c", "1", "-I", "eth0", VIP])
    assert len(lies()) == told


def test_a_spoofer_that_could_not_be_started_is_not_ended(bed: Testbed) -> None:
    with faults.parse("host-crash:m1", bed):
        fault = faults.parse("arp-spoof:m1+cl", bed)
        with pytest.raises(TestbedError):
            fault.inject()
        fault.heal()


def test_a_removed_vip_is_noticed_and_given_back(bed: Testbed) -> None:
    """keepalived puts its address back or leaves it to its peer; healing adds no second owner."""
    with faults.parse("address-removed", bed) as fault:
        assert fault.target is not None
        assert fault.target.node == "lb1"
        gone = bed.recorder.timeline.first("address", node="lb1", change="del", since=fault.injected_ns)
        assert gone is not None
        assert gone.address == f"{VIP}/24"
        steady(bed)
    steady(bed)
    owners = [node for node in ("lb1", "lb2") if VIP in bed.node(node).run(["ip", "address"])]
    assert owners == ["lb1"]


def test_an_address_nobody_cares_for_is_given_back_as_it_was(new_testbed: NewTestbed) -> None:
    bed = new_testbed(hosts("a", "b"))
    words = ["10.9.9.9/20", "broadcast", "10.9.15.255", "label", "eth0:x", "dev", "eth0"]
    bed.node("a").run(["ip", "address", "add", *words])
    before = node_state(bed, "a")
    with faults.parse("address-removed:a,address=10.9.9.9", bed):
        assert "10.9.9.9" not in bed.node("a").run(["ip", "address"])
        assert "10.0.0.1" in bed.node("a").run(["ip", "address"])
    assert node_state(bed, "a") == before
    with pytest.raises(UsageError, match="b has not the address"):
        faults.parse("address-removed:b,address=10.9.9.9", bed).inject()
    with pytest.raises(UsageError, match="takes an IP address, not 'ten'"):
        faults.parse("address-removed:b,address=ten", bed).inject()


def test_what_goes_with_an_address_comes_back_with_it(bed: Testbed) -> None:
    """The others of its subnet with the first one, the interface's routes with the last."""
    member = bed.node("m1")
    for route in ("default via 10.0.0.1", "10.7.0.1 scope link", "10.8.0.0/16 via 10.7.0.1 metric 5"):
        member.run(["ip", "route", "add", *route.split(), "dev", "eth0"])
    member.run(["ip", "address", "add", "10.0.0.33/24", "dev", "eth0"])
    before = node_state(bed, "m1"), member.run(["ip", "route"])
    with faults.parse("address-removed:m1,address=10.0.0.3", bed):
        assert "10.0.0" not in member.run(["ip", "address"])
        assert member.run(["ip", "route"]) == ""
    assert (node_state(bed, "m1"), member.run(["ip", "route"])) == before


def test_an_address_that_has_gone_with_another_need_not_be_removed(new_testbed: NewTestbed) -> None:
    """Of two in a subnet without a third the second goes with the first."""
    both = (Vip("10.9.0.1", 80, "x"), Vip("10.9.0.2", 80, "x"))
    bed = new_testbed(replace(hosts("a", "b"), vips=both))
    for vip in both:
        bed.node("a").run(["ip", "address", "add", f"{vip.address}/24", "dev", "eth0"])
    before = node_state(bed, "a")
    with faults.parse("address-removed:a", bed):
        assert "10.9.0" not in bed.node("a").run(["ip", "address"])
    assert node_state(bed, "a") == before
