"""Faults of processes and hosts: what stops, what ends, what comes back, and in which order."""

from __future__ import annotations

from functools import partial
from itertools import permutations
from pathlib import Path

import pytest

from checks.selftest.fault_beds import NewTestbed, address, lives, pair, steady, tcp
from harness import faults
from harness.errors import ConfigRejected, FaultNotEffective, TestbedError, UsageError
from harness.faults.reload import Reload
from harness.faults.target import Target
from harness.nodes.process import state
from harness.testbed import Testbed

LIFE = ["inject", "effective", "heal", "healed"]
_NS = 1_000_000_000


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """Two balancers, lb1 owning the VIP."""
    return steady(new_testbed(pair()))


def states(bed: Testbed, node: str, command: str) -> set[str]:
    """The state letters of a node's processes of this name, as ps(1) on the node tells them."""
    return {line[0] for line in bed.node(node).run(["ps", "-C", command, "-o", "stat="]).split()}


def adverts_continue(bed: Testbed, node: str) -> None:
    """Wait for a new advertisement of a node."""
    adverts = bed.recorder.timeline
    seen = len(adverts.of("vrrp", node=node))
    bed.recorder.wait(lambda: len(adverts.of("vrrp", node=node)) > seen, 10, f"an advert of {node}")


def test_a_hung_service_stands_still_and_goes_on(bed: Testbed) -> None:
    with faults.parse("hang", bed):
        assert states(bed, "lb1", "keepalived") == {"T"}
        adverts_continue(bed, "lb2")
    assert "T" not in states(bed, "lb1", "keepalived")
    adverts_continue(bed, "lb1")
    assert lives(bed) == {"hang": LIFE}


def test_only_the_children_can_hang(bed: Testbed) -> None:
    with faults.parse("hang:lb1/keepalived,which=children", bed):
        # The first process may be at work just now, or waiting.
        found = states(bed, "lb1", "keepalived")
        assert "T" in found
        assert found != {"T"}
    assert "T" not in states(bed, "lb1", "keepalived")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_stops_the_same_processes_heals_in_any_order(bed: Testbed, order: tuple[int, ...]) -> None:
    made = [faults.parse(text, bed) for text in ("freeze:lb1", "hang:lb1", "freeze:lb1")]
    for fault in made:
        fault.inject()
    for position in order:
        assert states(bed, "lb1", "keepalived") == {"T"}
        made[position].heal()
    assert "T" not in states(bed, "lb1", "keepalived")


def test_a_thawed_host_lets_others_go_on_than_what_hangs(bed: Testbed) -> None:
    other = bed.node("lb1").spawn("other", ["sleep", "1000"])
    with faults.parse("hang:lb1", bed):
        with faults.parse("freeze:lb1", bed):
            assert states(bed, "lb1", "sleep") == {"T"}
        assert "T" not in states(bed, "lb1", "sleep")
        assert states(bed, "lb1", "keepalived") == {"T"}
    other.signal(9)


def test_a_killed_service_has_ended_with_all_its_processes(bed: Testbed) -> None:
    """One that ended later would still have its PID file locked when the service is started again."""
    tree = bed.process("lb1", "keepalived").tree()
    with faults.parse("kill:lb1", bed):
        assert {state(pid) for pid in tree} <= {"Z", ""}


def test_what_has_ended_cannot_be_ended_and_stays_so_until_its_own_healing(bed: Testbed) -> None:
    with faults.parse("kill:lb1", bed):
        for text in ("kill:lb1", "stop:lb1", "restart:lb1"):
            again = faults.parse(text, bed)
            with pytest.raises(UsageError, match="lb1/keepalived does not run"):
                again.inject()
            again.heal()
        assert bed.processes_of("lb1") == []
    steady(bed)


@pytest.mark.parametrize("text", ["kill:balancers", "stop:balancers", "restart:balancers"])
def test_services_of_several_nodes_end_at_once(bed: Testbed, text: str) -> None:
    """And some have ended when the first one is looked at."""
    before = [bed.process(node, "keepalived") for node in ("lb1", "lb2")]
    with faults.parse(text, bed):
        assert not any(process.running for process in before)
    steady(bed)
    assert not {process.pid for process in before} & {
        bed.process(node, "keepalived").pid for node in ("lb1", "lb2")
    }


def test_a_restart_is_over_when_it_is_injected(bed: Testbed) -> None:
    before = bed.process("lb1", "keepalived").pid
    with faults.parse("restart:lb1,pause_s=0.2", bed):
        assert bed.process("lb1", "keepalived").pid != before
    told = [e.state for e in bed.recorder.timeline.of("service", node="lb1", service="keepalived")]
    assert told[-3:] == ["exited", "started", "ready"]
    assert bed.recorder.timeline.last("vrrp", node="lb1", priority=0) is not None


def test_a_reload_keeps_the_process_and_the_vip(bed: Testbed) -> None:
    process = bed.process("lb1", "keepalived")
    with faults.parse("reload", bed) as fault:
        assert bed.process("lb1", "keepalived") is process
        adverts_continue(bed, "lb1")
    since = fault.injected_ns
    assert bed.recorder.timeline.first("address", node="lb1", change="del", since=since) is None
    assert b"Reload complete" in process.log.read_bytes()


def test_a_reload_may_bring_a_new_configuration_and_takes_it_back(bed: Testbed, tmp_path: Path) -> None:
    path = "/etc/keepalived/keepalived.conf"
    before = bed.node("lb1").read(path)
    new = tmp_path / "new.conf"
    new.write_text(before.decode().replace("priority 199", "priority 50"))
    with faults.parse(f"reload:lb1,config={new}", bed) as fault:
        assert bed.node("lb1").read(path) == new.read_bytes()
        adverts_continue(bed, "lb2")
        assert bed.recorder.timeline.first("config", node="lb1", since=fault.injected_ns) is not None
    assert bed.node("lb1").read(path) == before
    adverts_continue(bed, "lb1")


def test_a_new_configuration_outlives_a_crash_and_is_taken_back(bed: Testbed, tmp_path: Path) -> None:
    path = "/etc/keepalived/keepalived.conf"
    before = bed.node("lb1").read(path)
    new = tmp_path / "new.conf"
    new.write_text(before.decode().replace("priority 199", "priority 50"))
    fault = faults.parse(f"reload:lb1,config={new}", bed)
    fault.inject()
    with faults.parse("host-crash:lb1", bed), pytest.raises(UsageError, match="lb1 is down: heal that"):
        fault.heal()
    assert bed.node("lb1").read(path) == new.read_bytes()
    with faults.parse("kill:lb1", bed):
        fault.heal()
    assert bed.node("lb1").read(path) == before
    steady(bed)


def test_several_reload_at_once_though_one_is_done_before_another_is_asked(
    bed: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = Reload._act

    def act_and_wait(self: Reload, target: Target) -> None:
        act(self, target)
        done = partial(
            bed.recorder.timeline.first, "service", node=target.node, state="ready", since=self.injected_ns
        )
        bed.recorder.wait(lambda: done() is not None, 10, "the reload to be done")

    monkeypatch.setattr(Reload, "_act", act_and_wait)
    with faults.parse("reload:balancers", bed):
        assert lives(bed) == {"reload": ["inject", "effective"]}


@pytest.mark.parametrize("handover", ["yes", "no"])
def test_a_configuration_that_is_refused_never_comes_into_force(
    new_testbed: NewTestbed, tmp_path: Path, handover: str
) -> None:
    bed, path = new_testbed("vip-l7"), "/etc/haproxy/haproxy.cfg"
    before = bed.node("lb1").read(path)
    new = tmp_path / "new.cfg"
    new.write_bytes(before + b"    nonsense\n")
    fault = faults.parse(f"reload:lb1/haproxy,config={new},handover={handover}", bed)
    with pytest.raises(ConfigRejected, match="nonsense"):
        fault.inject()
    assert bed.node("lb1").read(path) == before
    assert bed.recorder.timeline.first("config", node="lb1", service="haproxy", text=new.read_text()) is None


def test_a_reload_that_fails_is_no_reload(new_testbed: NewTestbed, tmp_path: Path) -> None:
    """The syntax check knows nothing of what can be had on the node."""
    bed, path = new_testbed("vip-l7"), "/etc/haproxy/haproxy.cfg"
    before = bed.node("lb1").read(path)
    new = tmp_path / "new.cfg"
    new.write_bytes(before + b"\nlisten more\n    bind :7777\n")
    taken = tcp(bed, "lb1")
    taken.bind((address(bed, "lb1"), 7777))
    taken.listen()
    fault = faults.parse(f"reload:lb1/haproxy,config={new}", bed)
    with pytest.raises(FaultNotEffective, match="goes on as before"):
        fault.inject()
    assert lives(bed) == {"reload": ["inject"]}
    assert bed.node("lb1").read(path) == before
    told = bed.recorder.timeline.last("config", node="lb1", path=path)
    assert told is not None
    assert told.text == before.decode()
    fault.heal()
    taken.close()


def test_haproxy_and_fakes_reload_as_they_can(new_testbed: NewTestbed) -> None:
    bed = new_testbed("vip-l7")
    workers = states(bed, "lb1", "haproxy")
    master = bed.process("lb1", "haproxy")
    children = set(master.tree()[1:])
    with faults.parse("reload:lb1/haproxy", bed):
        assert set(master.tree()[1:]) - children
    assert workers
    with pytest.raises(UsageError, match="m1/master knows no reload"):
        faults.parse("reload:m1", bed).inject()


def test_a_rebooting_host_comes_back_by_itself(bed: Testbed) -> None:
    fault = faults.parse("host-reboot:lb1,after_s=0.3", bed)
    fault.inject()
    assert not bed.node("lb1").alive
    bed.recorder.wait(lambda: bed.node("lb1").alive, 10, "lb1 to boot")
    steady(bed)
    assert lives(bed) == {"host-reboot": LIFE}
    healed = bed.recorder.timeline.first("fault", state="heal")
    assert healed is not None
    assert healed.t - fault.injected_ns >= 300_000_000
    fault.heal()
    assert len(bed.recorder.timeline.of("node", node="lb1", state="booted")) == 1


def test_a_crash_is_silent_and_takes_no_carrier_from_others(bed: Testbed) -> None:
    with faults.parse("host-crash", bed) as fault:
        adverts_continue(bed, "lb2")
        timeline = bed.recorder.timeline
        assert timeline.first("link", since=fault.injected_ns) is None
        said = timeline.of("vrrp", "arp", node="lb1", since=fault.injected_ns)
        assert said == []


@pytest.mark.parametrize("first", [0, 1])
def test_a_host_that_crashed_twice_boots_once_both_are_healed(bed: Testbed, first: int) -> None:
    both = [faults.parse("host-crash:lb1", bed) for _ in range(2)]
    for fault in both:
        fault.inject()
    both[first].heal()
    assert not bed.node("lb1").alive
    both[1 - first].heal()
    assert bed.node("lb1").alive
    steady(bed)


@pytest.mark.parametrize("other", ["freeze:lb1", "hang:lb1", "kill:lb1", "stop:lb1"])
@pytest.mark.parametrize("crash_first", [True, False])
def test_a_crash_ends_what_acts_within_the_host(bed: Testbed, other: str, crash_first: bool) -> None:
    """Booted, the host has all services and nothing stopped, whichever is healed first."""
    inner, crash = faults.parse(other, bed), faults.parse("host-crash:lb1", bed)
    inner.inject()
    crash.inject()
    for fault in (crash, inner) if crash_first else (inner, crash):
        fault.heal()
    steady(bed)
    assert states(bed, "lb1", "keepalived") <= {"S", "R"}


@pytest.mark.parametrize(
    ("text", "end"),
    [("freeze:lb1", "host-crash:lb1"), ("hang:lb1", "host-crash:lb1"), ("hang:lb1", "kill:lb1")],
)
def test_what_comes_after_a_stopped_process_can_be_stopped_and_goes_on(
    bed: Testbed, text: str, end: str
) -> None:
    """Though the fault that had stopped the one before still acts."""
    first = faults.parse(text, bed)
    first.inject()
    with faults.parse(end, bed):
        pass
    for again in (text, "hang:lb1"):
        with faults.parse(again, bed):
            assert states(bed, "lb1", "keepalived") == {"T"}
        assert "T" not in states(bed, "lb1", "keepalived")
    first.heal()
    steady(bed)


def test_a_drain_that_could_not_be_told_to_all_can_be_healed_later(new_testbed: NewTestbed) -> None:
    bed = new_testbed("vip-l7")
    fault = faults.parse("drain", bed)
    fault.inject()
    with faults.parse("kill:lb1/haproxy", bed), pytest.raises(TestbedError, match="does not answer"):
        fault.heal()
    fault.heal()
    assert fault.healed_ns
    ask = "echo show servers state | socat - UNIX-CONNECT:/run/haproxy.sock"
    told = bed.node("lb2").run(["/bin/sh", "-c", ask])
    assert {line.split()[6] for line in told.splitlines() if line[:1].isdigit() and " " in line} == {"0"}


def test_several_targets_are_hit_at_once(bed: Testbed) -> None:
    with faults.parse("hang:balancers", bed):
        assert states(bed, "lb1", "keepalived") == states(bed, "lb2", "keepalived") == {"T"}
        told = bed.recorder.timeline.first("fault", state="effective")
        assert told is not None
        assert told.nodes == ["lb1", "lb2"]
        assert told.target == "lb1/keepalived+lb2/keepalived"
    steady(bed)
