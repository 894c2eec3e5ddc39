"""What can be known of machines without one: their command line, the line's frames, the ladder's choices."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest

from checks.selftest.test_ipvs_table import HEAD, M1, M2, SERVICE
from harness.errors import MissingCapability, TestbedError, UsageError
from harness.kernel import features, ladder
from harness.topology import Interface, NodeSpec, Segment, Topology
from harness.uml.channel import Channel, frame, frames
from harness.uml.command import Wire, command_line
from harness.uml.news import News
from harness.uml.process import GuestProcess


def test_a_command_line_names_everything_that_a_machine_has() -> None:
    words = command_line("lb1", 96, [Wire("tap", "t0"), Wire("raw", "eth1", 9000, depth=64)])
    assert words[0].endswith("linux.uml")
    assert {"mem=96M", "hostname=lb1", "rootflags=/node", "ssl0=fd:3", "con0=null,fd:1"} <= set(words)
    assert words[-2:] == [
        "vec0:transport=tap,ifname=t0,depth=128,mtu=1500,gro=1",
        "vec1:transport=raw,ifname=eth1,depth=64,mtu=9000,gro=1",
    ]


# -- the line ----------------------------------------------------------------------------------------


def test_frames_come_out_as_they_went_in_however_they_are_cut() -> None:
    sent = [(1, ("read", "/etc/hosts")), (0, (b"\0\1\n", 7, "")), (2, ("ok",))]
    stream = b"".join(frame(number, fields) for number, fields in sent)
    received, found = bytearray(), []
    for byte in stream:
        received.append(byte)
        found += frames(received)
    assert found == [(1, [b"read", b"/etc/hosts"]), (0, [b"\0\1\n", b"7", b""]), (2, [b"ok"])]
    assert not received


def test_a_word_that_is_no_text_goes_over_the_line_as_it_is() -> None:
    assert frames(bytearray(frame(1, ("echo", os.fsdecode(b"\xff"))))) == [(1, [b"echo", b"\xff"])]


def test_no_more_is_sent_than_the_machine_has_room_for() -> None:
    ours, theirs = socket.socketpair()
    heard: list[str] = []
    channel = Channel("n", ours, lambda _now, kind, _fields: heard.append(kind))
    sending = threading.Thread(target=channel.tell, args=("write", b"x" * 10_000))
    sending.start()
    taken = 0
    while taken < len(frame(1, ("write", b"x" * 10_000))):
        data = theirs.recv(65536)
        assert len(data) <= 3500
        taken += len(data)
        theirs.sendall(frame(0, ("taken", len(data))))
    sending.join(10)
    theirs.close()
    channel.close()
    assert heard == ["gone"]


def test_who_waits_for_a_machine_that_ends_is_told() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel("n", ours, lambda *_: None)
    ending = threading.Thread(target=lambda: (theirs.recv(100), theirs.close()))
    ending.start()
    with pytest.raises(TestbedError, match="node n is dead"):
        channel.ask("read", "/etc/hosts")
    ending.join()
    channel.close()
    with pytest.raises(TestbedError, match="node n is dead"):
        channel.ask("read", "/etc/hosts")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_listener_that_fails_leaves_nobody_waiting() -> None:
    ours, theirs = socket.socketpair()

    def fail(_now: int, kind: str, _fields: list[bytes]) -> None:
        assert kind == "gone"

    channel = Channel("n", ours, fail)
    theirs.sendall(frame(0, ("news",)))
    with pytest.raises(TestbedError, match="node n is dead"):
        channel.ask("read", "/etc/hosts")
    theirs.close()
    channel.close()


def test_news_that_come_late_and_together_are_told_when_they_were(tmp_path: Path) -> None:
    """The machine's clock is 7 s behind; a table of three members that lost one at once comes 1.5 s late."""
    news = News("n", tmp_path, Future())
    news.hear(7_000_000_000, "hello", [b"0"])
    whole = HEAD + SERVICE + M1 + M2
    for told_ns, text in ((2_000_000_000, whole), (2_950_000_000, HEAD + SERVICE + M2)):
        news.hear(10_450_000_000, "file", [str(told_ns).encode(), b"/proc/net/ip_vs", text.encode()])
    events = [json.loads(line) for line in os.read(news.events, 1 << 20).splitlines()]
    news.end()
    changes = [(e["t"], e["change"]) for e in events if e["kind"] == "ipvs"]
    assert changes == [*[(9_000_000_000, "add")] * 3, (9_950_000_000, "del")]


def test_a_refusal_is_the_error_that_python_would_have_raised() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel("n", ours, lambda *_: None)
    answering = threading.Thread(
        target=lambda: (theirs.recv(100), theirs.sendall(frame(1, ("error", 2, "/nowhere"))))
    )
    answering.start()
    with pytest.raises(FileNotFoundError, match="/nowhere"):
        channel.ask("read", "/nowhere")
    answering.join()
    theirs.close()
    channel.close()


# -- a process --------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [True, False])
def test_who_waits_for_a_command_is_told_once_that_it_is_over(said: bool) -> None:
    """By its own end, or by that of its machine, which says nothing of it."""
    ours, theirs = socket.socketpair()
    channel = Channel("n", ours, lambda *_: None)
    process = GuestProcess("n", "sleep", Path(os.devnull), {}, notifies=False)
    over: list[bool] = []
    process.on_over = lambda: over.append(True)
    answering = threading.Thread(target=lambda: (theirs.recv(100), theirs.sendall(frame(1, ("started", 77)))))
    answering.start()
    process.start(channel, ["spawn"], 10)
    answering.join()
    assert process.running
    if said:
        theirs.sendall(frame(1, ("exit", 3 << 8)))
    theirs.close()
    channel.close()
    assert over == [True]
    assert process.reap() == (3 if said else -signal.SIGKILL)


@pytest.mark.parametrize("what", ["refused", "ends", "is late"])
def test_a_command_that_does_not_start_keeps_no_stream_open(what: str) -> None:
    """Whatever the reason is: who reads what it would have written sees the end."""
    ours, theirs = socket.socketpair()
    channel = Channel("n", ours, lambda *_: None)
    reader, writer = os.pipe()
    process = GuestProcess("n", "echo", Path(os.devnull), {1: writer}, notifies=False)

    def answer() -> None:
        theirs.recv(100)
        if what == "refused":
            theirs.sendall(frame(1, ("error", 2, "echo")))
        elif what == "ends":
            theirs.close()

    answering = threading.Thread(target=answer)
    answering.start()
    with pytest.raises(TestbedError, match="cannot start echo on n"):
        process.start(channel, ["spawn"], 0.1 if what == "is late" else 10)
    assert select.select([reader], [], [], 0)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)
    answering.join()
    theirs.close()
    channel.close()


# -- the ladder --------------------------------------------------------------------------------------

PLAIN = NodeSpec("cl", "client", (Interface("eth0", "lan", ("10.0.0.1/24",)),))
DIRECTOR = NodeSpec("lb1", "balancer", (Interface("eth0", "lan", ("10.0.0.2/24",)),), needs=("ip_vs",))


def topology(*nodes: NodeSpec) -> Topology:
    return Topology("bed", {}, (Segment("lan"),), nodes, (), ())


def kernels(choice: ladder.Choice) -> dict[str, str]:
    return {node.name: node.kernel for node in choice.topology.nodes}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What the host's kernel has, for a test to say."""
    has: set[str] = set()
    monkeypatch.setattr(features, "lack", lambda name: "" if name in has else f"no {name} here")
    monkeypatch.setattr(ladder, "why_no_uml", lambda: "")
    return has


def test_a_node_that_needs_nothing_runs_on_the_host_s_kernel(host: set[str]) -> None:
    choice = ladder.choose(topology(PLAIN))
    assert (kernels(choice), choice.own_kernels, choice.reasons) == ({"cl": "host"}, False, {})


def test_the_host_s_kernel_is_taken_where_it_has_what_is_needed(host: set[str]) -> None:
    host.add("ip_vs")
    assert kernels(ladder.choose(topology(PLAIN, DIRECTOR))) == {"cl": "host", "lb1": "host"}


def test_a_node_gets_a_kernel_of_its_own_where_the_host_s_lacks_something(host: set[str]) -> None:
    choice = ladder.choose(topology(PLAIN, DIRECTOR))
    assert kernels(choice) == {"cl": "host", "lb1": "uml"}
    assert choice.own_kernels
    assert choice.reasons == {"lb1": "no ip_vs here"}


def test_a_kernel_can_be_forced_either_way(host: set[str]) -> None:
    with pytest.raises(MissingCapability, match="lb1 needs more: no ip_vs here"):
        ladder.choose(topology(PLAIN, DIRECTOR), "host")
    host.add("ip_vs")
    assert kernels(ladder.choose(topology(PLAIN, DIRECTOR), "uml")) == {"cl": "host", "lb1": "uml"}
    assert kernels(ladder.choose(topology(PLAIN, replace(DIRECTOR, needs=())), "uml"))["lb1"] == "uml"


def test_where_neither_kernel_does_the_sentence_says_why(
    host: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "why_no_uml", lambda: "there is none for this processor")
    with pytest.raises(MissingCapability, match=r"lb1 .*no ip_vs here.*none for this processor; run it on"):
        ladder.choose(topology(PLAIN, DIRECTOR))


def test_an_unknown_kernel_names_the_known() -> None:
    with pytest.raises(UsageError, match="unknown kernel 'xen'"):
        ladder.choose(topology(PLAIN), "xen")


def test_a_feature_that_no_kernel_has_is_lacking() -> None:
    features.lack.cache_clear()
    assert features.lack("no_such_thing") == "the host's kernel has no no_such_thing"
    # What every run needs is there, and so is told from what is not.
    assert not features.lack("veth")


def test_a_module_that_is_not_loaded_is_not_loaded_by_asking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    features.lack.cache_clear()
    monkeypatch.setattr(features, "_state", lambda name: "loadable")
    monkeypatch.setattr(features, "_refusal", lambda work: pytest.fail("it was tried"))
    assert "modprobe ip_vs" in features.lack("ip_vs")
    features.lack.cache_clear()
