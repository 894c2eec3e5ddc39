"""Virtual time: the same drill is the same, exactly, and says what theory says.

Guests take turns with whatever else the machine does, so these tests need no quiet machine.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from time import monotonic
from types import SimpleNamespace

import pytest

from checks.judging import Judge, must_catch, must_hold
from checks.patience import ENDS_S
from harness import session, world
from harness.drill import Drill
from harness.errors import TestbedError
from harness.image import kernel
from harness.kernel.syscalls import pidfd_open
from harness.kernel.waiting import readable
from harness.plan import Plan
from harness.report.sweep import rows
from harness.services.keepalived import Keepalived, VrrpInstance, render
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology, Vip
from harness.virtual import guest as guest_module
from harness.virtual import library
from harness.virtual.guest import STALL, START_S, Guest
from harness.virtual.stage import VirtualStage, means

# What a whole run leaves that is to be the same, byte for byte.
_COMPARED = ("timeline.jsonl", "captures/*", "configs/**/*", "logs/**/*", "state/**/*")
_EXACT_S = 0.001

pytestmark = pytest.mark.skipif(library.lacks() is not None, reason=str(library.lacks()))

Perform = Callable[[Plan], VirtualStage]


@pytest.fixture
def perform(vipdrill_image: session.Image, artifact_folder: Path) -> Perform:
    """A function that carries out a plan in virtual time."""
    made: list[Path] = []

    def carry_out(plan: Plan) -> VirtualStage:
        folder = artifact_folder / str(len(made))
        folder.mkdir()
        made.append(folder)
        stage = VirtualStage(plan, vipdrill_image, *means(*plan.written), folder)
        stage.perform(lambda event: None)
        return stage

    return carry_out


@contextmanager
def busy_machine() -> Iterator[None]:
    """Something else that would have all the processors, for as long as the block lasts."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def two_speakers(version: int, interval_s: float, priority: int) -> Topology:
    """Two balancers that speak VRRP, and nothing else."""
    nodes = []
    for name, address, own_priority in (("lb1", "10.0.0.11", 255), ("lb2", "10.0.0.12", priority)):
        instance = VrrpInstance("VI", "eth0", 51, own_priority, interval_s, ("10.0.0.100/24",))
        service = Keepalived(render((instance,), version=version))
        interfaces = (Interface("eth0", "lan", (f"{address}/24",)),)
        nodes.append(NodeSpec(name, "balancer", interfaces, services=(service,)))
    vip = Vip("10.0.0.100", 6443, "masters")
    return Topology("two-speakers", {}, (Segment("lan"),), tuple(nodes), (vip,), ())


def digests(stage: VirtualStage) -> dict[str, str]:
    """A digest of each file that is compared, by its name."""
    paths = sorted(path for pattern in _COMPARED for path in stage.folder.glob(pattern) if path.is_file())
    return {
        str(path.relative_to(stage.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }


# Version, interval (s), and the priority of who takes over; VIPDRILL_THEORY=whole drills them all.
WHOLE = os.environ.get("VIPDRILL_THEORY") == "whole"
SAMPLE = ((3, 0.1, 100), (3, 1.0, 254), (2, 1.0, 1), (2, 3.0, 200))
THEORY = [
    [(version, interval_s, priority) for priority in (1, 50, 100, 200, 254)]
    for version, intervals in ((3, (0.1, 1.0, 3.0)), (2, (1.0, 2.0, 3.0)))
    for interval_s in intervals
]

# Twice 600 MiB of a guest that has 1 GiB, by mmap(2); with all of it there at once it would be killed.
ASKS_FOR_MORE = "exit(grep { $_ == -1 } map { syscall(9, 0, 600 << 20, 3, 0x22, -1, 0) } 1, 2)"

SMALL = {"masters": "1", "track": "none"}


def test_one_seed_is_one_run_byte_for_byte_and_another_is_another(perform: Perform) -> None:
    """Timeline, captures, configurations and the state of every node, while the machine is busy or not."""

    def digests_of(seed: int) -> dict[str, str]:
        return digests(perform(Plan("vip-l7", "host-crash", SMALL, seed=seed, rate=50)))

    first = digests_of(11)
    with busy_machine():
        second = digests_of(11)
    other = digests_of(12)
    assert {"timeline.jsonl", "captures/lan.pcap", "configs/lb1/etc/keepalived/keepalived.conf"} <= set(first)
    assert first == second
    # Were the seed without effect, that would say nothing.
    assert first["timeline.jsonl"] != other["timeline.jsonl"]


@pytest.mark.virtual_time
@pytest.mark.parametrize("combinations", THEORY if WHOLE else [SAMPLE])
def test_a_takeover_takes_what_theory_says(
    new_testbed: Callable[[Topology], Testbed], combinations: Sequence[tuple[int, float, int]]
) -> None:
    """To a millisecond of RFC 9568's and RFC 3768's arithmetic, for either version, at several phases."""
    phases = 10 if WHOLE else 2
    for version, interval_s, priority in combinations:
        testbed = new_testbed(two_speakers(version, interval_s, priority))
        Drill(testbed).sweep("host-crash", interval_s / phases)
        testbed.close()
        found = rows(testbed.recorder.timeline)
        assert len(found) == phases
        for row in found:
            assert row.missed_s is not None, row
            print(version, interval_s, priority, f"missed by {row.missed_s:.6f} s")
            assert row.missed_s <= _EXACT_S, (version, interval_s, priority, row)


@pytest.mark.virtual_time
@pytest.mark.testbed("vip-l7")
@pytest.mark.smoke
def test_a_test_runs_in_virtual_time(testbed: Testbed, drill: Drill, judge: Judge) -> None:
    """Marked `virtual_time`: nothing is late, the start date is fixed, and checks hold as they do outside."""
    drill.run("host-crash")
    timeline = testbed.recorder.timeline
    assert timeline.run.world == world.VIRTUAL
    assert timeline.of("lag") == []
    (clock,) = timeline.of("clock")
    assert clock.offset_ns == pytest.approx(START_S * 10**9, abs=1e6)
    must_hold(judge(), "vip-migration", "client-outage", "single-owner", "fail-back")


@pytest.mark.saboteur
@pytest.mark.virtual_time
@pytest.mark.testbed("vip-l7")
def test_a_deaf_standby_is_caught_there_too(testbed: Testbed, drill: Drill, judge: Judge) -> None:
    """The standby's keepalived was stopped without anybody having noticed."""
    drill.steady()
    testbed.process("lb2", "keepalived").signal_tree(signal.SIGSTOP)
    drill.strike("host-crash:lb1")
    drill.watch(1.5)
    drill.finish()
    must_catch(judge(), "vip-migration")


BETWEEN = """
import pytest

@pytest.fixture(scope="module")
def of_the_module():
    yield
    {ending}

def test_before(of_the_module): ...

@pytest.mark.virtual_time
def test_there(): ...
"""


@pytest.mark.parametrize(
    ("ending", "outcome"), [("", "3 passed"), ("raise OSError('it will not end')", "3 passed, 1 error")]
)
def test_what_is_left_to_a_test_in_a_guest_ends_with_it(tmp_path: Path, ending: str, outcome: str) -> None:
    """The fixtures of its module, if the next test is another's; an error of theirs is told."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nvipdrill = true\n")
    (tmp_path / "test_first.py").write_text(BETWEEN.format(ending=ending))
    (tmp_path / "test_second.py").write_text("def test_after(): ...\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VIPDRILL_BUBBLE", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=ENDS_S
    )
    assert f"== {outcome} in" in done.stdout, done.stdout + done.stderr


@pytest.mark.virtual_time
def test_its_kernel_has_what_a_host_may_lack(new_testbed: Callable[[Topology], Testbed]) -> None:
    """IPVS, netem, VLAN, VXLAN and next-hop groups: their modules come when somebody wants them."""
    node = new_testbed(two_speakers(3, 0.1, 100)).node("lb1")
    for command in (
        "ipvsadm -A -t 10.0.0.100:80 -s mh",
        "tc qdisc add dev eth0 root netem delay 10ms",
        "ip link add link eth0 name eth0.7 type vlan id 7",
        "ip link add vx type vxlan id 7 dstport 4789 remote 10.0.0.12 dev eth0",
        "ip nexthop add id 1 via 10.0.0.12 dev eth0",
        "ip nexthop add id 10 group 1 type resilient buckets 4",
    ):
        node.run(command.split())
    assert "mh" in node.run(["ipvsadm", "-L", "-n"])
    # What a daemon begins with is there, but not all that it only asks for, which may be more than there is.
    assert node.run(["grep", "VmLck", "/proc/self/status"]).split()[1] != "0"
    node.run(["perl", "-e", ASKS_FOR_MORE])


def test_an_incident_of_hours_is_seen_in_a_minute(tmp_path: Path, vipdrill_image: session.Image) -> None:
    """The example: an ARP cache that nobody can refresh; the VIP moves in time, clients wait for hours."""
    file = Path(__file__).parents[1] / "examples" / "arp-cache.yaml"
    command = [
        sys.executable,
        "-m",
        "harness",
        "run",
        str(file),
        "--quiet",
        "--report",
        str(tmp_path / "kept"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ENDS_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AS EXPECTED" in done.stdout
    result = json.loads((tmp_path / "kept" / "result.json").read_text())
    assert (result["world"], result["verdict"]) == ("virtual", "fail")
    assert result["takeover_s"] < 36.1
    # The second fault comes 29 minutes after the first, to the millisecond.
    assert result["faults"][1]["inject_s"] == pytest.approx(1740, abs=_EXACT_S)
    # Half to one and a half of the two hours for which neighbours are taken for granted (arp(7)).
    assert 3600 - 300 < result["outage_s"] < 10800 + 300


# -- the guest itself ----------------------------------------------------------------------------------


def guest_for(shell: str) -> Guest:
    """A guest that runs a shell command and nothing else."""
    job = {"command": ["/bin/sh", "-c", shell], "directory": "/"}
    return Guest(job, session.kernel(build=False).rootfs, library.ensure(), seed=1)


def session_of(leader: int) -> list[int]:
    """The processes of a session: a guest's kernel and what runs its processes (proc(5), stat)."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if entry.name.isdigit() and int(fields[3]) == leader:
            found.append(int(entry.name))
    return found


def test_hours_pass_in_a_moment_and_the_exit_code_comes_out() -> None:
    with guest_for("cat /proc/uptime; sleep 14400; cat /proc/uptime; exit 7") as guest:
        outcome = guest.wait({})
        before, after = (
            float(line.split()[0]) for line in (guest.exchange / "stdout").read_text().splitlines()
        )
    assert outcome["status"] == 7
    assert after - before == pytest.approx(14400, abs=0.1)


# Each of a guest's clocks, by a glance (`harness/virtual/glance.c`) between two answers of its kernel: in
# a program, and in what it forks.  Printed is the longest of all the times between the kernel's two answers.
GLANCES = """
import ctypes, os, time
kernel, answer = ctypes.CDLL(None).syscall, (ctypes.c_int64 * 2)()
def asked(clock):
    kernel(228, clock, answer)
    return answer[0] * 10**9 + answer[1]
def longest():
    between = []
    for clock in (time.CLOCK_MONOTONIC, time.CLOCK_REALTIME) * 2000:
        before, glance, after = asked(clock), time.clock_gettime_ns(clock), asked(clock)
        assert before < glance < after, (clock, before, glance, after)
        between.append(after - before)
    return max(between)
print(longest(), sum(line.endswith("/clock") for line in open("/proc/self/maps").read().split()), flush=True)
child = os.fork()
if not child:
    print(longest(), flush=True)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_glance_at_the_clock_shows_what_the_kernel_says() -> None:
    """Between any two of its answers, to the microsecond; and programs do glance."""
    with guest_for(f"exec {sys.executable} -IS -c {shlex.quote(GLANCES)}") as guest:
        outcome = guest.wait({})
        said = (guest.exchange / "stdout").read_text().split()
        assert (outcome["status"], len(said)) == (0, 3), (guest.exchange / "stderr").read_text()
    longest_ns, mapped, longest_in_child_ns = map(int, said)
    # Newer kernels than Debian's stable one have no such device.
    assert mapped == (not os.environ.get(kernel.SUITE))
    # Each of the three moves the clock on by a microsecond, the kernel perhaps by a few for work of its own.
    assert max(longest_ns, longest_in_child_ns) < _EXACT_S * 1e9


def test_who_asks_for_anything_but_the_time_gets_on() -> None:
    """It looks for a file again and again, which somebody makes by a timer: calls take time."""
    waiting = "(sleep 0.02; : >/run/over) & while [ ! -e /run/over ]; do :; done; exit 4"
    with guest_for(waiting) as guest:
        assert guest.wait({})["status"] == 4


def test_who_keeps_time_from_going_on_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STALL, "2")
    with guest_for("while :; do :; done") as guest:
        with pytest.raises(TestbedError, match=r"stands still.*: sh \("):
            guest.wait({})
        # Whoever was asked may fall over the question (harness/virtual/culprit.py), so some may be ending.
        processes = [pidfd_open(guest.pid)]
        for pid in session_of(guest.pid):
            with suppress(ProcessLookupError):
                processes.append(pidfd_open(pid))
    for process in processes:
        assert readable([process], 20.0), "a process of the guest outlived it"
        os.close(process)


def test_who_was_stopped_meanwhile_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock jumps, as for a process that was stopped, while the guest computes for a moment."""
    jumps = chain([0.0, 0.0, 0.0], repeat(1000.0))
    monkeypatch.setenv(STALL, "20")
    clock = SimpleNamespace(monotonic=lambda: monotonic() + next(jumps))
    monkeypatch.setattr(guest_module, "time", clock)
    words = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done; exit 5"
    with guest_for(words) as guest:
        assert guest.wait({guest.exchange / "stdout": lambda: None})["status"] == 5


def test_a_guest_that_is_killed_is_told_and_leaves_nothing() -> None:
    with guest_for("kill -9 1; sleep 1; echo c > /proc/sysrq-trigger; sleep 1") as guest:
        with pytest.raises(TestbedError, match="without an outcome"):
            guest.wait({})
        exchange = guest.exchange
    assert not exchange.exists()
