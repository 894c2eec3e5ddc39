"""The pytest plugin in a repository of somebody else's: fixtures, evidence, errors against failures."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from checks.patience import ENDS_S

_OPTED_IN = "[pytest]\nvipdrill = true\n"


class Repository:
    """Somebody's repository with one test file; `run` runs pytest in it as its own process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, test: str, ini: str = _OPTED_IN) -> None:
        """Put the test file and the configuration in place."""
        (self.folder / "pytest.ini").write_text(ini)
        (self.folder / "test_mine.py").write_text(textwrap.dedent(test))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run pytest as a user would, outside of our own bubble's environment."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("VIPDRILL_", "PYTEST_"))}
        for name in ("VIPDRILL_CACHE",):
            if name in os.environ:
                environment[name] = os.environ[name]
        return subprocess.run(
            [sys.executable, "-m", "pytest", "--junit-xml=junit.xml", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=ENDS_S,
        )

    def junit(self) -> ET.Element:
        """What the last run wrote for a CI system."""
        return ET.parse(self.folder / "junit.xml").getroot()  # noqa: S314


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A fresh repository."""
    return Repository(tmp_path)


def test_a_drill_in_somebody_s_repository(repository: Repository) -> None:
    repository.write(
        """
        import pytest

        @pytest.mark.testbed("vip-l7")
        def test_my_balancer(drill, judge, testbed, faults, probe, timeline):
            drill.steady()
            with faults("kill:standby"):
                drill.watch(0.2)
            drill.finish()
            assert probe.answered["cl"] > 0
            assert timeline.of("fault", state="healed")
            assert not [v for v in judge() if v.status.value == "fail"]
        """
    )
    done = repository.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vipdrill: seed" in done.stdout
    assert "vipdrill matrix" in done.stdout
    properties = {p.get("name") for p in repository.junit().iter("property")}
    assert any(name and name.startswith("single-owner") for name in properties)


def test_a_finding_comes_with_its_evidence(repository: Repository) -> None:
    repository.write(
        """
        import signal, pytest

        @pytest.mark.testbed("vip-l7")
        def test_my_balancer(drill, judge):
            drill.steady()
            drill.testbed.process("lb2", "keepalived").signal_tree(signal.SIGSTOP)
            drill.strike("host-crash")
            drill.watch(1.0)
            drill.finish()
            for verdict in judge():
                verdict.check()
        """
    )
    done = repository.run("--vipdrill-seed", "11")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAIL vip-migration" in done.stdout
    assert "because" in done.stdout
    assert "run again: pytest test_mine.py::test_my_balancer --vipdrill-seed 11" in done.stdout
    (folder,) = (repository.folder / ".vipdrill").glob("*/*test_my_balancer*")
    kept = {path.name for path in folder.iterdir()}
    assert {"timeline.jsonl", "result.json", "captures", "configs", "logs"} <= kept
    suite = repository.junit().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")


def test_a_broken_testbed_is_an_error_and_no_failure(repository: Repository) -> None:
    repository.write(
        """
        import pytest

        @pytest.mark.testbed("vip-l7")
        def test_my_balancer(testbed):
            testbed.node("cl").run(["false"])
        """
    )
    done = repository.run()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The testbed broke; nothing was learned about the load balancer." in done.stdout
    suite = repository.junit().find("testsuite")
    assert suite is not None
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")


def test_a_repository_that_did_not_opt_in_is_told_how(repository: Repository) -> None:
    repository.write(
        """
        import os, pytest

        def test_nothing_of_ours():
            assert "VIPDRILL_BUBBLE" not in os.environ

        @pytest.mark.testbed("vip-l7")
        def test_my_balancer(testbed):
            pass
        """,
        ini="[pytest]\n",
    )
    done = repository.run()
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "put `vipdrill = true` into the pytest configuration" in done.stdout


@pytest.mark.parametrize("workers", ["2"])
def test_workers_share_one_bubble(repository: Repository, workers: str) -> None:
    repository.write(
        """
        import os, pytest

        @pytest.mark.parametrize("n", range(4))
        def test_where(n):
            assert os.environ["VIPDRILL_BUBBLE"] == os.readlink("/proc/self/ns/pid")
        """
    )
    done = repository.run("-n", workers)
    assert done.returncode == 0, done.stdout + done.stderr
