"""Tests on machines are at the front of as many workers' stretches as can run at the same time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.order import ordered


def arranged(tests: str, workers: int, places: int = 2) -> str:
    """The order of tests that are told by a letter: on a machine, in virtual time, or neither."""
    return "".join(ordered(tests, workers, on_machines="m".__eq__, in_virtual_time="v".__eq__, places=places))


@pytest.mark.parametrize(
    ("tests", "workers", "expected"),
    [
        ("oommoovmmooo", 4, "mmommovooooo"),
        ("oommoovmmooo", 2, "vmmmmooooooo"),
        ("oommoo", 1, "mmoooo"),
        ("mmmmmm", 3, "mmmmmm"),
        ("", 4, ""),
    ],
)
def test_the_order_for_workers(tests: str, workers: int, expected: str) -> None:
    assert arranged(tests, workers) == expected


@given(st.text("mvo", max_size=40), st.integers(1, 8), st.integers(1, 4))
def test_no_test_is_lost_or_doubled(tests: str, workers: int, places: int) -> None:
    assert sorted(arranged(tests, workers, places)) == sorted(tests)
