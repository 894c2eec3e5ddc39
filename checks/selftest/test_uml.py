"""A node with a kernel of its own does what any node does, and dies as a machine does."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checks.selftest.hosts import copies_folders
from harness import bubble, session
from harness.errors import CommandFailed, TestbedError, UsageError, WaitExpired
from harness.kernel import ladder
from harness.kernel import syscalls as sc
from harness.kernel.waiting import readable
from harness.nodes.uml import UmlNode
from harness.session import Image

pytestmark = pytest.mark.skipif(bool(ladder.why_no_uml()), reason=ladder.why_no_uml())
DEADLINE_S = 20.0
RESIDENT_KB = 64 << 10

NewMachine = Callable[..., UmlNode]


@pytest.fixture(scope="module")
def new_machine(vipdrill_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewMachine]:
    """A function that makes a node with a kernel of its own, gone after the module's tests."""
    logs = tmp_path_factory.mktemp("machines")
    made: list[UmlNode] = []

    def make(name: str, **more: object) -> UmlNode:
        # Other workers share the bubble, and no disk may be in two machines.
        disk = bubble.scratch() / f"bed-{logs.name}-{os.getpid()}-{name}"
        kernel = session.kernel(build=False)
        node = UmlNode(name, vipdrill_image.rootfs, kernel.rootfs, disk, logs / name, **more)  # type: ignore[arg-type]
        made.append(node)
        return node

    yield make
    for node in made:
        node.crash()


@pytest.fixture(scope="module")
def shared(new_machine: NewMachine) -> UmlNode:
    """One booted machine for the tests that leave it as it was."""
    node = new_machine("n1", modules=("ip_vs",))
    node.boot()
    return node


def resident_kb(node: UmlNode) -> int:
    """What all processes of a machine hold in memory; those that share all of it are counted once."""
    assert node.machine is not None
    memories: dict[str, int] = {}
    for pid in node.machine.tree():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                memories[Path(f"/proc/{pid}/statm").read_text().split()[0]] = int(line.split()[1])
    return sum(memories.values())


# -- a machine -------------------------------------------------------------------------------------


def test_it_is_another_kernel_with_its_own_name(shared: UmlNode) -> None:
    release = session.kernel(build=False).release
    assert shared.run(["uname", "-r"]).strip() == release != os.uname().release
    assert shared.run(["hostname"]).strip() == "n1"
    assert (shared.own_kernel, shared.alive) == (True, True)


def test_two_boot_at_once_and_stay_small(new_machine: NewMachine) -> None:
    """How long it takes `ci/bench uml` measures."""
    nodes = [new_machine(name) for name in ("a", "b")]
    boots = [node.boot_async() for node in nodes]
    for boot in boots:
        boot.result()
    for node in nodes:
        assert resident_kb(node) <= RESIDENT_KB
        node.crash()


def test_modules_are_there_when_asked_for_and_come_when_needed(shared: UmlNode) -> None:
    assert shared.exists("/proc/net/ip_vs")
    assert "ip_vs_mh" not in shared.run(["cat", "/proc/modules"])
    shared.run(["ipvsadm", "-A", "-t", "192.0.2.1:80", "-s", "mh"])
    assert "ip_vs_mh" in shared.run(["cat", "/proc/modules"])
    shared.run(["ipvsadm", "-C"])


def test_a_module_that_there_is_not_is_named(new_machine: NewMachine) -> None:
    node = new_machine("c", modules=("ip_vs_nonsense",))
    with pytest.raises(TestbedError, match="the kernel of c lacks ip_vs_nonsense: no such module"):
        node.boot()
    assert not node.alive


# -- commands --------------------------------------------------------------------------------------


def test_run_returns_standard_output_and_takes_standard_input(shared: UmlNode) -> None:
    assert shared.run(["sh", "-c", "cat; echo $HOME"], stdin=b"fed ") == "fed /root\n"
    large = bytes(range(256)) * 400
    assert len(shared.run(["wc", "-c"], stdin=large).strip()) == len(str(len(large)))


def test_status_and_run_tell_good_from_bad(shared: UmlNode) -> None:
    done = shared.status(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.status, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert shared.status(["sh", "-c", "kill -9 $$"]).status == -9
    with pytest.raises(CommandFailed, match="exited with 3"):
        shared.run(["sh", "-c", "exit 3"])
    with pytest.raises(TestbedError, match="node n1 has no program 'nonsense'"):
        shared.run(["nonsense"])


def test_a_command_without_end_is_killed_with_its_children(shared: UmlNode) -> None:
    with pytest.raises(WaitExpired, match=r"the end of .* last seen: going"):
        shared.status(["sh", "-c", "echo going; sleep 1000 & wait"], timeout_s=0.5)
    assert "sleep 1000" not in shared.run(["ps", "-eo", "args"])


def test_a_command_is_over_when_it_ends_not_when_its_background_does(shared: UmlNode) -> None:
    began = time.monotonic()
    assert shared.run(["sh", "-c", "sleep 1000 & echo $!"]).strip().isdigit()
    assert time.monotonic() - began < DEADLINE_S
    shared.run(["pkill", "sleep"])


# -- files -----------------------------------------------------------------------------------------


def test_files_are_at_their_real_paths(shared: UmlNode) -> None:
    data = bytes(range(256)) * 64
    shared.write("/etc/new/folder/file", data, 0o750)
    assert shared.read("/etc/new/folder/file") == data
    assert shared.listdir("/etc/new") == ["folder"]
    assert shared.run(["stat", "-c", "%a", "/etc/new/folder/file"]).strip() == "750"
    shared.run(["ln", "-s", "/nowhere", "/etc/new/dangling"])
    assert shared.exists("/etc/new/dangling")
    assert not shared.exists("/etc/new/nothing")
    for verb in (shared.read, shared.listdir):
        with pytest.raises(FileNotFoundError, match="/etc/nothing"):
            verb("/etc/nothing")


def test_folders_are_copied_in_and_out(shared: UmlNode, tmp_path: Path) -> None:
    copies_folders(shared, tmp_path)


def test_kernel_parameters_are_its_own(shared: UmlNode) -> None:
    shared.sysctl({"net.ipv4.ip_forward": "1"})
    assert shared.read("/proc/sys/net/ipv4/ip_forward") == b"1\n"
    with pytest.raises(TestbedError, match=r"sysctl net\.no_such=1 on n1"):
        shared.sysctl({"net.no_such": "1"})


# -- services --------------------------------------------------------------------------------------


def test_a_spawned_process_writes_its_log_and_is_reaped(shared: UmlNode) -> None:
    process = shared.spawn("say", ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert process.reap(wait=True) == 7
    assert sorted(process.log.read_text().split()) == ["err", "out"]
    process.close()


def test_readiness_as_to_systemd(shared: UmlNode) -> None:
    script = 'printf READY=1 | socat - "UNIX-SENDTO:$NOTIFY_SOCKET"; sleep 1000'
    process = shared.spawn("ready", ["sh", "-c", script], notify=True)
    process.wait_notified(DEADLINE_S)
    process.signal_tree(signal.SIGKILL)
    assert process.reap(wait=True) == -signal.SIGKILL
    ended = shared.spawn("early", ["sh", "-c", "echo too bad; exit 1"], notify=True)
    with pytest.raises(TestbedError, match="n1/early ended at its start: too bad"):
        ended.wait_notified(DEADLINE_S)
    for one in (process, ended):
        one.close()


def test_the_whole_tree_is_stopped_goes_on_and_dies(shared: UmlNode) -> None:
    told = 'printf READY=1 | socat - "UNIX-SENDTO:$NOTIFY_SOCKET"'
    process = shared.spawn("tree", ["sh", "-c", f"({told}; exec sleep 1000) & wait"], notify=True)
    process.wait_notified(DEADLINE_S)
    process.signal_tree(signal.SIGSTOP)
    # Who told of the readiness may have ended just before, with nobody awake to reap it.
    assert process.states() - {"Z"} == {"T"}
    process.signal_tree(signal.SIGCONT)
    assert "T" not in process.states()
    process.signal_children(signal.SIGSTOP)
    assert process.states(children_only=True) <= {"T"}
    process.signal_tree(signal.SIGKILL)
    assert process.reap(wait=True) == -signal.SIGKILL
    assert process.tree() == []
    process.close()


def test_freeze_stops_everything_but_what_answers_us(shared: UmlNode) -> None:
    process = shared.spawn("busy", ["sh", "-c", "while :; do :; done"])
    shared.freeze()
    assert process.states() == {"T"}
    assert shared.read("/etc/hostname") is not None
    shared.thaw(process.numbers_inside())
    assert process.states() == {"T"}
    shared.freeze()
    shared.thaw()
    assert process.states() == {"R"}
    process.signal(signal.SIGKILL)
    process.reap(wait=True)
    process.close()


def test_our_own_agents_are_refused(shared: UmlNode) -> None:
    with pytest.raises(UsageError, match="n1 has a kernel of its own, in which probe cannot run"):
        shared.spawn_agent("probe", "harness.observe.probe", {})


def test_testinfra_sees_it_as_any_host(shared: UmlNode) -> None:
    assert shared.host.file("/etc/debian_version").exists
    assert shared.host.process.get(pid=1).comm == "agent"


# -- the end ---------------------------------------------------------------------------------------


def test_a_crash_keeps_the_disk_and_nothing_else(new_machine: NewMachine) -> None:
    node = new_machine("d")
    node.boot()
    node.write("/etc/kept", "kept")
    node.write("/run/lost", "lost")
    # What is on the disk is what had reached it: as on any host.
    node.run(["sync"])
    service = node.spawn("s", ["sleep", "1000"])
    assert node.machine is not None
    pids = [sc.pidfd_open(pid) for pid in node.machine.tree()]
    node.crash()
    for pidfd in pids:
        assert readable([pidfd], 0), "a process of the machine was left"
        os.close(pidfd)
    assert (node.alive, node.init_pid, service.reap()) == (False, 0, -signal.SIGKILL)
    with pytest.raises(TestbedError, match="node d is down"):
        node.run(["true"])
    node.boot()
    assert (node.read("/etc/kept"), node.exists("/run/lost")) == (b"kept", False)
    node.crash()
    service.close()


def test_a_panic_ends_it_and_it_can_be_booted_again(new_machine: NewMachine) -> None:
    node = new_machine("e")
    node.boot()
    first = node.init_pid
    node.panic()
    assert not node.alive
    assert "Kernel panic" in (node.log_dir / "machine.log").read_text()
    with pytest.raises(TestbedError, match="node e is dead"):
        node.run(["true"])
    node.boot()
    assert node.alive
    assert node.init_pid != first
    node.crash()


def test_nothing_is_left_open_by_a_machine(new_machine: NewMachine) -> None:
    node = new_machine("f")
    node.boot()
    node.crash()
    before = os.listdir("/proc/self/fd")
    for _ in range(2):
        node.boot()
        node.run(["true"])
        node.crash()
    assert len(os.listdir("/proc/self/fd")) <= len(before)
