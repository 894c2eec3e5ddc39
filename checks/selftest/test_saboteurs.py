"""The table of saboteurs and controls is that of the suites, and no check is without either."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.saboteurs import TABLE, marked, render
from harness.properties import PROPERTIES

LEAST_SABOTEURS, LEAST_CONTROLS = 25, 10
# A client's outage is judged along with the takeover that it comes from.
CHECKED = set(PROPERTIES) - {"client-outage"}


def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text() == render(marked()), "run python -m checks.saboteurs"


@pytest.mark.parametrize("check", sorted(CHECKED))
def test_every_check_has_two_saboteurs_and_a_control(check: str) -> None:
    mine = [m for m in marked() if m.check == check]
    assert sum(m.cases for m in mine if m.mark == "saboteur") >= 2
    assert any(m.mark == "control" for m in mine)


def test_there_are_enough_of_them() -> None:
    counts = {mark: sum(m.cases for m in marked() if m.mark == mark) for mark in ("saboteur", "control")}
    assert counts["saboteur"] >= LEAST_SABOTEURS
    assert counts["control"] >= LEAST_CONTROLS


def test_what_a_suite_marks_is_found_with_its_cases(tmp_path: Path) -> None:
    (tmp_path / "test_some_check.py").write_text(
        "CASES = ('a', 'b', 'c')\n"
        "@pytest.mark.saboteur\n@pytest.mark.parametrize('x', CASES)\ndef test_it_s_broken(x): ...\n"
        "@pytest.mark.control\ndef test_well(): ...\ndef test_neither(): ...\n"
    )
    found = marked(tmp_path)
    assert [(m.check, m.mark, m.cases, str(m)) for m in found] == [
        ("some-check", "saboteur", 3, "it's broken (3 cases)"),
        ("some-check", "control", 1, "well"),
    ]
