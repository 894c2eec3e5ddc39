"""The live lab as its users know it: it survives the terminal, harms nothing, and ends without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.patience import SOON_S
from checks.selftest.labs import COMMAND, Labs, next_line
from checks.selftest.test_leaks import Traces, descendants
from harness.lab import registry
from harness.lab.channel import Channel, connect, encode
from harness.lab.holder import Order, start
from harness.report.pcapng import PcapFile


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Labs]:
    made = Labs(tmp_path)
    yield made
    made.end()


def holder_of(labs: Labs, name: str) -> int:
    """The process outside of a lab's bubble: the first of those that run the holder's program."""
    told = (f'"name": "{name}"', f"VIPDRILL_CACHE={labs.cache}")
    found = []
    for entry in Path("/proc").iterdir():
        try:
            texts = [(entry / file).read_text(errors="replace") for file in ("cmdline", "environ")]
        except OSError:
            continue
        if entry.name.isdigit() and all(word in text for word, text in zip(told, texts, strict=True)):
            found.append(int(entry.name))
    assert found, f"nobody holds the lab {name}"
    return min(found)


def test_a_lab_survives_its_terminal_and_two_run_side_by_side(labs: Labs) -> None:
    up = " ".join([*COMMAND, "up vip-l7 --name first --advert-int 0.1"])
    terminal = labs.terminal(argv=["/bin/sh", "-c", f"{up}; echo left; read line"])
    terminal.wait_for("The lab first is up")
    terminal.wait_for("left")
    terminal.close()
    assert terminal.end() == -signal.SIGHUP
    assert "10.0.0.100 on lb1" in labs.does("ps")

    labs.up("second")
    shown = labs.does("ps")
    assert shown.count("10.0.0.100 on lb1") == 2, shown
    error = labs.fails("exec", "lb1", "--", "true")
    assert "first, second" in error
    assert "first, second" in labs.fails("exec", "-n", "third", "lb1", "--", "true")
    labs.does("exec", "-n", "first", "lb1", "--", "touch", "/tmp/here")
    labs.does("exec", "-n", "second", "lb1", "--", "test", "!", "-e", "/tmp/here")
    assert "already" in labs.fails("up", "vip-l7", "--name", "second")

    labs.does("down", "second")
    assert "second" not in labs.does("ps")
    assert "1 of" not in labs.does("exec", "lb1", "--", "test", "-e", "/tmp/here")


def test_commands_in_nodes(labs: Labs) -> None:
    """Streams, exit codes and signals are the command's own, and what is unknown is named."""
    labs.up("lab")
    done = labs.run("exec", "lb1", "--", "sh", "-c", "cat; echo no >&2; exit 7", stdin="in\n")
    assert (done.stdout, done.stderr, done.returncode) == ("in\n", "no\n", 7)
    assert labs.does("exec", "lb2", "--", "hostname") == "lb2\n"
    labs.fails("exec", "lb1", "--", "sh", "-c", "kill -9 $$", code=128 + signal.SIGKILL)
    assert labs.does("shell", "m1", stdin="hostname\n") == "m1\n"

    assert "cl, clx, lb1, lb2" in labs.fails("exec", "lb9", "--", "true")
    assert "no program 'nosuch'" in labs.fails("exec", "lb1", "--", "nosuch", code=3)
    assert "haproxy, keepalived" in labs.fails("logs", "lb1/nginx")
    assert "any, eth0, lo" in labs.fails("pcap", "lb1:eth7")
    assert "host-crash" in labs.fails("fault", "host-crush")
    assert "lb1, lb2" in labs.fails("fault", "kill:lb9")
    assert "such as 10s" in labs.fails("fault", "kill:lb2", "--for", "soon")
    assert "no fault acts" in labs.fails("heal")

    # Without a terminal an interrupt of the command here is one of the command there.
    script = 'trap "echo caught; exit 3" INT; echo ready; sleep 1000000 >/dev/null 2>&1 & wait'
    running = labs.start("exec", "lb1", "--", "sh", "-c", script)
    next_line(running.stdout, "ready")
    os.killpg(running.pid, signal.SIGINT)
    assert running.communicate(timeout=SOON_S) == ("caught\n", "")
    assert running.returncode == 3

    # Who is killed takes the command along: it is hung up on.
    labs.does("exec", "lb1", "--", "mkfifo", "/tmp/told")
    script = 'trap "echo hung up >/tmp/told; exit" HUP; echo ready; sleep 1000000 >/dev/null 2>&1 & wait'
    running = labs.start("exec", "lb1", "--", "sh", "-c", script)
    next_line(running.stdout, "ready")
    running.kill()
    running.wait()
    assert labs.does("exec", "lb1", "--", "cat", "/tmp/told") == "hung up\n"

    packets = labs.folder / "lb1.pcap"
    capture = labs.start("pcap", "lb1:eth0", "-w", str(packets), "--", "vrrp")
    next_line(capture.stderr, "listening")
    labs.does("exec", "lb2", "--", "tcpdump", "-n", "-i", "eth0", "-c", "3", "vrrp")
    os.killpg(capture.pid, signal.SIGINT)
    capture.communicate(timeout=SOON_S)
    assert capture.returncode == 0
    with packets.open("rb") as file:
        frames = list(PcapFile(file))
    assert len(frames) >= 3
    assert all(frame.data[23] == 112 for frame in frames)
    terminal = labs.terminal("pcap", "cl")
    assert terminal.end() == 2
    assert "packets are not for a terminal" in terminal.shown


def test_a_shell_on_a_terminal(labs: Labs) -> None:
    """It is a real terminal; Ctrl-C ends what runs there, a closed window the shell, neither the lab."""
    labs.up("lab")
    terminal = labs.terminal("shell", "lb1")
    terminal.wait_for("root@lb1")
    # One job from its first word on, so that there is no moment between two at which Ctrl-C meets nobody.
    terminal.type("sh -c 'stty size; exec sleep 1000000'\n")
    terminal.wait_for("40 120")
    terminal.type("\x03")
    terminal.type("echo status $?\n")
    terminal.wait_for("status 130")
    terminal.forget()
    # What runs there is told of the new size (SIGWINCH); bash itself would hear of it between commands only.
    terminal.type("sh -c 'trap \"stty size\" WINCH; echo armed; while :; do sleep 0.1; done'\n")
    terminal.wait_for("\narmed")
    terminal.resize(50, 100)
    os.kill(terminal.pid, signal.SIGWINCH)
    terminal.wait_for("50 100")
    terminal.type("\x03")
    terminal.type("exit 9\n")
    assert terminal.end() == 9

    labs.does("exec", "lb1", "--", "mkfifo", "/tmp/told")
    terminal = labs.terminal("shell", "lb1")
    terminal.wait_for("root@lb1")
    terminal.type("trap 'echo hung up >/tmp/told' HUP; echo ready; read line\n")
    terminal.wait_for("\nready")
    terminal.close()
    assert terminal.end() == 128 + signal.SIGHUP
    assert labs.does("exec", "lb1", "--", "cat", "/tmp/told") == "hung up\n"
    assert "10.0.0.100 on lb1" in labs.does("ps")


def test_faults_act_until_healed_or_for_a_while(labs: Labs) -> None:
    labs.up("lab")
    assert "invalid mode" in labs.fails("fault", "file-mode:lb2,path=/etc/hosts,mode=foo", code=3)
    assert " acts for " not in labs.does("ps")
    told = labs.does("fault", "kill:lb2/haproxy")
    identity = told.split()[0]
    assert f"{identity} of lb2/haproxy acts for " in labs.does("ps")
    assert identity in labs.fails("heal", "nosuch")
    assert identity in labs.does("heal", identity)
    assert " acts for " not in labs.does("ps")

    assert "is healed" in labs.does("fault", "link-down:lb2:eth0", "--for", "100ms")

    labs.does("fault", "kill:lb2/haproxy")
    labs.does("fault", "hang:m1/master")
    assert "2 faults act" in labs.fails("heal")
    assert labs.does("heal", "all").count("is healed") == 2

    waiting = labs.start("fault", "kill:lb2/haproxy", "--for", "1h")
    next_line(waiting.stdout, "Ctrl-C heals")
    os.killpg(waiting.pid, signal.SIGINT)
    out, _ = waiting.communicate(timeout=SOON_S)
    assert (waiting.returncode, "is healed" in out) == (0, True)

    # Somebody else may be quicker.
    waiting = labs.start("fault", "kill:lb2/haproxy", "--for", "1h")
    next_line(waiting.stdout)
    labs.does("heal")
    out, _ = waiting.communicate(timeout=SOON_S)
    assert (waiting.returncode, "is healed" in out) == (0, True)

    # Nobody is left to wait: it is healed as if interrupted.
    waiting = labs.start("fault", "kill:lb2/haproxy", "--for", "1h")
    next_line(waiting.stdout)
    with labs.client("lab") as client:
        client.ask("subscribe", kinds=["fault"])
        waiting.kill()
        waiting.communicate(timeout=SOON_S)
        while (message := client.read()) is not None:
            if message.get("event", {}).get("state") == "healed":
                break
        assert message is not None
    assert " acts for " not in labs.does("ps")


def send_nonsense(path: Path) -> None:
    """It is answered with an error, or hung up on, and the lab goes on."""
    for nonsense in (
        b"\0" * 5000 + b"\n",
        b"[]\n",
        b'{"do":"dance"}\n',
        b'{"do":"exec"}\n',
        b"x" * (2 << 20),
    ):
        with connect(path) as sock:
            try:
                sock.sendall(nonsense)
                sock.shutdown(socket.SHUT_WR)
            except OSError:  # it had heard enough
                continue
            answer = Channel(sock).read()
            assert answer is None or "error" in answer
    with connect(path) as sock:
        sock.sendall(encode({"do": "status"}))
        answer = Channel(sock).read()
    assert answer is not None
    assert "ok" in answer


def test_looking_at_a_lab(labs: Labs) -> None:
    labs.up("lab")
    send_nonsense(labs.cache / "labs" / "lab" / "socket")
    table = labs.does("probe", "--for", "1s").splitlines()
    assert [line.split()[0] for line in table[1:]] == ["cl", "cl", "clx", "clx"]
    assert all(" none " in line for line in table[1:]), table
    assert "lb1/keepalived: " in labs.does("logs", "lb1")
    drawing = labs.does("graph")
    assert "lb1:eth0" in drawing
    assert "VIP 10.0.0.100" in drawing
    assert labs.does("graph", "--dot").startswith('graph "lab" {')

    following = labs.start("logs", "-f", "lb2/keepalived", "--tail", "1")
    next_line(following.stdout)
    watching = labs.terminal("watch")
    watching.wait_for("VIP 10.0.0.100  lb1")
    watching.wait_for("100.0 %")
    labs.does("fault", "host-crash:lb1")
    watching.wait_for("VIP 10.0.0.100  lb2")
    watching.wait_for("lb1 (down)")
    next_line(following.stdout, "Entering MASTER STATE")
    watching.type("\x03")
    assert watching.end() == 0
    # The screen is left and the cursor shown again, last thing of all.
    assert watching.output.rfind(b"\x1b[?1049l") > watching.output.rfind(b"\x1b[?1049h") >= 0
    assert watching.output.rfind(b"\x1b[?25h") > watching.output.rfind(b"\x1b[?25l") > 0
    assert "lb1 is down, by host-crash" in labs.fails("exec", "lb1", "--", "true", code=3)

    labs.does("down")
    _, err = following.communicate(timeout=SOON_S)
    assert (following.returncode, "has ended" in err) == (0, True)


def test_down_leaves_a_run_s_evidence_and_nothing_else(labs: Labs) -> None:
    labs.up("lab", "--seed", "7")
    traces = Traces(descendants(holder_of(labs, "lab")), labs.cache)
    labs.does("fault", "host-crash", "--for", "1500ms")
    told = labs.does("down")
    traces.must_vanish()
    traces.close()
    assert "VIP moved in" in told
    (folder,) = (labs.folder / "artifacts").iterdir()
    assert {"timeline.jsonl", "result.json", "captures", "configs", "logs", "state"} <= {
        path.name for path in folder.iterdir()
    }
    result = json.loads((folder / "result.json").read_text())
    assert (result["seed"], result["complete"]) == (7, True)
    assert "Changed since it was saved: nothing" in labs.run("analyze", str(folder)).stdout
    assert "no lab is up" in labs.does("ps")
    assert "no lab is up" in labs.fails("down")


@pytest.mark.parametrize("victim", [0, 2])
def test_a_killed_holder_leaves_nothing(labs: Labs, victim: int) -> None:
    """Whichever is killed: the process outside of the bubble, or the engine in it."""
    labs.up("lab")
    pids = descendants(holder_of(labs, "lab"))
    traces = Traces(pids, labs.cache)
    watching = labs.start("watch")
    os.kill(pids[victim], signal.SIGKILL)
    traces.must_vanish()
    traces.close()
    watching.communicate(timeout=SOON_S)
    assert "no lab is up" in labs.does("ps")
    assert [path.name for path in (labs.cache / "labs").iterdir()] == [".lock"]
    with labs.seen_from_here():
        registry.claim("lab").abandon()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_is_not_built_to_its_end_leaves_no_lab(labs: Labs, number: int) -> None:
    assert "unknown option of vip-l7 '--colour'" in labs.fails("up", "vip-l7", "--colour", "red")
    up = labs.start("up", "vip-l7")
    with labs.seen_from_here():
        info = None
        while info is None:
            assert up.poll() is None, up.communicate(timeout=SOON_S)
            info = next(iter(registry.running()), None)
    traces = Traces(descendants(holder_of(labs, "vip-l7")), labs.cache)
    os.killpg(up.pid, number)
    _, error = up.communicate(timeout=SOON_S)
    assert (up.returncode, "Traceback" in error) == (130 if number == signal.SIGINT else -number, False), (
        error
    )
    traces.must_vanish()
    traces.close()
    assert "no lab is up" in labs.does("ps")


def test_a_lab_that_is_up_ends_with_its_starter_until_that_has_let_go(labs: Labs) -> None:
    """An interrupt may come when the lab has said that it is up, and `up` has not taken note of it yet."""
    artifacts = str(labs.folder / "artifacts" / "lab")
    order = Order("lab", "vip-l7", {"advert_int": "0.1"}, "trixie", "auto", 1, 10.0, False, artifacts, "")
    with labs.seen_from_here():
        claim = registry.claim(order.name)
        process, channel = start(order, claim)
        os.close(claim.lock)
        while (message := channel.read()) is not None and "up" not in message:
            pass
        assert message is not None
        assert registry.choose("lab").is_up
        channel.close()
        assert process.wait(SOON_S) == 1
    assert "no lab is up" in labs.does("ps")
