"""Shards of a suite, and their merge: nothing lost, nothing twice, the same matrix as of one run."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from checks.selftest.test_plugin import Repository
from harness.cli import app
from harness.compare.read import read_side
from harness.errors import UsageError
from harness.report import cells_file, merge
from harness.report.cells_file import SuiteCells
from harness.report.matrix import Cell, Matrix
from harness.shards import Shard, assign, digest

NAMES = st.lists(st.text("abc/:[]", min_size=1, max_size=6), unique=True, max_size=30)
SECONDS = st.dictionaries(st.text("abc/:[]", min_size=1, max_size=6), st.floats(0, 100), max_size=30)


class TestAssignment:
    @given(tests=NAMES, seconds=SECONDS, count=st.integers(1, 7))
    def test_every_test_is_in_one_shard_in_the_order_of_the_suite(
        self, tests: list[str], seconds: dict[str, float], count: int
    ) -> None:
        parts = assign(tests, seconds, count)
        assert len(parts) == count
        assert sorted(test for part in parts for test in part) == sorted(tests)
        assert all(part == sorted(part, key=tests.index) for part in parts)

    @given(tests=NAMES, seconds=SECONDS, count=st.integers(1, 7))
    def test_the_order_of_collection_decides_nothing(
        self, tests: list[str], seconds: dict[str, float], count: int
    ) -> None:
        parts = [set(part) for part in assign(tests, seconds, count)]
        assert parts == [set(part) for part in assign(tests[::-1], seconds, count)]
        assert digest(tests, seconds, count) == digest(tests[::-1], seconds, count)

    @given(
        seconds=st.dictionaries(st.text("abcdef", min_size=1), st.floats(0, 100), min_size=1),
        count=st.integers(1, 7),
    )
    def test_no_shard_takes_a_third_longer_than_need_be(self, seconds: dict[str, float], count: int) -> None:
        """Graham's bound for the longest first: 4/3 - 1/(3 count) of the best there is."""
        parts = assign(list(seconds), seconds, count)
        slowest = max(sum(seconds[test] for test in part) for part in parts)
        longest_first = sorted(seconds.values(), reverse=True)
        pair = sum(longest_first[count - 1 : count + 1]) if len(longest_first) > count else 0.0
        least = max(sum(seconds.values()) / count, longest_first[0], pair)
        assert slowest <= (4 / 3 - 1 / (3 * count)) * least * (4 / 3) + 1e-9

    def test_two_long_tests_do_not_meet(self) -> None:
        parts = assign(["a", "b", "c", "d"], {"a": 60, "b": 60, "c": 1, "d": 1}, 2)
        assert sorted(len(part) for part in parts) == [2, 2]
        assert all({"a", "b"} - set(part) for part in parts)

    @pytest.mark.parametrize("text", ["", "0/4", "5/4", "1", "a/b", "1/0", "-1/4", "1/1/1", "1/1001", "²/4"])
    def test_what_is_no_shard(self, text: str) -> None:
        with pytest.raises(UsageError, match="a shard is written I/N"):
            Shard.parse(text)


def cells_of_a_run(chance: random.Random) -> list[Cell]:
    """Cells as a suite of 200 drills leaves them: rows and columns that recur, figures, infinite bounds."""
    bounds = [(0.2609, 0.3609), (0.5, float("inf")), (None, None)]
    return [
        Cell(
            f"vip-migration: takeover / {chance.choice(['kill', 'freeze', 'stop'])} of the active",
            chance.choice(["vip-l7", "vip-l7 (preempt False)"]),
            chance.choice(["pass", "pass", "pass", "limitation", "unknown", "fail"]),
            chance.choice([None, round(chance.random(), 4)]),
            *chance.choice(bounds),
            chance.choice(["s", "takeovers"]),
            chance.choice(["cl", "clx"]),
        )
        for _ in range(200)
    ]


def shards_of(folder: Path, cells: list[Cell], count: int) -> list[Path]:
    """The cells dealt out to so many shards, each in a folder as pytest leaves it."""
    places = []
    for number in range(1, count + 1):
        place = folder / f"shard-{number}" / ".vipdrill" / f"2026-{number}"
        place.mkdir(parents=True)
        own = tuple(cells[number - 1 :: count])
        suite = SuiteCells(own, f"{number}/{count}", "abc", 7, {"passed": len(own)}, {f"t{number}": 1.5})
        cells_file.write(place / cells_file.NAME, suite)
        places.append(folder / f"shard-{number}")
    return places


class TestMerge:
    def test_four_shards_make_the_matrix_of_one_run(self, tmp_path: Path) -> None:
        cells = cells_of_a_run(random.Random(5))
        merged = merge.merge(shards_of(tmp_path, cells, 4))
        assert merged.matrix.markdown() == Matrix(cells).markdown()
        assert merged.matrix.plain() == Matrix(cells).plain()
        assert "(" in merged.matrix.markdown()
        suite = merged.suite
        assert (len(suite.cells), suite.outcomes, suite.seed, suite.suite) == (200, {"passed": 200}, 7, "abc")
        assert suite.seconds == {f"t{number}": 1.5 for number in range(1, 5)}

    def test_a_merge_can_be_merged_and_compared(self, tmp_path: Path) -> None:
        cells = cells_of_a_run(random.Random(6))
        places = shards_of(tmp_path, cells, 2)
        done = CliRunner().invoke(app, ["merge", str(tmp_path / "out"), *map(str, places)])
        assert done.exit_code == 0, done.output
        assert "200 cells of 2 runs (200 passed)" in done.output
        assert (tmp_path / "out" / "matrix.md").read_text() == Matrix(cells).markdown()
        again = merge.merge([tmp_path / "out"])
        assert sorted(map(str, again.suite.cells)) == sorted(map(str, merge.merge(places).suite.cells))
        compared = CliRunner().invoke(app, ["compare", str(tmp_path / "out"), str(tmp_path / "out")])
        assert compared.exit_code in (0, 4), compared.output

    def test_what_was_drilled_in_virtual_time_is_paired_with_that_only(self, tmp_path: Path) -> None:
        real = cells_of_a_run(random.Random(8))[0]
        cells_file.write(tmp_path / cells_file.NAME, SuiteCells((real, replace(real, world="virtual"))))
        assert [cell.world for cell in cells_file.read(tmp_path / cells_file.NAME).cells] == [
            "real",
            "virtual",
        ]
        faults = real.row.partition(" / ")[2]
        assert {drill for drill, _ in read_side(tmp_path).drills} == {faults, f"{faults}, virtual time"}

    def test_a_shard_that_is_missing_or_twice_is_told(self, tmp_path: Path) -> None:
        places = shards_of(tmp_path, cells_of_a_run(random.Random(7)), 4)
        with pytest.raises(UsageError, match="not there: shard 2/4, 4/4"):
            merge.merge([places[0], places[2]])
        assert merge.merge([places[0], places[2]], partial=True).missing == ("2/4", "4/4")
        shard = json.loads(next(places[0].rglob("cells.json")).read_text())
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "cells.json").write_text(json.dumps(shard))
        with pytest.raises(UsageError, match="are both shard 1/4"):
            merge.merge([*places, tmp_path / "old"])

    @pytest.mark.parametrize(
        ("change", "said"),
        [({"suite": "other"}, "shards of different suites"), ({"shard": ""}, "is a whole suite")],
    )
    def test_what_does_not_belong_together(
        self, tmp_path: Path, change: Mapping[str, str], said: str
    ) -> None:
        places = shards_of(tmp_path, cells_of_a_run(random.Random(8)), 2)
        file = next(places[1].rglob("cells.json"))
        file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
        with pytest.raises(UsageError, match=said):
            merge.merge(places)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is no JSON"),
            ('{"format": 1, "cells": [{"row"', "cut off"),
            ('{"format": 2, "cells": []}', "holds no cells"),
            ('{"format": 1, "cells": [{"row": "a"}]}', "is damaged"),
            ('{"format": 1, "cells": [], "outcomes": {"passed": "many"}}', "is damaged"),
            ('{"format": 1, "cells": [], "shard": "9/4"}', "a shard is written"),
        ],
    )
    def test_damaged_cells_are_told_in_a_sentence(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "cells.json").write_text(text)
        with pytest.raises(UsageError, match=said):
            merge.merge([tmp_path])

    def test_places_without_cells(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"holds no cells\.json"):
            merge.merge([tmp_path])
        with pytest.raises(UsageError, match="there is no"):
            merge.merge([tmp_path / "nowhere"])


_SUITE = """
    import pytest
    from harness.verdict import Status

    @pytest.mark.testbed("vip-l7", advert_int=0.05)
    @pytest.mark.parametrize("fault", ["kill", "stop"])
    def test_drill(drill, judge, fault):
        drill.steady()
        drill.strike(fault)
        drill.watch(0.4)
        drill.finish()
        judge()

    @pytest.mark.parametrize("n", range(5))
    def test_plain(n):
        pass
"""


def test_a_suite_run_in_shards_comes_to_what_it_comes_to_in_one_run(tmp_path: Path) -> None:
    """Really run: the same cells, rows and columns and counts; the figures differ by nature."""
    repository = Repository(tmp_path)
    repository.write(_SUITE)
    runs = {"whole": repository.run("-n", "2", "--vipdrill-artifacts", str(tmp_path / "whole"))}
    durations = str(next((tmp_path / "whole").rglob("cells.json")))

    def shard(text: str, workers: str) -> subprocess.CompletedProcess[str]:
        words = ["--vipdrill-shard", text, "--vipdrill-durations", durations, "-n", workers]
        words += [f"--junit-xml={text[0]}.xml", "--vipdrill-artifacts", str(tmp_path / "parts" / text[0])]
        words += ["--vipdrill-keep", "all"]
        return repository.run(*words)

    with ThreadPoolExecutor() as pool:
        begun = {text: pool.submit(shard, text, n) for text, n in (("1/2", "0"), ("2/2", "2"))}
        runs |= {text: one.result() for text, one in begun.items()}
    for run in runs.values():
        assert run.returncode == 0, run.stdout + run.stderr
    passed = {name: int(re.findall(r"(\d+) passed", run.stdout)[-1]) for name, run in runs.items()}
    assert passed["whole"] == passed["1/2"] + passed["2/2"] == 7
    whole, parts = merge.merge([tmp_path / "whole"]), merge.merge([tmp_path / "parts"])
    # The two drills are by far the longest, so by the record of the whole run each shard has one of them.
    assert all(merge.merge([part], partial=True).suite.cells for part in (tmp_path / "parts").iterdir())

    done = CliRunner().invoke(app, ["merge", str(tmp_path / "merged"), str(tmp_path / "parts")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "merged" / "index.html").read_text()
    linked = {link for link in re.findall(r'href="([^"#]+/index\.html)"', page) if "://" not in link}
    assert linked
    assert all((tmp_path / "merged" / unescape(link)).is_file() for link in linked)

    def shape(merged: merge.Merged) -> list[tuple[str, str, str]]:
        return sorted((cell.row, cell.column, cell.subject) for cell in merged.suite.cells)

    assert shape(whole) == shape(parts)
    assert parts.suite.outcomes == whole.suite.outcomes == {"passed": 7}
    assert set(parts.suite.seconds) == set(whole.suite.seconds)


def test_a_mistake_in_the_options_is_one_sentence(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    repository.write("def test_it():\n    pass\n", ini="[pytest]\n")
    for words, said in (
        (("--vipdrill-shard", "3/2"), "a shard is written I/N"),
        (("--vipdrill-shard", "1/2", "--vipdrill-durations", "nowhere"), "nowhere cannot be read"),
    ):
        done = repository.run(*words)
        assert done.returncode == 4
        assert said in done.stderr
        assert "Traceback" not in done.stderr
