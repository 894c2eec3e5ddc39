"""The parts of the live lab that need no testbed: names and locks, the protocol, what is drawn and shown."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checks.patience import ENDS_S
from harness.errors import TestbedError, UsageError
from harness.kernel import syscalls as sc
from harness.lab import channel, holder, registry
from harness.lab.amounts import seconds, spoken
from harness.lab.board import Board
from harness.lab.channel import LONGEST_LINE, BadMessage, Channel, Lines, encode
from harness.lab.drawing import Drawing
from harness.lab.fortunes import table
from harness.lab.live import FREQUENT, Lab
from harness.lab.logs import Log, follow, show
from harness.lab.recent import catch_up
from harness.lab.registry import LabInfo
from harness.lab.server import Connection, Server
from harness.recorder import WHOLE, Recorder
from harness.report.lines import plain
from harness.report.private_keys import remove_private_keys
from harness.timeline import Event, Timeline

_NS = 1_000_000_000
_MS = 1_000_000
_HOLD = """
import sys
import time
from harness.lab import registry
claim = registry.claim(sys.argv[1])
claim.publish(registry.LabInfo(sys.argv[1], "vip-l7", "/nowhere", 0.0, {}, []))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("VIPDRILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(registry.LAB, raising=False)
    return tmp_path / "cache"


@contextmanager
def held(*names: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Labs of these names, each held by a process that does nothing else."""
    holders = []
    for name in names:
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holders.append(holder)
    yield holders
    for holder in holders:
        holder.kill()
        holder.communicate(timeout=60)


# -- which labs there are ------------------------------------------------------------------------------


def test_a_lab_is_there_as_long_as_somebody_holds_it(cache: Path) -> None:
    with held("a", "b") as (first, _):
        assert [info.name for info in registry.running()] == ["a", "b"]
        first.kill()
        first.wait()
        assert [info.name for info in registry.running()] == ["b"]
        assert not (cache / "labs" / "a").exists()


def test_the_number_of_a_dead_holder_is_nothing_to_go_by(cache: Path) -> None:
    """What a dead lab has left names a process that lives: ours."""
    folder = cache / "labs" / "old"
    folder.mkdir(parents=True)
    for name in ("lock", "pid", "lab.json"):
        (folder / name).write_text(str(os.getpid()))
    assert registry.running() == []
    assert not folder.exists()


def test_a_name_is_taken_once_and_free_again_afterwards() -> None:
    with held("a"):
        with pytest.raises(UsageError, match="there is a lab a already"):
            registry.claim("a")
        assert registry.free_name("a").name == "a-2"
    claim = registry.claim("a")
    claim.abandon()
    assert registry.running() == []
    registry.claim("a").abandon()


def test_stray_files_are_no_labs(cache: Path) -> None:
    (cache / "labs").mkdir(parents=True)
    (cache / "labs" / "README").write_text("hello")
    assert registry.running() == []
    assert (cache / "labs" / "README").exists()


@pytest.mark.parametrize("name", ["", "../up", "a b", "-n", ".lock", "a" * 65, "a/b"])
def test_what_cannot_be_a_name(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a lab's name"):
        registry.claim(name)


def test_which_lab_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no lab is up"):
        registry.choose(None)
    with pytest.raises(UsageError, match="there is no lab x; no lab is up"):
        registry.choose("x")
    with held("a") as _:
        assert registry.choose(None).name == "a"
        with held("b"):
            with pytest.raises(UsageError, match=r"2 labs are up \(a, b\)"):
                registry.choose(None)
            assert registry.choose("b").name == "b"
            monkeypatch.setenv(registry.LAB, "a")
            assert registry.choose(None).name == "a"
            with pytest.raises(UsageError, match="unknown lab 'c'; known: a, b"):
                registry.choose("c")


def test_the_end_of_a_lab_is_waited_for() -> None:
    with held("a") as (holder,):
        with registry.end_of(registry.choose("a")):
            holder.kill()
        assert registry.running() == []


# -- the protocol --------------------------------------------------------------------------------------


def test_messages_come_whole_however_they_are_cut() -> None:
    data = encode({"do": "status"}) + encode({"ok": [1, 2]})
    for size in (1, 3, len(data)):
        lines, found = Lines(), []
        for start in range(0, len(data), size):
            found += lines.feed(data[start : start + size])
        assert found == [{"do": "status"}, {"ok": [1, 2]}]


@pytest.mark.parametrize("data", [b"hello\n", b"[]\n", b"1\n", b"\xff\n", b"x" * (LONGEST_LINE + 1)])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(BadMessage):
        Lines().feed(data)


def test_a_socket_may_have_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    with channel.listen(folder / "socket") as listener, channel.connect(folder / "socket") as client:
        accepted, _ = listener.accept()
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        accepted.close()


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    made = Recorder(tmp_path / "timeline.jsonl")
    yield made
    made.close()


Talk = tuple[Channel, Connection, Server]


@pytest.fixture
def talk(recorder: Recorder) -> Iterator[Callable[[dict[str, Any]], Talk]]:
    """A function that connects a client to a server with these handlers."""
    opened: list[Talk] = []

    def connect(handlers: dict[str, Any]) -> Talk:
        ours, theirs = socket.socketpair()
        server = Server(recorder, handlers)
        opened.append((Channel(ours), server.adopt(theirs), server))
        return opened[-1]

    yield connect
    for client, connection, _ in opened:
        client.close()
        connection.close()


def test_what_goes_wrong_is_the_answer(recorder: Recorder, talk: Callable[..., Talk]) -> None:
    def refuse(_connection: Connection, _message: object) -> None:
        raise UsageError("not like that")

    def fail(_connection: Connection, _message: object) -> None:
        raise KeyError("oops")

    client, _, _ = talk({"refuse": refuse, "fail": fail})
    for do in ("refuse", "fail", "dance"):
        client.send({"do": do})
    recorder.pump(0)
    assert client.read() == {"error": "not like that", "exit_code": 2}
    assert "KeyError" in (client.read() or {})["error"]
    assert "another version" in (client.read() or {})["error"]


def test_descriptors_arrive_and_do_not_pile_up(recorder: Recorder, talk: Callable[..., Talk]) -> None:
    def take(connection: Connection, message: dict[str, int]) -> None:
        for fd in connection.take_fds(message["count"]):
            os.write(fd, b"here")
            os.close(fd)

    client, connection, _ = talk({"take": take})
    reading, writing = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    client.send({"do": "take", "count": 1}, (writing,))
    client.send({"do": "take", "count": 2}, (writing,))
    recorder.pump(0)
    recorder.pump(0)
    assert os.read(reading, 10) == b"here"
    assert "2 descriptors were to come" in (client.read() or {})["error"]
    for _ in range(2):
        client.send({"do": "nothing"}, (writing, writing, writing))
    recorder.pump(0)
    recorder.pump(0)
    assert not connection.open
    assert len(os.listdir("/proc/self/fd")) <= before
    os.close(reading)
    os.close(writing)


def test_who_does_not_read_costs_no_memory(recorder: Recorder, talk: Callable[..., Talk]) -> None:
    client, connection, _ = talk({})
    line = Event(1, "note", {"text": "x" * 1000}).to_json()
    for _ in range(20_000):
        connection.send_event(line)
    assert len(connection._out) < 6 << 20  # what waits, which nobody outside can see
    events = told = 0
    while not told:
        recorder.pump(0)
        connection.send_event(line)
        message = client.read() or {}
        events += "event" in message
        told = message.get("left_out", 0)
    assert told > 10_000
    assert events < 20_000


def test_a_client_that_is_gone_is_noticed(recorder: Recorder, talk: Callable[..., Talk]) -> None:
    client, connection, server = talk({})
    gone: list[bool] = []
    connection.when_gone(lambda: gone.append(True))
    client.close()
    recorder.pump(0)
    assert (gone, server.connections) == ([True], [])


def test_a_client_that_was_gone_before_is_noticed_too(recorder: Recorder, talk: Callable[..., Talk]) -> None:
    """Killed while it is answered: what is done only then for the case of its end is done at once."""
    client, connection, _ = talk({})
    gone: list[bool] = []
    client.close()
    connection.send(ok="started")
    connection.when_gone(lambda: gone.append(True))
    assert gone == [True]


def test_what_cannot_be_done_for_a_client_that_is_gone_harms_nobody(
    recorder: Recorder, talk: Callable[..., Talk]
) -> None:
    """All of it is tried, and what failed is told; only the lab's own end gets through."""

    def refuse() -> None:
        raise TestbedError("its agent does not answer")

    client, connection, _ = talk({})
    gone: list[bool] = []
    for callback in (refuse, lambda: gone.append(True), holder._end):
        connection.when_gone(callback)
    client.close()
    with pytest.raises(holder.Ended):
        recorder.pump(0)
    assert gone == [True]
    (note,) = recorder.timeline.of("note")
    assert note.text.endswith("its agent does not answer")


@pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user's id")
def test_nobody_else_is_let_in(recorder: Recorder) -> None:
    """A socket that anybody may connect to, and somebody else who does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0vipdrill-test-{os.getpid()}")
    listener.listen()
    server = Server(recorder, {"status": lambda connection, _: connection.send(ok=True)})
    server.listen(listener)
    assert asked_as(os.getuid(), listener.getsockname(), recorder) == "answered"
    try:
        assert asked_as(1, listener.getsockname(), recorder) == "refused"
    finally:
        server.stop_listening()


def asked_as(user: int, address: bytes, recorder: Recorder) -> str:
    """What a process of this user's gets for an answer."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setuid(user)
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(address)
                sock.sendall(encode({"do": "status"}))
                status = 0 if sock.recv(100) else 3
        except (BrokenPipeError, ConnectionResetError):
            status = 3
        finally:
            os._exit(status)
    ended = sc.pidfd_open(child)
    deadline = time.monotonic() + 20.0
    while not select.select([ended], [], [], 0)[0]:
        assert time.monotonic() < deadline
        recorder.pump(0.01)
    os.close(ended)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "answered", 3: "refused"}.get(status, f"status {status}")


def test_a_guest_of_the_recorder_is_served_in_its_waits(recorder: Recorder) -> None:
    reading, writing = os.pipe()
    served: list[int] = []
    recorder.serve(reading, select.EPOLLIN, served.append)
    os.write(writing, b"x")
    recorder.pump(0)
    assert served == [select.EPOLLIN]
    recorder.dismiss(reading)
    recorder.pump(0)
    assert len(served) == 1
    os.close(reading)
    os.close(writing)


# -- a long life ---------------------------------------------------------------------------------------


def long_run() -> Timeline:
    """Ten seconds at one probe each 10 ms, and what is rare."""
    timeline = Timeline([Event(0, "run", {"architecture": "vip-l7"})])
    for number in range(1000):
        timeline.add(Event(number * 10 * _MS, "probe", {"client": "cl", "seq": number}))
    timeline.add(Event(1 * _NS, "address", {"node": "lb1", "interface": "eth0", "address": "10.0.0.1/24"}))
    timeline.add(Event(1 * _NS, "fault", {"id": "kill-1", "state": "inject"}))
    return timeline


def test_a_long_life_is_bounded_and_keeps_what_is_rare() -> None:
    timeline = long_run()
    since_ns = timeline.shorten(100, FREQUENT)
    assert since_ns == 9 * _NS
    assert len(timeline.of("probe")) == 100
    assert timeline.of("address")
    assert timeline.run
    assert not timeline.of("fault")
    # Events that compare equal in time would be compared themselves if their numbers came again.
    for number in range(1000):
        timeline.add(Event(9 * _NS + number % 7, "probe", {"client": "cl", "seq": number}))
    assert len(timeline) == 1102
    timeline.cut(9 * _NS + 3)
    assert {event.t for event in timeline.since(9 * _NS)} == {9 * _NS + n for n in range(4)}


@pytest.mark.parametrize(("kind", "kept", "notes"), [("ipvs-load", 125, 4), ("address", 205, 4)])
def test_a_lab_s_memory_is_bounded_and_looked_after_now_and_then(
    recorder: Recorder, kind: str, kept: int, notes: int
) -> None:
    """What is kept for good may be more than a lab is to keep, and is not gone through at every event."""
    bed: Any = SimpleNamespace(recorder=recorder)
    lab, told = Lab("lab", bed, kept_events=100), list[Event]()
    recorder.listeners.append(told.append)
    fields = {"node": "lb1", "service": "TCP x", "members": {}, "interface": "eth0", "address": "10.0.0.1"}
    reading, writing = os.pipe()
    os.write(writing, bytes(200))

    def happen(_mask: int) -> None:
        recorder.emit(kind, **fields)
        os.read(reading, 1)
        if len([event for event in told if event.kind == kind]) == 200:
            lab.stop()

    recorder.serve(reading, select.EPOLLIN, happen)
    lab.serve()
    recorder.dismiss(reading)
    os.close(reading)
    os.close(writing)
    assert len(recorder.timeline) <= kept
    assert 1 <= len([event for event in told if event.kind == "note"]) <= notes


def test_what_is_let_go_stays_on_disk(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "timeline.jsonl")
    key = "-----BEGIN EC PRIVATE KEY-----\nsecret\n-----END EC PRIVATE KEY-----"
    recorder.emit("config", 1, node="lb1", service="haproxy", path="/x", text=key)
    for number in range(100):
        recorder.emit("note", number + 2, text=str(number))
    recorder.shorten(10, FREQUENT)
    recorder.close()
    assert len(Timeline.load(tmp_path / "timeline.jsonl")) == 11
    assert len(Timeline.load(tmp_path / WHOLE)) == 101
    remove_private_keys(tmp_path, recorder.timeline)
    assert "secret" not in (tmp_path / WHOLE).read_text()
    assert len(Timeline.load(tmp_path / WHOLE)) == 101


def test_who_comes_later_is_told_how_things_stand() -> None:
    timeline = long_run()
    timeline.add(Event(2 * _NS, "fault", {"id": "kill-2", "state": "inject"}))
    timeline.add(Event(3 * _NS, "node", {"node": "lb1", "state": "crashed"}))
    timeline.add(Event(4 * _NS, "node", {"node": "lb1", "state": "booted"}))
    told = catch_up(timeline, 9 * _NS, {"kill-2"})
    assert [event.kind for event in told[:4]] == ["run", "address", "fault", "node"]
    assert (told[2].id, told[3].state) == ("kill-2", "booted")
    assert {event.kind for event in told[4:]} == {"probe"}
    assert len(told) == 4 + 100


# -- what is shown -------------------------------------------------------------------------------------

_INFO = LabInfo(
    "lab",
    "vip-l7",
    "/nowhere",
    0.0,
    {
        "lb1": {
            "role": "balancer",
            "interfaces": [{"name": "eth0", "segment": "lan", "addresses": ["10.0.0.11/24"]}],
            "services": ["haproxy", "keepalived"],
        },
        "m1": {
            "role": "member",
            "interfaces": [{"name": "eth0", "segment": "lan", "addresses": ["10.0.0.21/24"]}],
            "services": ["master"],
        },
    },
    ["lan"],
)
_STATUS: dict[str, Any] = {
    "vips": ["10.0.0.100"],
    "holders": {"10.0.0.100": ["lb1"]},
    "nodes": {"lb1": "up", "m1": "down"},
    "faults": [{"id": "host-crash-1", "fault": "host-crash", "target": "m1", "nodes": ["m1"]}],
}


def test_the_drawing() -> None:
    assert Drawing(_INFO, _STATUS).text() == [
        "── lan ──┐",
        "         ├── lb1:eth0  10.0.0.11/24  balancer  haproxy, keepalived  ◀ VIP 10.0.0.100",
        "         └── m1:eth0   10.0.0.21/24  member    DOWN  master",
        "",
        "fault host-crash-1 acts on m1",
    ]


def test_the_drawing_for_graphviz() -> None:
    lines = Drawing(_INFO, _STATUS).dot()
    assert lines[0] == 'graph "lab" {'
    assert '  "lb1" -- "segment lan" [label="eth0\\n10.0.0.11/24"];' in lines
    assert any(line.startswith('  "m1" [') and "dashed" in line and "color=red" in line for line in lines)
    assert lines[-1] == "}"


def test_the_board() -> None:
    board = Board()
    nodes = [{"name": "lb1", "role": "balancer"}, {"name": "m1", "role": "member"}]
    board.take(Event(0, "run", {"nodes": nodes}))
    for number in range(10):
        fields = {"client": "cl", "stream": "new", "result": "ok" if number else "timeout"}
        board.take(Event(number * _NS, "probe", fields))
    board.take(Event(0, "service", {"node": "lb1", "service": "haproxy", "state": "exited"}))
    board.take(Event(0, "node", {"node": "m1", "state": "frozen"}))
    for server, up in (("m1", False), ("m2", True)):
        board.take(
            Event(
                0, "health", {"node": "lb1", "service": "haproxy", "pool": "api", "server": server, "up": up}
            )
        )
    assert plain(board.lines(5 * _NS)).splitlines() == [
        "balancers lb1 (no haproxy)",
        "members   m1 (frozen)",
        "lb1 sees  1 of 2 members up; down: api/m1",
        "last 5 s  cl 90.0 % of 10",
    ]
    assert plain(board.lines(10 * _NS)).splitlines()[-1] == "last 5 s  cl 100.0 % of 5"
    assert plain(board.lines(99 * _NS)).splitlines()[-1] == "last 5 s  cl nothing asked"


def test_the_last_words_of_a_log_are_said(tmp_path: Path) -> None:
    """They come, and the lab's end with them, while what came before is said still."""
    path, (ending, end) = tmp_path / "haproxy.log", os.pipe()
    path.write_text("first\n")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line == "first":
            path.write_text("first\nlast\nwords")
            os.close(end)

    follow([Log("lb1/haproxy", path)], ending, say)
    os.close(ending)
    assert said == ["first", "last", "words"]


def test_what_has_no_line_s_end_yet_is_said_once(tmp_path: Path) -> None:
    path, said = tmp_path / "haproxy.log", list[str]()
    path.write_text("first\nhalf")
    log = Log("lb1/haproxy", path)
    show([log], None, said.append)
    ending, end = os.pipe()
    os.close(end)
    follow([log], ending, said.append)
    os.close(ending)
    assert said == ["first", "half"]


def attempt(seq: int, result: str, member: str | None, took_ms: float) -> Event:
    fields = {"client": "cl", "stream": "new", "seq": seq, "target": "10.0.0.100:6443", "result": result}
    return Event(seq * _NS, "probe", {**fields, "member": member, "end": seq * _NS + int(took_ms * _MS)})


def test_how_clients_fare() -> None:
    events = [attempt(1, "ok", "m1", 2.0), attempt(2, "ok", "m2", 4.0), attempt(3, "timeout", None, 100.0)]
    lines = table(events, ["cl", "clx"])
    assert " ".join(lines[1].split()) == "cl 10.0.0.100:6443 2 of 3 1 timeout 3.0 ms 4.0 ms m1 1, m2 1"
    assert lines[2].split() == ["clx", "-", "asks", "nothing"]


@pytest.mark.parametrize(
    ("text", "value"), [("10s", 10), ("500ms", 0.5), ("1.5m", 90), ("2h", 7200), ("3", 3)]
)
def test_times_as_people_write_them(text: str, value: float) -> None:
    assert seconds(text, "--for") == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "soon", "1d", "1 s", "inf"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="--for takes a time such as 10s"):
        seconds(text, "--for")


@pytest.mark.parametrize(
    ("value", "text"), [(4.25, "4.2 s"), (61, "1 min"), (11_100, "3 h 5 min"), (180_000, "2 d 2 h")]
)
def test_times_as_people_say_them(value: float, text: str) -> None:
    assert spoken(value) == text


# -- completion ----------------------------------------------------------------------------------------


def completed(cache: Path, words: str) -> list[str]:
    """What the shell is offered behind these words."""
    environment = {
        **os.environ,
        "VIPDRILL_CACHE": str(cache),
        "_VIPDRILL_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    code = "import sys; sys.argv = ['vipdrill']; from harness.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_S,
    )
    assert not done.stderr, done.stderr
    return done.stdout.split()


def test_the_shell_offers_what_there_is(cache: Path) -> None:
    assert completed(cache, "vipdrill exec ") == []
    claim = registry.claim("lab")
    claim.publish(_INFO)
    assert completed(cache, "vipdrill exec ") == ["lb1", "m1"]
    assert completed(cache, "vipdrill shell -n lab l") == ["lb1"]
    assert completed(cache, "vipdrill logs lb1/") == ["lb1/haproxy", "lb1/keepalived"]
    assert completed(cache, "vipdrill pcap m") == ["m1:eth0"]
    assert completed(cache, "vipdrill down ") == ["lab"]
    assert completed(cache, "vipdrill fault host-") == ["host-crash", "host-reboot"]
    assert "kill:lb1/haproxy" in completed(cache, "vipdrill fault kill:l")
    claim.abandon()
