"""Faults of links and segments: each seen by datagrams that arrive or do not, and healed exactly."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from checks.selftest.fault_beds import (
    NewTestbed,
    fabric_state,
    fix_neighbours,
    hears,
    hosts,
    lives,
    pair,
    steady,
    who_hears,
)
from harness import faults
from harness.errors import UsageError
from harness.faults.partition import halves, ring
from harness.testbed import Testbed

LIFE = ["inject", "effective", "heal", "healed"]


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """Five hosts that need no ARP."""
    made = new_testbed(hosts("a", "b", "c", "d", "e"))
    fix_neighbours(made)
    return made


def _carrier(bed: Testbed, node: str) -> str:
    return bed.node(node).read("/sys/class/net/eth0/carrier").decode().strip()


def test_link_down_takes_the_carrier(bed: Testbed) -> None:
    before = fabric_state(bed)
    with faults.parse("link-down:a", bed):
        assert _carrier(bed, "a") == "0"
        assert not hears(bed, "b", "a")
    assert _carrier(bed, "a") == "1"
    bed.fabric.await_forwarding(bed.fabric.ports_of("a"))
    assert hears(bed, "b", "a")
    assert fabric_state(bed) == before
    assert lives(bed) == {"link-down": LIFE}


def test_link_blocked_keeps_the_carrier(bed: Testbed) -> None:
    before = fabric_state(bed)
    with faults.parse("link-blocked:a:eth0", bed):
        assert _carrier(bed, "a") == "1"
        assert who_hears(bed) == {"a": {"b", "c", "d", "e"}, **{node: {"a"} for node in "bcde"}}
    assert who_hears(bed) == {}
    assert fabric_state(bed) == before


@pytest.mark.parametrize(("lost", "deaf"), [("in", {"a": {"b"}}), ("out", {"b": {"a"}})])
def test_link_oneway_loses_one_direction(bed: Testbed, lost: str, deaf: dict[str, set[str]]) -> None:
    before = fabric_state(bed)
    with faults.parse(f"link-oneway:a,lost={lost}", bed):
        assert hears(bed, "a", "b") == ("a" not in deaf)
        assert hears(bed, "b", "a") == ("b" not in deaf)
        assert hears(bed, "c", "b")
    assert who_hears(bed) == {}
    assert fabric_state(bed) == before


@pytest.mark.parametrize(
    ("written", "deaf"),
    [
        ("shape=halves,left=a+b", halves(["a", "b"], ["c", "d", "e"])),
        ("shape=bridge,left=a+b,middle=c", halves(["a", "b"], ["d", "e"])),
        ("shape=ring", ring(["a", "b", "c", "d", "e"])),
        ("shape=oneway,source=a,sink=b+c", {"b": {"a"}, "c": {"a"}}),
        ("shape=map,cuts=a~b+d~c", {"b": {"a"}, "c": {"d"}}),
    ],
)
def test_a_partition_is_the_directed_map_it_says(
    bed: Testbed, written: str, deaf: dict[str, set[str]]
) -> None:
    before = fabric_state(bed)
    with faults.parse(f"partition:lan,{written}", bed):
        assert who_hears(bed) == deaf
    assert who_hears(bed) == {}
    assert fabric_state(bed) == before
    assert lives(bed) == {"partition": LIFE}


def test_on_a_ring_each_hears_a_majority_and_no_two_the_same() -> None:
    for count in (3, 4, 5, 7):
        names = [f"n{number}" for number in range(count)]
        deaf = ring(names)
        heard = {node: frozenset(set(names) - deaf[node]) for node in names}
        assert all(node in heard[node] and len(heard[node]) == count // 2 + 1 for node in names)
        assert len(set(heard.values())) == count


@pytest.mark.parametrize("first_healed", [0, 1])
def test_two_partitions_heal_in_either_order(bed: Testbed, first_healed: int) -> None:
    both = [faults.parse(f"partition,shape=map,cuts={cut}", bed) for cut in ("a~b", "a~b+c~d")]
    before = fabric_state(bed)
    for fault in both:
        fault.inject()
    assert who_hears(bed) == {"b": {"a"}, "d": {"c"}}
    both[first_healed].heal()
    assert who_hears(bed) == ({"b": {"a"}, "d": {"c"}} if first_healed == 0 else {"b": {"a"}})
    both[1 - first_healed].heal()
    assert who_hears(bed) == {}
    assert fabric_state(bed) == before


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_overlapping_faults_of_one_link_heal_in_any_order(bed: Testbed, order: tuple[int, ...]) -> None:
    """A port forwards again only once the last fault that keeps it from it is healed."""
    made = [faults.parse(text, bed) for text in ("link-down:a", "link-blocked:a", "host-crash:a")]
    for fault in made:
        fault.inject()
    for position in order:
        assert not bed.fabric.forwards(bed.fabric.port("a", "eth0"))
        made[position].heal()
    bed.fabric.await_forwarding(bed.fabric.ports_of("a"))
    fix_neighbours(bed)
    assert who_hears(bed) == {}


def test_a_blocked_link_stays_blocked_when_its_carrier_returns(bed: Testbed) -> None:
    with faults.parse("link-blocked:a", bed):
        with faults.parse("link-down:a", bed):
            assert _carrier(bed, "a") == "0"
        assert _carrier(bed, "a") == "1"
        assert not hears(bed, "b", "a")
    assert hears(bed, "b", "a")


@pytest.mark.parametrize(
    ("direction", "announcers"), [("in", {"lb1", "lb2"}), ("out", {"lb1"}), ("both", {"lb1", "lb2"})]
)
def test_vrrp_alone_is_dropped(new_testbed: NewTestbed, direction: str, announcers: set[str]) -> None:
    """Deafened, the backup announces too; muted only, it hears lb1 and stays a backup."""
    bed = steady(new_testbed(pair()))
    fix_neighbours(bed)
    before = fabric_state(bed)
    with faults.parse(f"vrrp-drop:lb2,direction={direction}", bed) as fault:
        timeline = bed.recorder.timeline
        assert hears(bed, "lb2", "lb1")
        assert hears(bed, "lb1", "lb2")

        def taken() -> bool:
            found = timeline.first("address", node="lb2", change="add", since=fault.injected_ns)
            return found is not None

        if "lb2" in announcers:
            bed.recorder.wait(taken, 5, "lb2 to take the VIP")
        seen = bed.situation.adverts
        bed.recorder.wait(lambda: bed.situation.adverts > seen + 20, 10, "twenty adverts more")
        assert taken() == ("lb2" in announcers)
        on_the_wire = {advert.node for advert in timeline.of("vrrp", since=fault.injected_ns)}
        assert on_the_wire == ({"lb1", "lb2"} if direction == "in" else {"lb1"})
    assert fabric_state(bed) == before


def test_what_is_wrong_with_a_fault_is_said(bed: Testbed) -> None:
    for text, words in {
        "explode": "unknown fault 'explode'; known:",
        "kill,speed=3": "takes no parameters, so no 'speed'",
        "vrrp-drop,sideways=1": "unknown parameter of the fault vrrp-drop 'sideways'; known: direction",
        "vrrp-drop,direction=up": "'up'; known: both, in, out",
        "host-reboot,after_s=long": "takes a number from 0 to 3600, not 'long'",
        "host-reboot,after_s=-1": "takes a number from 0 to 3600, not -1",
        "vrrp-drop,both": "KEY=VALUE, not 'both'",
        "vrrp-drop,direction=in,direction=in": "direction is given twice",
    }.items():
        with pytest.raises(UsageError, match=words):
            faults.check(text)
    for text, words in {
        "link-down:z": "unknown target 'z'; known: a",
        "link-down:a:eth7": "unknown interface of a 'eth7'; known: eth0",
        "partition:wan": "unknown segment 'wan'; known: lan",
        "partition,shape=oneway,source=q,sink=a": "unknown target 'q'",
        "partition,shape=bridge": "needs middle=NODE",
    }.items():
        with pytest.raises(UsageError, match=words):
            faults.parse(text, bed).inject()
    assert lives(bed) == {}


def test_every_fault_is_in_the_manual_and_in_the_list() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "faults.md").read_text()
    for name in faults.FAULTS:
        fault = faults.find(name)
        assert fault.name == name
        assert (fault.__doc__ or "").splitlines()[0].endswith(".")
        short = name.removeprefix("backend") if name.startswith("backend-") else name
        assert f"`{name}`" in manual or f"`{short}`" in manual
