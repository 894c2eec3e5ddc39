"""The process that holds a lab: it enters a bubble, builds the testbed, and serves it until the end.

`start` begins it, detached from the terminal, in a session of its own.  Until the lab is up and its starter
has let go of it, it hangs on that one by a socket: how the building goes comes by it, and when it closes the
holder ends.
Killed at any time, it takes everything with it, as every bubble does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import bubble
from harness.errors import VipdrillError
from harness.lab.channel import Channel, Message, encode, listen
from harness.lab.registry import Claim

if TYPE_CHECKING:
    from harness.lab.live import Lab
    from harness.testbed import Testbed

_ROOT = str(Path(__file__).resolve().parents[2])
_INTERNAL_ERROR = 70


@dataclass(frozen=True)
class Order:
    """What lab to build."""

    name: str
    architecture: str
    options: dict[str, str | bool]
    suite: str
    kernel: str
    seed: int
    rate: float
    capture: bool
    artifacts: str
    again: str


class Ended(BaseException):
    """The lab is to end now: who started it is gone before it was up, or the machine goes down."""


def start(order: Order, claim: Claim) -> tuple[subprocess.Popen[bytes], Channel]:
    """Begin to hold a lab; the channel tells `{"event"}`s, then `{"up"}` or `{"error"}`, or just ends.

    The lab is left to itself only once its starter has answered `{"do": "let-go"}`, and been told `{"ok"}`.
    """
    ours, theirs = socket.socketpair()
    code = f"import sys; sys.path.insert(0, {_ROOT!r}); from harness.lab.holder import main; main()"
    argument = json.dumps({"order": asdict(order), "control": theirs.fileno(), "lock": claim.lock})
    with (claim.folder / "log").open("wb") as log, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, argument],
            cwd="/",
            # A bubble that this process may be in is not the lab's.
            env={key: value for key, value in os.environ.items() if not key.startswith("VIPDRILL_BUBBLE")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=(theirs.fileno(), claim.lock),
        )
    return process, Channel(ours)


def main() -> None:
    """The holder's entry, once outside of its bubble and once inside."""
    given = json.loads(sys.argv[-1])
    control = socket.socket(fileno=given["control"])
    order = Order(**given["order"])
    try:
        bubble.enter()
        _hold(order, control, given["lock"])
    except VipdrillError as error:
        _last_word(control, str(error), error.exit_code)
        sys.exit(error.exit_code)
    except Exception as error:
        traceback.print_exc()
        _last_word(control, _told(error), _INTERNAL_ERROR)
        sys.exit(_INTERNAL_ERROR)
    except Ended:
        sys.exit(1)


def _told(error: Exception) -> str:
    return f"the lab's holder failed ({type(error).__name__}: {error})"


def _last_word(control: socket.socket, text: str, exit_code: int) -> None:
    try:
        control.setblocking(True)
        control.sendall(encode({"error": text, "exit_code": exit_code}))
    except OSError:
        pass


def _end(*_: object) -> None:
    raise Ended


def _hold(order: Order, control: socket.socket, lock: int) -> None:
    import topologies
    from harness import session
    from harness.drill import Drill, NotSteady
    from harness.kernel import ladder
    from harness.lab.live import Lab
    from harness.lab.publish import describe
    from harness.lab.registry import labs_dir

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    os.set_inheritable(lock, False)
    claim = Claim(order.name, labs_dir() / order.name, lock)
    image = session.image(order.suite, build=False)
    choice = ladder.choose(topologies.make(order.architecture, order.options), order.kernel)
    own = session.kernel(build=False) if choice.own_kernels else None
    folder = Path(order.artifacts)
    testbed = session.assemble(
        choice, image, own, folder, seed=order.seed, rate=order.rate, capture=order.capture
    )
    lab = Lab(order.name, testbed)
    claim.publish(describe(order.name, testbed))
    starter = lab.server.adopt(control)
    lab.subscribe(starter)
    starter.when_gone(_end)

    def leave(_message: Message) -> None:
        starter.on_close.remove(_end)
        starter.say_last(ok="let go")

    choice.tell(testbed.recorder)
    unsteady = ""
    try:
        testbed.build()
        try:
            Drill(testbed).steady()
        except NotSteady as error:
            unsteady = str(error)
            testbed.recorder.emit("note", text=unsteady)
        lab.server.listen(listen(claim.folder / "socket"))
        starter.on_message = leave
        starter.send(up=True, unsteady=unsteady)
        lab.serve()
    except VipdrillError as error:
        starter.fail(error)
        raise
    except Exception as error:
        starter.send(error=_told(error), exit_code=_INTERNAL_ERROR)
        raise
    finally:
        # Who has been told why hangs up, and that is not to cut the lab's end short.
        with suppress(ValueError):
            starter.on_close.remove(_end)
        claim.retire()
        conclude(lab, order.again)


def conclude(lab: Lab, again: str, then: Callable[[], None] = lambda: None) -> None:
    """End the testbed, complete its artifact folder, and in any case tell those who asked for the end."""
    lab.server.stop_listening()
    last: Message = {}
    try:
        last = {"ok": _finish(lab.testbed, again)}
    except VipdrillError as error:
        last = {"error": str(error), "exit_code": error.exit_code}
        raise
    except Exception as error:
        last = {"error": _told(error), "exit_code": _INTERNAL_ERROR}
        raise
    finally:
        then()
        for connection in lab.ending:
            connection.say_last(**last)
        lab.server.hang_up()


def _finish(testbed: Testbed, again: str) -> dict[str, Any]:
    """As a run ends, with whatever of it the lab's users have left; the outcome in words."""
    from harness.drill import Drill
    from harness.properties import judge_all
    from harness.report.evidence import write_artifacts
    from harness.report.headline import headline, outcome

    timeline = testbed.recorder.timeline
    try:
        if testbed.built:
            testbed.snapshot("at-the-end")
            Drill(testbed).finish()
    except VipdrillError as error:
        testbed.recorder.emit("note", text=f"the end was not as it should be: {error}")
    finally:
        testbed.close()
    verdicts = judge_all(timeline) if timeline.first("run") else []
    notes = write_artifacts(testbed.artifacts, timeline, verdicts, again)
    return {
        "artifacts": str(testbed.artifacts),
        "outcome": outcome(verdicts).value,
        "headline": headline(timeline, verdicts),
        "notes": notes,
    }
