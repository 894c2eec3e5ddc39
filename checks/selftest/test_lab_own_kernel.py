"""Commands of a lab's user in a node with a kernel of its own, where no terminal and no input reaches."""

from __future__ import annotations

import hashlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checks.patience import SOON_S
from checks.selftest.labs import Labs, next_line
from harness.kernel import ladder
from harness.lab.outlet import Outlet

pytestmark = pytest.mark.skipif(bool(ladder.why_no_uml()), reason=ladder.why_no_uml())


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Labs]:
    made = Labs(tmp_path)
    yield made
    made.end()


def test_commands_in_a_node_with_a_kernel_of_its_own(labs: Labs) -> None:
    labs.does("up", "vip-l4", "--quiet")
    assert "10.0.0.101 on lb1\n" in labs.does("ps"), "members have the VIP for themselves only"
    assert "10.0.0.101:443 rr" in labs.does("exec", "lb1", "--", "ipvsadm", "-Ln")
    done = labs.run("exec", "lb1", "--", "sh", "-c", "echo out; echo no >&2; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "no\n", 7)
    assert "no program nosuch" in labs.fails("exec", "lb1", "--", "nosuch", code=3)
    assert "vipdrill exec lb1 -- COMMAND" in labs.fails("shell", "lb1")
    # Much of it, and all of it.
    sums = [labs.does("exec", node, "--", "sh", "-c", "seq 300000 | md5sum") for node in ("lb1", "r1")]
    text = labs.does("exec", "lb1", "--", "seq", "300000")
    assert {line.split()[0] for line in sums} == {hashlib.md5(text.encode()).hexdigest()}  # noqa: S324
    # An interrupt here is one there.
    script = 'trap "echo caught; exit 3" INT; echo ready; while :; do sleep 0.1; done'
    running = labs.start("exec", "lb1", "--", "sh", "-c", script)
    next_line(running.stdout, "ready")
    os.killpg(running.pid, signal.SIGINT)
    assert running.communicate(timeout=SOON_S) == ("caught\n", "")
    assert running.returncode == 3
    script = ["sh", "-c", 'printf %s "$1" | od -An -tx1', "sh"]
    assert labs.does("exec", "lb1", "--", *script, os.fsdecode(b"\xff")) == " ff\n"
    # Its machine's end is its own.
    running = labs.start("exec", "lb1", "--", "sh", "-c", "echo ready; exec sleep 1000000")
    next_line(running.stdout, "ready")
    labs.does("fault", "host-crash:lb1")
    running.communicate(timeout=SOON_S)
    assert running.returncode == 128 + signal.SIGKILL


def test_a_stream_that_nobody_reads_holds_nobody_up() -> None:
    """More than any pipe holds is written at once, and arrives once somebody reads."""
    reader, writer = os.pipe()
    told, tell = os.pipe()
    outlet = Outlet(writer, lambda: os.close(tell))
    os.close(writer)
    data = os.urandom(1 << 21)
    with open(outlet.inlet, "wb") as inlet:
        inlet.write(data)
    with open(reader, "rb") as stream:
        assert stream.read() == data
    assert os.read(told, 1) == b""
    os.close(told)


@pytest.mark.parametrize("make", [os.openpty, os.pipe])
def test_a_terminal_that_nobody_reads_holds_nobody_up_either(make: Callable[[], tuple[int, int]]) -> None:
    """It makes who writes to it wait, though it may be written to; a pipe that does so takes no more."""
    reader, writer = make()
    told, tell = os.pipe()
    outlet = Outlet(writer, lambda: os.close(tell))
    written = threading.Event()

    def write() -> None:
        with open(outlet.inlet, "wb") as inlet:
            inlet.write(b"a line of a terminal\n" * 80_000)
        written.set()

    threading.Thread(target=write, daemon=True).start()
    assert written.wait(SOON_S)
    os.close(writer)
    os.close(reader)
    assert os.read(told, 1) == b""
    os.close(told)


def test_no_more_waits_in_memory_than_it_may() -> None:
    """Beyond that the writer waits, and nothing is lost."""
    reader, writer = os.pipe()
    told, tell = os.pipe()
    outlet = Outlet(writer, lambda: os.close(tell), most_bytes=1 << 17)
    os.close(writer)
    os.set_blocking(outlet.inlet, False)
    data, taken = os.urandom(1 << 20), 0
    while select.select([], [outlet.inlet], [], 0.5)[1]:
        taken += os.write(outlet.inlet, data[taken : taken + 4096])
        assert taken < len(data)
    os.close(outlet.inlet)
    with open(reader, "rb") as stream:
        assert stream.read() == data[:taken]
    assert os.read(told, 1) == b""
    os.close(told)


def test_a_stream_that_is_gone_is_given_up() -> None:
    reader, writer = os.pipe()
    told, tell = os.pipe()
    outlet = Outlet(writer, lambda: os.close(tell))
    os.close(reader)
    os.close(writer)
    with open(outlet.inlet, "wb") as inlet:
        inlet.write(bytes(1 << 20))
    assert os.read(told, 1) == b""
    os.close(told)
