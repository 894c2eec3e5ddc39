"""A failed test's testbed as a lab, in a repository of somebody else's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.patience import ENDS_S
from checks.selftest.labs import Labs
from harness.timeline import Timeline

_PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
_TEST = """
import pytest

@pytest.mark.testbed("vip-l7", advert_int=0.1)
def test_it(testbed):
    with open("failed", "w"):
        pass
    assert 0, "it fails"

def test_the_next():
    with open("next", "w"):
        pass
"""


@pytest.fixture
def labs(tmp_path: Path) -> Iterator[Labs]:
    made = Labs(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nvipdrill = true\n")
    (tmp_path / "test_mine.py").write_text(_TEST)
    yield made
    made.end()


def in_repository(labs: Labs, words: str) -> list[str]:
    """pytest, started by a shell in the repository."""
    return ["sh", "-c", f"cd {labs.folder}; {' '.join(_PYTEST)} {words}"]


def without_terminal(labs: Labs, *words: str) -> subprocess.CompletedProcess[str]:
    """pytest to its end, its output to pipes."""
    return subprocess.run(
        [*_PYTEST, *words],
        cwd=labs.folder,
        env=labs.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_S,
    )


def artifacts(labs: Labs) -> Path:
    """The folder of the failed test."""
    (folder,) = (labs.folder / "artifacts").glob("*/*test_it")
    return folder


@pytest.mark.parametrize("how", ["enter", "down"])
def test_the_lab_is_open_while_pytest_waits(labs: Labs, how: str) -> None:
    terminal = labs.terminal(argv=in_repository(labs, "--lab-on-failure"))
    terminal.wait_for("Press Enter")
    assert "vipdrill shell -n test_it NODE" in terminal.shown
    assert labs.does("exec", "lb1", "--", "hostname") == "lb1\n"
    labs.does("fault", "kill:lb2")
    assert not (labs.folder / "next").exists()
    if how == "enter":
        terminal.type("\n")
    else:
        assert "The tests go on." in labs.does("down")
    assert terminal.end() == 1
    assert "1 failed, 1 passed" in terminal.shown
    assert "no lab is up" in labs.does("ps")
    # What was done in the lab is no part of the test's evidence.
    folder = artifacts(labs)
    assert not Timeline.load(folder / "timeline.jsonl").of("fault")
    assert Timeline.load(folder / "timeline-whole.jsonl").of("fault", fault="kill")
    assert json.loads((folder / "result.json").read_text())["fault"] is None


def test_a_kept_lab_outlives_the_run_and_its_terminal(labs: Labs) -> None:
    terminal = labs.terminal(argv=in_repository(labs, "--keep; echo left $?; read x"))
    terminal.wait_for("left 1")
    assert "vipdrill shell -n test_it NODE" in terminal.shown
    terminal.close()
    terminal.end()
    assert (labs.folder / "next").exists()
    assert labs.does("exec", "lb2", "--", "hostname") == "lb2\n"
    labs.does("fault", "kill:lb2")
    labs.does("down")
    folder = artifacts(labs)
    assert not Timeline.load(folder / "timeline.jsonl").of("fault")
    assert (folder / "result.json").exists()


def test_a_kept_lab_gives_pipes_back(labs: Labs) -> None:
    """As of `pytest --keep | tee log`: who reads them comes to their end while the lab is up."""
    done = without_terminal(labs, "--keep")
    assert done.returncode == 1
    assert "vipdrill shell -n test_it NODE" in done.stdout
    assert labs.does("exec", "lb2", "--", "hostname") == "lb2\n"
    labs.does("down")


@pytest.mark.parametrize("words", [("--lab-on-failure",), ("--keep", "-n", "2")])
def test_where_it_cannot_be_had_it_is_refused(labs: Labs, words: tuple[str, ...]) -> None:
    done = without_terminal(labs, *words)
    assert done.returncode == 4
    assert f"vipdrill: {words[0]}" in done.stderr
    assert not (labs.folder / "failed").exists()
