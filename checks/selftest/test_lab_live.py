"""A lab's own loop: what goes wrong by itself is told, and the lab lives on."""

from __future__ import annotations

import time

import pytest

from checks.selftest.fault_beds import NewTestbed, hosts
from harness import faults
from harness.errors import TestbedError
from harness.lab.live import Lab
from harness.testbed import Testbed

_MS = 1_000_000


@pytest.fixture
def lab(new_testbed: NewTestbed) -> Lab:
    """A lab of one bare host."""
    return Lab("lab", new_testbed(hosts("a")))


def notes(bed: Testbed) -> list[str]:
    """What the notes on the timeline say."""
    return [event.text for event in bed.recorder.timeline.of("note")]


def test_a_fault_that_cannot_heal_itself_is_told_and_the_lab_lives_on(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_node: str) -> None:
        raise TestbedError("it does not boot")

    bed = lab.testbed
    monkeypatch.setattr(bed, "power_on", fail)
    faults.parse("host-reboot:a,after_s=0.01", bed).inject()
    bed.recorder.at(time.monotonic_ns() + 100 * _MS, lab.stop)
    lab.serve()
    assert "the lab could not do what was due: it does not boot" in notes(bed)


def test_what_becomes_due_waits_for_the_change_that_is_under_way(lab: Lab) -> None:
    bed, done = lab.testbed, list[str]()

    def change() -> None:
        bed.when_due(time.monotonic_ns(), lambda: done.append("what was due"))
        bed.recorder.pass_time(time.monotonic_ns() + 20 * _MS)
        done.append("the change")
        bed.when_due(time.monotonic_ns(), lab.stop)

    bed.when_due(time.monotonic_ns(), change)
    lab.serve()
    assert done == ["the change", "what was due"]
