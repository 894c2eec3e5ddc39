"""Impairments of links: seen by ping, exact where the fault says so, healed exactly in either order."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, permutations

import pytest

from checks.selftest.fault_beds import NewTestbed, address, fabric_state, hosts, node_state
from harness import faults
from harness.fabric.impair import impairments
from harness.fabric.queues import netem_words
from harness.fabric.wire import Shape
from harness.testbed import Testbed

# How late the luckiest of some frames may be on a busy machine of two processors (docs/faults.md).
_LATE_MS = 20.0


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """Three hosts that have found each other."""
    made = new_testbed(hosts("a", "b", "c"))
    ping(made, count=2)
    return made


@dataclass(frozen=True)
class Pings:
    """What ping(8) said: round trips (ms) by sequence number, in the order of arrival."""

    sent: int
    answers: list[tuple[int, float]]

    @property
    def trips(self) -> list[float]:
        """The round trips, shortest first."""
        return sorted(trip for _, trip in self.answers)

    @property
    def least(self) -> float:
        """The shortest: a busy machine makes frames late, never early, so it is the nearest to the truth."""
        return self.trips[0]

    @property
    def overtaken(self) -> int:
        """How many answers came before one of an earlier request."""
        return sum(first > second for (first, _), (second, _) in pairwise(self.answers))


def ping(bed: Testbed, *, sink: str = "a", count: int = 20, every_s: float = 0.01) -> Pings:
    """Ping from b and wait for late answers."""
    words = ["ping", "-c", str(count), "-i", str(every_s), "-W", "1", address(bed, sink)]
    said = bed.node("b").status(words).stdout
    found = re.findall(r"icmp_seq=(\d+) .*time=([\d.]+) ms", said)
    return Pings(count, [(int(number), float(trip)) for number, trip in found])


@pytest.mark.parametrize(("direction", "least"), [("both", 60), ("in", 30), ("out", 30)])
def test_delay_is_what_it_says(bed: Testbed, direction: str, least: float) -> None:
    before = fabric_state(bed), node_state(bed, "a")
    with faults.parse(f"delay:a,ms=30,direction={direction}", bed) as fault:
        seen = ping(bed)
        assert "by " in fault.detail
        assert ping(bed, sink="c").least < _LATE_MS
    assert len(seen.answers) == seen.sent
    assert least <= seen.least < least + _LATE_MS
    assert ping(bed).least < _LATE_MS
    assert (fabric_state(bed), node_state(bed, "a")) == before


def test_jitter_varies_and_keeps_the_order(bed: Testbed) -> None:
    with faults.parse("jitter:a,ms=40,direction=in", bed):
        seen = ping(bed, count=60, every_s=0.005)
    assert len(seen.answers) == seen.sent
    assert seen.overtaken == 0
    assert max(seen.trips) - min(seen.trips) > 15
    assert seen.trips[len(seen.trips) // 4] < 40 + _LATE_MS


def test_reordered_frames_are_passed_by_later_ones(bed: Testbed) -> None:
    with faults.parse("reorder:a,percent=30,ms=35,direction=in", bed):
        seen = ping(bed, count=100)
    assert len(seen.answers) == seen.sent
    held = [trip for trip in seen.trips if trip >= 35]
    assert 10 <= len(held) <= 55
    assert seen.overtaken


def test_duplicates_arrive_as_often_as_said(bed: Testbed) -> None:
    """Of 400, 100 on average; five standard deviations are 43."""
    with faults.parse("duplicate:a,percent=25,direction=in", bed):
        seen = ping(bed, count=400, every_s=0.002)
    assert len(seen.answers) - seen.sent == pytest.approx(100, abs=43)
    assert len({number for number, _ in seen.answers}) == seen.sent


@pytest.mark.parametrize("direction", ["in", "out"])
def test_loss_is_as_often_as_said(bed: Testbed, direction: str) -> None:
    """Of 400, 100 on average; five standard deviations are 43. (A lost ARP request is asked again.)"""
    before = fabric_state(bed)
    with faults.parse(f"loss:a,percent=25,direction={direction}", bed) as fault:
        seen = ping(bed, count=400, every_s=0.002)
    assert fault.how == "nft"
    assert seen.sent - len(seen.answers) == pytest.approx(100, abs=43)
    assert len(ping(bed).answers) == 20
    assert fabric_state(bed) == before


def _goodput(bed: Testbed) -> float:
    """Megabits a second of TCP from b to a, as iperf3 measures them."""
    name = f"iperf-{time.monotonic_ns()}"
    server = bed.node("a").spawn(name, ["iperf3", "-s", "-1", "--forceflush"])
    bed.recorder.wait(lambda: b"listening" in server.log.read_bytes(), 5, "iperf3")
    said = bed.node("b").run(["iperf3", "-c", address(bed, "a"), "-t", "2", "-f", "k"])
    server.reap(wait=True)
    found = re.search(r"([\d.]+) Kbits/sec\s+receiver", said)
    assert found is not None
    return float(found[1]) / 1000


@pytest.mark.parametrize("direction", ["in", "both"])
def test_the_rate_is_kept(bed: Testbed, direction: str) -> None:
    before = fabric_state(bed), node_state(bed, "a")
    with faults.parse(f"rate:a,mbit=8,direction={direction}", bed):
        with faults.parse("rate:a,mbit=4,direction=in", bed):
            assert _goodput(bed) < 4.4
        assert 4.4 < _goodput(bed) < 8.8
    assert (fabric_state(bed), node_state(bed, "a")) == before


def test_large_frames_pass_a_wire_whole(bed: Testbed) -> None:
    """Segments of an offload and unfinished checksums survive it, or TCP would crawl."""
    with faults.parse("delay:a,ms=1", bed):
        assert _goodput(bed) > 100


def test_putting_a_wire_in_and_out_loses_nothing(bed: Testbed) -> None:
    """Frames pass a thousand times a second meanwhile: one may come twice, but each must come."""
    process = bed.node("b").spawn("ping", ["ping", "-c", "700", "-i", "0.001", "-W", "1", address(bed, "a")])
    process.expected_end = True
    while process.running:
        with faults.parse("delay:a,ms=1", bed):
            pass
    answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) .*time=", process.log.read_text())}
    assert set(range(1, 701)) - answered == set()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_overlapping_delays_add_and_heal_in_any_order(bed: Testbed, order: tuple[int, ...]) -> None:
    before = fabric_state(bed), node_state(bed, "a")
    delays = [20, 40, 80]
    made = [faults.parse(f"delay:a,ms={ms},direction=in", bed) for ms in delays]
    for fault in made:
        fault.inject()
    for position in order:
        assert sum(delays) <= ping(bed).least < sum(delays) + _LATE_MS
        made[position].heal()
        delays[position] = 0
    assert ping(bed).least < _LATE_MS
    assert (fabric_state(bed), node_state(bed, "a")) == before


Step = Callable[[], object]


@pytest.mark.parametrize("other", ["link-blocked:a", "link-oneway:a,lost=out", "link-down:a", "host-crash:a"])
@pytest.mark.parametrize("delay_first", [True, False])
def test_a_wire_and_other_faults_of_its_link_do_not_mix(bed: Testbed, other: str, delay_first: bool) -> None:
    """What cuts the link cuts it while it is delayed, and the delay outlives the cut, even a reboot."""
    before = fabric_state(bed)
    delay, cut = faults.parse("delay:a,ms=30,direction=in", bed), faults.parse(other, bed)
    delay.inject()
    cut.inject()
    assert ping(bed, count=2).answers == []
    if delay_first:
        delay.heal()
        assert ping(bed, count=2).answers == []
        cut.heal()
    else:
        cut.heal()
        answered(bed)
        assert 30 <= ping(bed).least < 30 + _LATE_MS
        delay.heal()
    answered(bed)
    assert ping(bed).least < _LATE_MS
    assert fabric_state(bed) == before


def answered(bed: Testbed) -> None:
    """Wait until a answers again: its carrier is back, and b has found it."""
    bed.recorder.wait(lambda: bool(ping(bed, count=1).answers), 10, "an answer")


def test_a_delay_injected_on_a_cut_link_acts_when_it_is_whole_again(bed: Testbed) -> None:
    with faults.parse("link-down:a", bed):
        delay = faults.parse("delay:a,ms=30,direction=out", bed)
        delay.inject()
    answered(bed)
    assert 30 <= ping(bed).least < 30 + _LATE_MS
    delay.heal()
    assert ping(bed).least < _LATE_MS


def test_every_impairment_says_how_it_is_done_here() -> None:
    found = impairments()
    assert set(found) == {"loss", "rate", "delay", "jitter", "duplication", "reorder"}
    assert all(mechanism.how and mechanism.accuracy for mechanism in found.values())


@pytest.mark.parametrize(
    "shape",
    [
        Shape(delay_ms=1.5),
        Shape(delay_ms=10, jitter_ms=10),
        Shape(duplicate=12.5),
        Shape(reorder=5, hold_ms=3),
    ],
)
def test_netem_is_asked_in_words_that_tc_knows(bed: Testbed, shape: Shape) -> None:
    """Where the kernel has no netem, it is the kernel that says so, and not tc."""
    words = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", *netem_words(shape)]
    done = bed.hub.status(words)
    assert done.ok or "kind is unknown" in done.stderr
    if done.ok:
        bed.hub.run(["tc", "qdisc", "del", "dev", "lo", "root"])
