"""What the suite says of its slowest tests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.report import slowest


def report(test: str, when: str, seconds: float, **waits: float) -> Any:
    properties = [(slowest.PROPERTY, slowest.encode(waits))] if waits else []
    return SimpleNamespace(nodeid=test, when=when, duration=seconds, user_properties=properties)


def test_stages_add_up_and_the_slowest_comes_first() -> None:
    found = slowest.slowest(
        [
            report("quick", "call", 0.5),
            report("slow", "setup", 1.0),
            report("slow", "call", 2.0),
            report("slow", "teardown", 0.25, adverts=2.0, baseline=0.5, blink=0.01),
            SimpleNamespace(nodeid="", when="collect"),
        ]
    )
    assert found == [
        "   3.2 s  slow",
        "           2.0 s  adverts",
        "           0.5 s  baseline",
        "   0.5 s  quick",
    ]


def test_ten_are_told() -> None:
    found = slowest.slowest(report(f"test {n}", "call", n) for n in range(30))
    assert len(found) == 10
    assert found[0].endswith("test 29")


def test_a_test_that_was_run_again_counts_what_its_last_run_waited() -> None:
    first = report("one", "teardown", 1.0, adverts=1.0)
    last = report("one", "teardown", 1.0, adverts=3.0)
    assert slowest.slowest([first, last])[1] == "           3.0 s  adverts"
