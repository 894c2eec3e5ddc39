"""A sweep's rows: what was measured beside what was predicted, from timelines made by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from checks.selftest.synthetic import Lab, failover
from harness.report import sweep


def test_a_takeover_in_time_is_as_predicted() -> None:
    (row,) = sweep.rows(failover("host-crash").timeline())
    assert row.takeover_s == pytest.approx(row.predicted_s, abs=1e-6)
    assert row.predicted_s == pytest.approx(0.3 + (256 - 90) / 256 * 0.1 - row.phase_s, abs=1e-4)
    assert 0 <= row.phase_s < 0.1


def test_one_that_is_late_is_told_as_missed() -> None:
    (row,) = sweep.rows(failover("host-crash", late_s=0.002).timeline())
    assert row.missed_s == pytest.approx(0.002, abs=1e-6)


def test_a_fault_that_moves_nothing_has_no_row() -> None:
    lab = Lab()
    lab.takes("lb1", 0.5, 5.0)
    lab.fault("host-crash", "lb2", 2.03)
    assert sweep.rows(lab.timeline()) == []


def test_the_files_hold_every_row(tmp_path: Path) -> None:
    rows = [sweep.Row(0.01, 0.35, 0.35, 0.36), sweep.Row(0.02, None, 0.34, None)]
    table, data, picture = sweep.write(rows, tmp_path)
    assert len(list(csv.DictReader(table.open()))) == 2
    assert json.loads(data.read_text())[1] == {
        "phase_s": 0.02,
        "takeover_s": None,
        "predicted_s": 0.34,
        "outage_s": None,
    }
    assert picture.read_text().count("<circle") == 2


def test_nothing_found_is_an_empty_picture() -> None:
    assert sweep.plot([]).count("<circle") == 0
