"""The process that holds a lab, where something goes wrong: who waits is told, the evidence is kept."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from checks.patience import SOON_S
from checks.selftest.fault_beds import hosts
from harness import session
from harness.errors import TestbedError
from harness.lab import holder, registry
from harness.lab.channel import Channel, Message
from harness.lab.holder import Order
from harness.lab.live import Lab
from harness.lab.registry import Claim
from harness.recorder import Recorder
from harness.session import Image
from harness.testbed import Testbed


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A holder takes signals as it likes, which is not for this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Claim]:
    """A lab's name among labs of this test's own."""
    monkeypatch.setattr(registry, "labs_dir", lambda: tmp_path / "labs")
    made = registry.claim("lab")
    yield made
    made.abandon()


class Unbuilt(Testbed):
    """A testbed whose building ends in an error, and which is torn down once its starter has hung up."""

    error: Exception
    hung_up: threading.Event

    def build(self) -> None:
        raise self.error

    def close(self) -> None:
        assert self.hung_up.wait(SOON_S)
        self.recorder.pump(0)
        super().close()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "OSError: [Errno 28] No space left on device"),
        (TestbedError("it does not boot"), "it does not boot"),
    ],
)
def test_a_lab_that_cannot_be_built_says_why_and_ends_in_order(
    claim: Claim,
    vipdrill_image: Image,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    text: str,
) -> None:
    artifacts = tmp_path / "artifacts"
    bed = Unbuilt(hosts("a"), vipdrill_image.rootfs, artifacts, capture=False)
    bed.error, bed.hung_up = error, threading.Event()
    monkeypatch.setattr(session, "assemble", lambda *_, **__: bed)
    ours, theirs = socket.socketpair()
    said: list[Message | None] = []

    def starter() -> None:
        channel = Channel(ours)
        while (message := channel.read()) is not None and "error" not in message:
            pass
        said.append(message)
        channel.close()
        bed.hung_up.set()

    listening = threading.Thread(target=starter, daemon=True)
    listening.start()
    order = Order("lab", "vip-l7", {}, "trixie", "host", 1, 10.0, False, str(artifacts), "")
    with pytest.raises(type(error), match=r"boot|space"):
        holder._hold(order, theirs, claim.lock)
    listening.join()
    assert said[0] is not None
    assert text in said[0]["error"]
    assert {"timeline.jsonl", "README.txt"} <= {path.name for path in artifacts.iterdir()}


def test_who_waits_for_the_end_is_told_that_the_result_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "timeline.jsonl")

    monkeypatch.setattr(holder, "_finish", fail)
    bed: Any = SimpleNamespace(recorder=Recorder(tmp_path / "timeline.jsonl"))
    lab = Lab("lab", bed)
    ours, theirs = socket.socketpair()
    lab.ending.append(lab.server.adopt(theirs))
    freed: list[bool] = []
    with pytest.raises(FileNotFoundError):
        holder.conclude(lab, "", then=lambda: freed.append(True))
    assert freed == [True]
    channel = Channel(ours)
    assert "timeline.jsonl" in (channel.read() or {})["error"]
    assert channel.read() is None
    channel.close()
    bed.recorder.close()
