"""Several drills of one kind: phases that cover the cycle, their summary, an end by an interruption."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.patience import ENDS_S, SOON_S
from checks.selftest.drilled import check, many
from checks.selftest.labs import next_line
from harness.repeats import plan, spreads
from harness.session import Image


@given(seed=st.integers(0, 10**6), count=st.integers(1, 60))
def test_each_part_of_the_cycle_is_struck_once(seed: int, count: int) -> None:
    repeats = plan(seed, count)
    for part, phase in enumerate(sorted(repeat.phase for repeat in repeats)):
        assert part / count - 1e-4 <= phase <= (part + 1) / count + 1e-4
    assert [repeat.number for repeat in repeats] == list(range(1, count + 1))
    assert repeats == plan(seed, count)


def test_the_order_is_no_trend() -> None:
    phases = [repeat.phase for repeat in plan(3, 20)]
    assert phases != sorted(phases)


def test_a_phase_that_is_given_is_that_of_all() -> None:
    repeats = plan(3, 5, 0.25)
    assert {repeat.phase for repeat in repeats} == {0.25}
    assert len({repeat.seed for repeat in repeats}) == 5


def test_the_summary_tells_range_median_and_promise() -> None:
    results = many(random.Random(4), 9)
    results[3]["checks"][0]["verdict"] = "fail"
    takeover = next(spread for spread in spreads(results) if spread.title == "vip-migration: takeover (vip)")
    values = sorted(result["checks"][0]["measured"] for result in results)
    assert takeover.values == tuple(result["checks"][0]["measured"] for result in results)
    assert takeover.verdicts == {"pass": 8, "fail": 1}
    assert f"median {round(values[4], 4):.10g}" in takeover.figures()
    assert takeover.promise() == "0.2609 to 0.3609 s"


def test_a_bound_without_an_end_and_a_check_without_figures() -> None:
    first, second = many(random.Random(5), 2)
    first["checks"] = [check("a", "", None, None), check("b", "", 0.5, (0.1, 0.2))]
    second["checks"] = [check("a", "", None, None), check("b", "", 0.5, (0.1, 0.2))]
    second["checks"][1]["bound"]["high"] = None
    told = {spread.title: (spread.figures(), spread.promise()) for spread in spreads([first, second])}
    assert told == {"a": ("", ""), "b": ("0.5 s", "0.1 s or more")}


def command(*words: str) -> list[str]:
    """The command, as its own process in this bubble."""
    return [sys.executable, "-m", "harness", "run", "vip-l7", "--fault", "stop", *words]


def test_two_drills_side_by_side(tmp_path: Path, vipdrill_image: Image) -> None:
    words = command("--no-heal", "--repeat", "2", "--seed", "5", "--artifacts", str(tmp_path / "kept"))
    done = subprocess.run(
        [*words, "--json", str(tmp_path / "out.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_S,
    )
    assert done.returncode in (0, 4), done.stdout + done.stderr
    data = json.loads((tmp_path / "out.json").read_text())
    assert len(data["results"]) == 2
    planned = {(repeat.seed, f"--phase {repeat.phase:g}") for repeat in plan(5, 2)}
    ran = {(r["seed"], next(p for _, p in planned if p in r["again"])) for r in data["results"]}
    assert ran == planned
    assert all("--folder" not in result["again"] for result in data["results"])
    assert "Checks over 2 drills" in done.stdout
    assert len(list((tmp_path / "kept").glob("*/00?/result.json"))) == 2


def test_an_interruption_ends_all_of_them_and_keeps_what_there_is(
    tmp_path: Path, vipdrill_image: Image
) -> None:
    words = command("--no-heal", "--repeat", "3", "--jobs", "1", "--artifacts", str(tmp_path))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    next_line(process.stdout, "3 drills, 1 side by side")
    next_line(process.stdout, "VIP moved")
    os.kill(process.pid, signal.SIGINT)
    told, said = process.communicate(timeout=SOON_S)
    assert process.returncode == 130, told + said
    # On a busy machine the second may have ended before the interruption came.
    ended = re.search(r"interrupted after ([12]) of 3 drills", said)
    assert ended is not None, said
    assert f"Checks over {ended[1]} drills" in told
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--repeat", "0"), "--repeat takes 1 to 1000, not 0"),
        (("--repeat", "1001"), "--repeat takes 1 to 1000, not 1001"),
        (("--repeat", "2", "--jobs", "-1"), "--jobs takes 1 or more, not -1"),
        (("--phase", "1.5"), "--phase is between 0 and 1"),
    ],
)
def test_mistakes(tmp_path: Path, vipdrill_image: Image, words: tuple[str, ...], said: str) -> None:
    done = subprocess.run(
        command(*words, "--artifacts", str(tmp_path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_S,
    )
    assert done.returncode == 2
    assert said in done.stderr
