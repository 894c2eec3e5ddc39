"""Faults of processors, descriptors, disks, connection tables and files."""

from __future__ import annotations

import os
import resource
import time
from itertools import permutations

import pytest

from checks.selftest.fault_beds import NewTestbed, address, hears, hosts, lives, node_state, pair, tcp, udp
from harness import faults
from harness.errors import CommandFailed, UsageError
from harness.faults.resources import DescriptorsOut
from harness.faults.target import Target
from harness.nodes.process import Process
from harness.testbed import Testbed

_SPIN = ["/bin/sh", "-c", "while :; do :; done"]


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """Two bare hosts."""
    return new_testbed(hosts("a", "b"))


def share_of(bed: Testbed, process: Process, seconds: float) -> float:
    """How much of one processor a process has got over a time."""

    def used_ns() -> int:
        with open(f"/proc/{process.pid}/schedstat") as stat:
            return int(stat.read().split()[0])

    began, before = time.monotonic_ns(), used_ns()
    bed.recorder.pass_time(began + round(seconds * 1e9))
    return (used_ns() - before) / (time.monotonic_ns() - began)


@pytest.mark.parametrize(
    ("fault", "most"), [("cpu-steal:a,percent=80", 0.2), ("cpu-quota:a,percent=20", 0.2)]
)
def test_a_spinning_process_gets_its_share_and_no_more(bed: Testbed, fault: str, most: float) -> None:
    spin = bed.node("a").spawn("spin", _SPIN)
    elsewhere = bed.node("b").spawn("spin", _SPIN)
    with faults.parse(fault, bed):
        assert share_of(bed, spin, 2.0) < most * 1.25
        assert share_of(bed, elsewhere, 0.2) > 0
    assert _state(spin) == "R"
    for process in (spin, elsewhere):
        process.signal(9)


def test_a_quota_leaves_alone_what_uses_less(bed: Testbed) -> None:
    """Unlike stolen time, a quota is not felt by who stays below it."""
    ticker = ["/bin/sh", "-c", "while sleep 0.01; do echo; done"]
    process = bed.node("a").spawn("ticker", ticker)
    with faults.parse("cpu-quota:a,percent=90", bed):
        stopped = 0
        for _ in range(100):
            bed.recorder.pump(0.002)
            stopped += bed.node("a").alive and _state(process) == "T"
    assert stopped == 0
    process.signal_tree(9)


def _state(process: Process) -> str:
    with open(f"/proc/{process.pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_takes_the_processor_heals_in_any_order(new_testbed: NewTestbed, order: tuple[int, ...]) -> None:
    """Hung stays hung and frozen stays frozen, whatever takes the processor and gives it back."""
    bed = new_testbed(pair())
    texts = ("cpu-steal:lb1,percent=50,period_ms=4", "hang:lb1", "freeze:lb1")
    made = [faults.parse(text, bed) for text in texts]
    process = bed.process("lb1", "keepalived")
    for fault in made:
        fault.inject()
    left = set(range(3))
    for position in order:
        made[position].heal()
        left.discard(position)
        for _ in range(20):
            bed.recorder.pump(0.002)
            if left & {1, 2}:
                assert _state(process) == "T"
    bed.recorder.wait(lambda: _state(process) != "T", 5, "keepalived to go on")
    seen = bed.situation.adverts
    bed.recorder.wait(lambda: bed.situation.adverts > seen + 3, 10, "adverts")


def test_a_service_alone_is_slowed(new_testbed: NewTestbed) -> None:
    bed = new_testbed(pair())
    spin = bed.node("lb1").spawn("spin", _SPIN)
    with faults.parse("cpu-steal:lb1/keepalived,percent=99,period_ms=1000", bed):
        process = bed.process("lb1", "keepalived")
        bed.recorder.wait(lambda: _state(process) == "T", 5, "keepalived to be stopped")
        assert _state(spin) == "R"
    bed.recorder.wait(lambda: _state(process) != "T", 5, "keepalived to go on")
    spin.signal(9)


def test_what_failed_to_take_the_processor_gives_none_back(new_testbed: NewTestbed) -> None:
    """And the node's agent goes on with what else it does."""
    bed = new_testbed(pair())
    with faults.parse("cpu-steal:lb1,percent=50", bed), faults.parse("kill:lb1", bed):
        fault = faults.parse("cpu-steal:lb1/keepalived", bed)
        with pytest.raises(UsageError, match="lb1/keepalived does not run"):
            fault.inject()
        fault.heal()
        fault._heal(Target("lb1", "keepalived"))
    process = bed.process("lb1", "keepalived")
    with faults.parse("cpu-steal:lb1/keepalived,percent=99,period_ms=1000", bed):
        bed.recorder.wait(lambda: _state(process) == "T", 5, "keepalived to be stopped")
    bed.recorder.wait(lambda: _state(process) != "T", 5, "keepalived to go on")


def _soft(pid: int) -> int:
    return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize("first", [0, 1])
def test_descriptors_run_out(new_testbed: NewTestbed, first: int) -> None:
    """A fake master that can open one more accepts one more connection."""
    bed = new_testbed(pair())
    pid = bed.process("m1", "master").pid
    own, taken = _soft(pid), len(os.listdir(f"/proc/{pid}/fd"))
    both = [faults.parse(f"fds-exhausted:m1,left={left}", bed) for left in (1, 3)]
    for fault in both:
        fault.inject()
    clients = [tcp(bed, "cl") for _ in range(3)]
    for client in clients:
        client.connect_ex((address(bed, "m1"), 6443))
    accepted = lambda: len(os.listdir(f"/proc/{pid}/fd")) - taken  # noqa: E731
    bed.recorder.wait(lambda: accepted() == 1, 5, "one connection accepted")
    trouble = lambda: bed.recorder.timeline.first("note", node="m1")  # noqa: E731
    bed.recorder.wait(lambda: trouble() is not None, 5, "the master's complaint")
    assert accepted() == 1
    both[first].heal()
    assert own > _soft(pid)
    both[1 - first].heal()
    assert _soft(pid) == own
    bed.recorder.wait(lambda: accepted() == 3, 5, "all connections accepted")
    for client in clients:
        client.close()


def test_processes_come_and_go_while_descriptors_run_out(
    new_testbed: NewTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the check scripts of keepalived do."""
    bed = new_testbed(pair())
    pid = bed.process("m1", "master").pid
    gone = os.posix_spawnp("true", ["true"], os.environ)
    os.waitpid(gone, 0)
    own, others = _soft(pid), iter((gone, gone, os.getpid()))
    found = DescriptorsOut._pids
    monkeypatch.setattr(DescriptorsOut, "_pids", lambda *given: [next(others), *found(*given)])
    with faults.parse("fds-exhausted:m1", bed):
        assert own > _soft(pid)
        assert next(others, None) is None
    assert _soft(pid) == own


@pytest.mark.parametrize("first", [0, 1])
def test_a_disk_is_full_and_then_as_it_was(bed: Testbed, first: int) -> None:
    node = bed.node("a")
    node.run(
        ["/bin/sh", "-c", "mkdir -m 0751 -p /srv/x/y && echo before > /srv/x/y/file && chown 1:2 /srv/x"]
    )
    listing = ["/bin/sh", "-c", "ls -lnR /srv; cat /srv/x/y/file"]
    before, state = node.run(listing), node_state(bed, "a")
    both = [faults.parse("disk-full:a,path=/srv/x", bed) for _ in range(2)]
    for fault in both:
        fault.inject()
    for fault in (both[first], both[1 - first]):
        done = node.status(["dd", "if=/dev/zero", "of=/srv/x/new", "count=1"])
        assert "No space left on device" in done.stderr
        assert node.read("/srv/x/y/file") == b"before\n"
        fault.heal()
    assert node.run(listing) == before
    assert node_state(bed, "a") == state
    node.run(["/bin/sh", "-c", "echo more > /srv/x/new"])


def test_a_disk_may_have_some_room_left(bed: Testbed) -> None:
    with faults.parse("disk-full:a,path=/var/log,left_kb=8", bed):
        node = bed.node("a")
        node.run(["/bin/sh", "-c", "head -c 8192 /dev/zero > /var/log/eight"])
        assert not node.status(["/bin/sh", "-c", "head -c 1 /dev/zero > /var/log/nine"]).ok
    with pytest.raises(UsageError, match="a has no folder '/nowhere'"):
        faults.parse("disk-full:a,path=/nowhere", bed).inject()
    with pytest.raises(UsageError, match="needs path="):
        faults.check("disk-full:a")


def test_new_connections_find_no_entry_and_old_ones_go_on(bed: Testbed) -> None:
    """Five flows fit; a sixth is dropped without a word, and none of the five suffers."""
    state = node_state(bed, "a")
    with faults.parse("conntrack-full:a,entries=5", bed):
        into = udp(bed, "a", 9000)
        into.settimeout(0.3)
        flows = [udp(bed, "b", 9001 + number) for number in range(6)]

        def arrives(number: int) -> bool:
            flows[number].sendto(b"%d" % number, (address(bed, "a"), 9000))
            try:
                return into.recv(10) == b"%d" % number
            except TimeoutError:
                return False

        assert [arrives(number) for number in range(6)] == [True] * 5 + [False]
        assert [arrives(number) for number in range(6)] == [True] * 5 + [False]
    assert arrives(5)
    assert hears(bed, "a", "b")
    for opened in (into, *flows):
        opened.close()
    assert node_state(bed, "a") == state


def test_a_missing_file_comes_back(bed: Testbed) -> None:
    node = bed.node("a")
    before = node.run(["ls", "-ln", "/usr/bin/curl"])
    with faults.parse("file-missing:a,path=/usr/bin/curl", bed):
        assert not node.exists("/usr/bin/curl")
    assert node.run(["ls", "-ln", "/usr/bin/curl"]) == before


def test_what_could_not_be_healed_can_be_healed_later(bed: Testbed) -> None:
    """And until then it acts, though some of it was undone."""
    fault, gone = faults.parse("file-missing:a+b,path=/usr/bin/curl", bed), faults.parse("host-crash:b", bed)
    fault.inject()
    gone.inject()
    with pytest.raises(UsageError, match="b is down: heal that first"):
        fault.heal()
    assert bed.node("a").exists("/usr/bin/curl")
    assert not fault.healed_ns
    gone.heal()
    fault.heal()
    assert bed.node("b").exists("/usr/bin/curl")
    assert fault.healed_ns
    assert lives(bed)["file-missing"] == ["inject", "effective", "heal", "heal", "healed"]


def test_permissions_that_could_not_be_put_are_taken_back_from_nobody(bed: Testbed) -> None:
    node = bed.node("a")
    node.write("/etc/check.sh", "#!/bin/sh\n", 0o750)
    mode = lambda: node.run(["stat", "-c", "%a", "/etc/check.sh"]).strip()  # noqa: E731
    with faults.parse("file-mode:a,path=/etc/check.sh,mode=0600", bed):
        fault = faults.parse("file-mode:a,path=/etc/check.sh,mode=foo", bed)
        with pytest.raises(CommandFailed, match="invalid mode"):
            fault.inject()
        fault.heal()
        assert mode() == "600"
    assert mode() == "750"


@pytest.mark.parametrize("first", [0, 1])
def test_permissions_come_back_in_either_order(bed: Testbed, first: int) -> None:
    node = bed.node("a")
    node.write("/etc/check.sh", "#!/bin/sh\n", 0o750)
    mode = lambda: node.run(["stat", "-c", "%a", "/etc/check.sh"]).strip()  # noqa: E731
    both = [faults.parse(f"file-mode:a,path=/etc/check.sh,mode={mode}", bed) for mode in ("g+w", "0600")]
    for fault in both:
        fault.inject()
    assert mode() == "600"
    both[first].heal()
    assert mode() == ("600" if first == 0 else "770")
    both[1 - first].heal()
    assert mode() == "750"


def test_port_security_lets_a_node_send_from_its_own_address_only(bed: Testbed) -> None:
    bed.node("a").run(["ip", "address", "add", "10.0.0.77/24", "dev", "eth0"])
    assert bed.node("b").status(["ping", "-c", "1", "-W", "0.3", "10.0.0.77"]).ok
    with faults.parse("port-security:a", bed):
        assert not bed.node("b").status(["ping", "-c", "1", "-W", "0.3", "10.0.0.77"]).ok
        assert not bed.node("b").status(["arping", "-c", "1", "-w", "0.3", "-I", "eth0", "10.0.0.77"]).ok
        assert bed.node("b").status(["ping", "-c", "1", "-W", "0.3", "10.0.0.1"]).ok
    assert bed.node("b").status(["ping", "-c", "1", "-W", "0.3", "10.0.0.77"]).ok
