"""Nodes: every verb does what it says, nothing waits for its neighbour, nothing outlives a crash."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from checks.selftest.hosts import Hosts, copies_folders
from harness.errors import CommandFailed, TestbedError, WaitExpired
from harness.kernel import syscalls as sc
from harness.nodes.netns import NetnsNode
from harness.session import Image

PATIENCE_S = 20.0
AT_ONCE = 20
FOREVER = ["sleep", "1000000"]


@pytest.fixture
def hosts(vipdrill_image: Image, tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(vipdrill_image.rootfs, tmp_path)
    yield made
    made.end()


@pytest.fixture
def node(hosts: Hosts) -> NetnsNode:
    return hosts("n1")


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def state_of(pid: int) -> str:
    """A process's state as proc(5) has it: R, S, T, Z, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_end(pid_descriptor: int) -> None:
    """Wait until the process behind a descriptor has ended."""
    assert select.select([pid_descriptor], [], [], PATIENCE_S)[0]


def fifo(node: NetnsNode, path: str) -> int:
    """A descriptor of a new named pipe in the node, open for reading and writing."""
    node.run(["mkfifo", path])
    return os.open(f"/proc/{node.init_pid}/root{path}", os.O_RDWR)


def lines(fd: int, count: int) -> list[str]:
    """So many lines from a named pipe."""
    text = ""
    while text.count("\n") < count:
        assert select.select([fd], [], [], PATIENCE_S)[0], text
        text += os.read(fd, 65536).decode()
    return text.splitlines()


def wait_for_line(log: Path, words: str) -> None:
    """Wait until a log holds these words (inotify(7))."""
    notices = sc.inotify_modified(str(log))
    try:
        while words not in (text := log.read_text()):
            assert select.select([notices], [], [], PATIENCE_S)[0], text
            os.read(notices, 4096)
    finally:
        os.close(notices)


# -- what it is --------------------------------------------------------------------------------------


def test_a_node_has_its_own_name_root_processes_and_network(node: NetnsNode) -> None:
    assert node.run(["uname", "-n"]).strip() == "n1"
    assert node.run(["cat", "/etc/debian_version"])
    processes = node.run(["ps", "-e", "-o", "pid=,comm="]).split("\n")
    assert [line.split()[1] for line in processes if line] == ["catatonit", "ps"]
    assert node.run(["ls", "/sys/class/net"]).split() == ["lo"]
    here, there = (os.readlink("/proc/self/ns/net"), node.run(["readlink", "/proc/self/ns/net"]).strip())
    assert here != there


def test_nodes_do_not_see_each_other(hosts: Hosts) -> None:
    one, two = hosts("one"), hosts("two")
    one.write("/etc/keepalived/keepalived.conf", "one")
    one.spawn("sleep", FOREVER)
    assert not two.exists("/etc/keepalived/keepalived.conf")
    assert "sleep" not in two.run(["ps", "-e", "-o", "comm="])


def test_the_image_below_is_never_written_to(node: NetnsNode, vipdrill_image: Image) -> None:
    before = (vipdrill_image.rootfs / "etc/debian_version").read_bytes()
    node.write("/etc/debian_version", "changed")
    node.run(["rm", "/etc/passwd"])
    assert (vipdrill_image.rootfs / "etc/debian_version").read_bytes() == before
    assert (vipdrill_image.rootfs / "etc/passwd").exists()


def test_devices_and_terminals_that_daemons_expect(node: NetnsNode) -> None:
    node.run(shell("echo x > /dev/null; head -c 4 /dev/urandom > /dev/shm/r; test -s /dev/fd/0 < /dev/shm/r"))
    assert node.run(["stat", "-c", "%a", "/dev/shm", "/tmp", "/run"]).split() == ["1777", "1777", "755"]


def test_daemons_may_change_to_their_own_user(node: NetnsNode) -> None:
    """A user's own haproxy.cfg works also where there is one id only: the change is answered, not made."""
    node.write(
        "/etc/haproxy/haproxy.cfg",
        "global\n  user haproxy\n  group haproxy\n  stats socket /run/h.sock user haproxy mode 660\n"
        "defaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n"
        "listen l\n  mode tcp\n  bind 127.0.0.1:1\n",
    )
    haproxy = node.spawn("haproxy", ["haproxy", "-Ws", "-f", "/etc/haproxy/haproxy.cfg"], notify=True)
    haproxy.wait_notified(PATIENCE_S)
    node.run(["chown", "haproxy:haproxy", "/etc/haproxy/haproxy.cfg"])


# -- commands ----------------------------------------------------------------------------------------


def test_run_returns_standard_output_and_takes_standard_input(node: NetnsNode) -> None:
    assert node.run(["cat"], stdin=b"a\nb") == "a\nb"
    assert node.run(["cat"]) == ""
    much = os.urandom(1 << 20).hex().encode()
    assert node.run(["cat"], stdin=much) == much.decode()


def test_run_raises_with_what_the_command_said(node: NetnsNode) -> None:
    with pytest.raises(CommandFailed, match="'/bin/sh -c echo oops >&2; exit 3' on n1 exited with 3: oops"):
        node.run(shell("echo oops >&2; exit 3"))
    with pytest.raises(CommandFailed, match="with 4: only here"):
        node.run(shell("echo only here; exit 4"))


def test_status_reports_good_and_bad(node: NetnsNode) -> None:
    good = node.status(shell("echo out; echo err >&2"))
    assert (good.ok, good.status, good.stdout, good.stderr) == (True, 0, "out\n", "err\n")
    assert node.status(shell("kill -9 $$")).status == -9
    assert not node.status(["false"]).ok
    assert node.status(shell(r"printf '\377'")).stdout == "�"


def test_an_unknown_program_is_named(node: NetnsNode) -> None:
    with pytest.raises(TestbedError, match="node n1 has no program 'keepalivd'"):
        node.run(["keepalivd"])
    with pytest.raises(TestbedError, match="cannot start /nowhere on n1: No such file"):
        node.status(["/nowhere"])


def test_a_command_without_end_is_killed_with_its_children(node: NetnsNode) -> None:
    node.run(["mkfifo", "/alive"])
    alive = os.open(f"/proc/{node.init_pid}/root/alive", os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(WaitExpired, match=r"on n1: not within 0.2 s; last seen: begun"):
        node.status(shell("exec 3>/alive; echo begun; sleep 1000000 & sleep 1000000"), timeout_s=0.2)
    wait_for_end(alive)
    assert os.read(alive, 1) == b""
    os.close(alive)


def test_a_command_is_over_when_it_ends_not_when_its_background_does(node: NetnsNode) -> None:
    done = node.status(shell("echo begun; sleep 1000000 & echo $!"))
    assert done.stdout.startswith("begun\n")
    assert Path(f"/proc/{node.init_pid}/root/proc/{done.stdout.split()[1]}").exists()


def test_a_command_may_close_its_output_and_go_on(node: NetnsNode) -> None:
    here, go = fifo(node, "/here"), fifo(node, "/go")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.status, shell("exec >&- 2>&-; echo closed > /here; read x < /go; exit $x"))
        assert lines(here, 1) == ["closed"]
        os.write(go, b"7\n")
        assert waiting.result(PATIENCE_S).status == 7
    os.close(here)
    os.close(go)


def test_children_inherit_no_ignored_signals_and_no_descriptors(node: NetnsNode) -> None:
    ignored = node.run(["grep", "SigIgn", "/proc/self/status"]).split()[1]
    # Beyond 31 are real-time signals, which no daemon of ours uses and a caller may well ignore.
    assert int(ignored, 16) & (1 << signal.SIGSYS) - 1 == 0
    assert node.run(["ls", "/proc/self/fd"]).split() == ["0", "1", "2", "3"]


def test_commands_do_not_queue_behind_one_another(node: NetnsNode) -> None:
    """Each waits until all of them run: one after another they would wait for ever."""
    here, go = fifo(node, "/here"), fifo(node, "/go")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [
            pool.submit(node.run, shell("echo $$ > /here; read x < /go; echo gone")) for _ in range(AT_ONCE)
        ]
        assert len(set(lines(here, AT_ONCE))) == AT_ONCE
        os.write(go, b"\n" * AT_ONCE)
        assert [each.result(PATIENCE_S) for each in waiting] == ["gone\n"] * AT_ONCE
    os.close(here)
    os.close(go)


def test_waiting_commands_keep_nobody_out(node: NetnsNode) -> None:
    """However many commands wait, another one, a file and a boot get through."""
    here, go = fifo(node, "/here"), fifo(node, "/go")
    many = 60
    with ThreadPoolExecutor(many) as pool:
        waiting = [pool.submit(node.status, shell("echo x > /here; read x < /go")) for _ in range(many)]
        lines(here, many)
        assert node.run(["echo", "through"]) == "through\n"
        node.write("/through", "yes")
        os.write(go, b"\n" * many)
        assert all(each.result(PATIENCE_S).ok for each in waiting)
    os.close(here)
    os.close(go)


# -- files -------------------------------------------------------------------------------------------


def test_files_are_at_their_real_paths(node: NetnsNode) -> None:
    node.write("/etc/haproxy/errors/deep/503.http", "HTTP/1.0 503\n", 0o600)
    assert node.run(["stat", "-c", "%a %u", "/etc/haproxy/errors/deep/503.http"]) == "600 0\n"
    assert node.read("/etc/haproxy/errors/deep/503.http") == b"HTTP/1.0 503\n"
    node.write("/etc/haproxy/errors/deep/503.http", bytes(range(256)))
    assert node.read("/etc/haproxy/errors/deep/503.http") == bytes(range(256))
    with pytest.raises(FileNotFoundError):
        node.read("/etc/nowhere")


def test_folders_are_copied_in_and_out(node: NetnsNode, tmp_path: Path) -> None:
    copies_folders(node, tmp_path)


def test_exists_sees_dangling_links_too(node: NetnsNode) -> None:
    node.run(["ln", "-s", "/nowhere", "/link"])
    assert node.exists("/link")
    assert not node.exists("/nowhere")


def test_sysctls_are_the_nodes_own(hosts: Hosts) -> None:
    one, two = hosts("one"), hosts("two")
    one.sysctl({"net.ipv4.ip_forward": "1"})
    assert one.read("/proc/sys/net/ipv4/ip_forward") == b"1\n"
    assert two.read("/proc/sys/net/ipv4/ip_forward") == b"0\n"
    with pytest.raises(TestbedError, match=r"sysctl net.ipv4.no_such=1 on one: No such file"):
        one.sysctl({"net.ipv4.no_such": "1"})


# -- long-running processes --------------------------------------------------------------------------


def test_a_spawned_process_writes_its_log_and_is_reaped(node: NetnsNode) -> None:
    process = node.spawn("talker", shell("echo to stdout; echo to stderr >&2; exit 5"))
    assert process.reap(wait=True) == 5
    assert not process.running
    assert process.log == node.log_dir / "talker.log"
    assert process.log.read_text() == "to stdout\nto stderr\n"


def test_output_of_its_own_and_a_log_that_grows(node: NetnsNode, tmp_path: Path) -> None:
    for _ in range(2):
        node.spawn("t", shell("echo data; echo said >&2"), output=tmp_path / "data").reap(wait=True)
    assert (tmp_path / "data").read_text() == "data\n" * 2
    assert (node.log_dir / "t.log").read_text() == "said\n" * 2


def test_readiness_as_to_systemd(node: NetnsNode) -> None:
    talk = "printf 'STATUS=loading' | socat - UNIX-SENDTO:$NOTIFY_SOCKET; "
    talk += "printf 'READY=1\\nSTATUS=done' | socat - UNIX-SENDTO:$NOTIFY_SOCKET; exec sleep 1000000"
    process = node.spawn("service", shell(talk), notify=True)
    process.wait_notified(PATIENCE_S)
    assert process.running


def test_an_end_instead_of_readiness_is_told_with_the_log(node: NetnsNode) -> None:
    process = node.spawn("service", shell("echo no such file >&2; exit 1"), notify=True)
    with pytest.raises(TestbedError, match="n1/service ended at its start: no such file"):
        process.wait_notified(PATIENCE_S)


def test_signals_reach_the_tree_or_only_its_root(node: NetnsNode) -> None:
    here = fifo(node, "/here")
    parent = (
        "trap 'echo parent > /here' USR1; sh -c \"trap 'echo child > /here; exit' USR1; echo up > /here; "
    )
    parent += 'while :; do read x < /never; done" & wait; wait; wait; sleep 1000000'
    node.run(["mkfifo", "/never"])
    process = node.spawn("family", shell(parent))
    assert lines(here, 1) == ["up"]
    assert len(process.tree()) == 2
    process.signal(signal.SIGUSR1)
    assert lines(here, 1) == ["parent"]
    process.signal_tree(signal.SIGUSR1)
    assert sorted(lines(here, 2)) == ["child", "parent"]
    os.close(here)


def test_the_whole_tree_is_stopped_goes_on_and_dies(node: NetnsNode) -> None:
    here = fifo(node, "/here")
    process = node.spawn("family", shell("sleep 1000000 & sleep 1000000 & echo up > /here; wait"))
    lines(here, 1)
    os.close(here)
    tree = process.tree()
    assert len(tree) == 3
    process.signal_tree(signal.SIGSTOP)
    assert {state_of(pid) for pid in tree} == {"T"}
    process.signal_tree(signal.SIGCONT)
    assert "T" not in {state_of(pid) for pid in tree}
    children = [sc.pidfd_open(pid) for pid in tree[1:]]
    process.signal_tree(signal.SIGKILL)
    assert process.reap(wait=True) == -signal.SIGKILL
    for child in children:
        wait_for_end(child)
        os.close(child)
    process.signal(signal.SIGTERM)
    process.signal_tree(signal.SIGTERM)


# -- power -------------------------------------------------------------------------------------------


def test_freeze_stops_everything_and_thaw_lets_it_go_on(node: NetnsNode) -> None:
    node.freeze()
    node.thaw()
    processes = [node.spawn(f"s{i}", FOREVER) for i in range(5)]
    node.freeze()
    assert node.frozen
    assert [state_of(process.pid) for process in processes] == ["T"] * 5
    assert node.run(["echo", "the kernel goes on"])
    node.thaw()
    assert not node.frozen
    assert "T" not in [state_of(process.pid) for process in processes]


def test_a_crash_keeps_the_disk_and_nothing_else(node: NetnsNode) -> None:
    node.write("/etc/kept", "kept")
    node.write("/run/service.pid", "1")
    node.sysctl({"net.ipv4.ip_forward": "1"})
    node.spawn("deaf", shell("trap '' TERM INT HUP; sleep 1000000"))
    old_init = sc.pidfd_open(node.init_pid)
    node.crash()
    wait_for_end(old_init)
    os.close(old_init)
    assert (node.alive, node.init_pid) == (False, 0)
    node.boot()
    assert node.read("/etc/kept") == b"kept"
    assert not node.exists("/run/service.pid")
    assert node.read("/proc/sys/net/ipv4/ip_forward") == b"0\n"
    assert "sleep" not in node.run(["ps", "-e", "-o", "comm="])


def test_a_crash_ends_what_runs_in_the_node_at_once(node: NetnsNode) -> None:
    here = fifo(node, "/here")
    process = node.spawn("service", FOREVER)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(node.status, shell("echo up > /here; sleep 1000000"))
        lines(here, 1)
        node.crash()
        assert waiting.result(PATIENCE_S).status == -signal.SIGKILL
    assert process.status == -signal.SIGKILL
    os.close(here)


def test_crash_boot_and_release_may_come_twice_or_never(hosts: Hosts) -> None:
    node = hosts("n1", boot=False)
    node.crash()
    node.release()
    node.reap()
    node.boot()
    with pytest.raises(TestbedError, match="node n1 is booted already"):
        node.boot()
    node.release()
    node.reap()
    node.release()
    node.reap()


def test_what_is_asked_of_a_node_that_is_down_is_refused_clearly(node: NetnsNode) -> None:
    node.crash()
    for ask in (
        lambda: node.run(["true"]),
        lambda: node.spawn("s", FOREVER),
        lambda: node.read("/etc/passwd"),
        lambda: node.write("/x", "x"),
        node.freeze,
    ):
        with pytest.raises(TestbedError, match="node n1 is down"):
            ask()


def test_a_node_that_died_by_itself_is_told_from_one_that_was_crashed(node: NetnsNode) -> None:
    """The out-of-memory killer may take a node's process 1: no raw system error then."""
    init = sc.pidfd_open(node.init_pid)
    os.kill(node.init_pid, signal.SIGKILL)
    wait_for_end(init)
    os.close(init)
    with pytest.raises(TestbedError, match="node n1 is dead: its process 1 has ended"):
        node.run(["true"])


def test_a_boot_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    node = NetnsNode("n1", tmp_path / "no-image", tmp_path / "disk", tmp_path / "logs")
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TestbedError, match=r"node n1 did not boot: .*mount \S*root: No such file"):
        node.boot()
    assert not node.alive
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_nothing_is_left_open_by_any_verb(node: NetnsNode) -> None:
    def everything() -> None:
        node.status(["true"])
        node.status(["cat"], stdin=b"x")
        node.write("/x", "x")
        with pytest.raises(WaitExpired):
            node.status(FOREVER, timeout_s=0.01)
        with pytest.raises(TestbedError):
            node.status(["no-such-program"])
        node.spawn("s", ["true"]).reap(wait=True)
        node.crash()
        node.boot()

    everything()
    before = len(os.listdir("/proc/self/fd"))
    everything()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_tear_down_in_the_middle_of_a_start_waits_for_nobody(hosts: Hosts) -> None:
    """Who is interrupted while it starts something never hears of it; a tear-down must still end."""
    node = hosts("n1")
    stop = threading.Event()

    def start_on_and_on() -> None:
        while not stop.is_set():
            try:
                node.spawn("s", FOREVER)
            except TestbedError:
                return

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(start_on_and_on)
        node.release()
        node.reap()
        stop.set()
    assert not node.alive


# -- in testinfra's words ----------------------------------------------------------------------------


def test_testinfra_sees_files(node: NetnsNode) -> None:
    node.write("/etc/keepalived/keepalived.conf", "vrrp_instance VI_1 {\n}\n", 0o640)
    file = node.host.file("/etc/keepalived/keepalived.conf")
    assert file.is_file
    assert file.contains("vrrp_instance VI_1")
    assert not file.contains("vrrp_instance VI_2")
    assert (file.user, file.group, file.mode, file.size) == ("root", "root", 0o640, 23)
    assert file.content_string.startswith("vrrp_instance")
    assert node.host.file("/sbin/keepalived").exists
    assert not node.host.file("/etc/haproxy/haproxy.cfg").exists


def test_testinfra_sees_processes_sockets_and_interfaces(node: NetnsNode) -> None:
    node.run(["ip", "link", "set", "lo", "up"])
    node.run(["ip", "address", "add", "192.0.2.10/32", "dev", "lo"])
    listening = "socat -d -d TCP-LISTEN:6443,bind=192.0.2.10,fork PIPE"
    process = node.spawn("listener", listening.split())
    wait_for_line(process.log, "listening on")
    host = node.host
    assert host.process.get(comm="socat").args == listening
    assert host.process.filter(comm="haproxy") == []
    assert host.socket("tcp://192.0.2.10:6443").is_listening
    assert not host.socket("tcp://192.0.2.10:6444").is_listening
    assert "192.0.2.10" in host.interface("lo").addresses
    assert host.interface("lo").exists
    assert not host.interface("eth7").exists
    assert host.sysctl("net.ipv4.ip_forward") == 0
    assert host.package("keepalived").is_installed


def test_testinfra_runs_and_quotes_commands(node: NetnsNode) -> None:
    host = node.host
    assert host.run("echo %s", "a; b 'c' é").stdout == "a; b 'c' é\n"
    assert host.run("exit 3").rc == 3
    assert host.check_output("uname -n") == "n1"
    assert host.backend.get_pytest_id() == "vipdrill://n1"
    assert host is node.host


def test_testinfra_survives_a_reboot(node: NetnsNode) -> None:
    host = node.host
    node.crash()
    with pytest.raises(TestbedError, match="node n1 is down"):
        host.run("true")
    node.boot()
    assert host.run("true").succeeded
