"""A pytest run as part of something larger: a shard, workers on other machines, cells to be merged."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import shards
from harness.errors import UsageError
from harness.report import cells_file
from harness.report.cells_file import SuiteCells
from harness.report.matrix import Cell
from harness.shards import Shard

# What a worker on another machine needs to know of the run, by its name in the environment there.
SHARED = ("VIPDRILL_RUN", "VIPDRILL_SEED")
_INPUT, _OUTPUT = "vipdrill", "vipdrill_suite"


class SuiteRun:
    """One pytest process's part in a run; registered as a plugin in the controller and in every worker."""

    def __init__(self, config: pytest.Config) -> None:
        self._input: dict[str, Any] = getattr(config, "workerinput", {}).get(_INPUT, {})
        for name in SHARED:
            if name in self._input:
                os.environ.setdefault(name, self._input[name])
        given = config.getoption("--vipdrill-shard")
        self._shard = Shard.parse(given) if given else None
        self._digest = ""
        self._seconds = self._durations(config.getoption("--vipdrill-durations"))

    def _durations(self, given: str | None) -> dict[str, float]:
        if "seconds" in self._input:
            return dict(self._input["seconds"])
        if given is None:
            return {}
        path = Path(given)
        return cells_file.read(path / cells_file.NAME if path.is_dir() else path).seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave to this shard what is its own."""
        if self._shard is None:
            return
        names = [item.nodeid for item in items]
        self._digest = shards.digest(names, self._seconds, self._shard.count)
        own = set(shards.assign(names, self._seconds, self._shard.count)[self._shard.number - 1])
        others = [item for item in items if item.nodeid not in own]
        items[:] = [item for item in items if item.nodeid in own]
        if others:
            config.hook.pytest_deselected(items=others)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist, on whatever machine, what it cannot find in its environment."""
        shared = {name: os.environ[name] for name in SHARED if name in os.environ}
        node.workerinput[_INPUT] = {**shared, "seconds": self._seconds}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In a worker: tell the controller, which collects nothing itself, what the suite was."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_OUTPUT] = self._digest

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """In the controller: what a worker told."""
        self._digest = getattr(node, "workeroutput", {}).get(_OUTPUT) or self._digest

    def write(self, folder: Path, seed: int, cells: Iterable[Cell], reports: Iterable[Any]) -> Path | None:
        """Write cells.json, unless nothing was judged and nobody waits for it; where it is."""
        listed = tuple(cells)
        if not listed and self._shard is None:
            return None
        tests = [report for report in reports if isinstance(report, pytest.TestReport)]
        seconds: dict[str, float] = {}
        for report in tests:
            seconds[report.nodeid] = round(seconds.get(report.nodeid, 0.0) + report.duration, 3)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / cells_file.NAME
        suite = SuiteCells(
            listed, str(self._shard or ""), self._digest, seed, dict(Counter(_outcomes(tests))), seconds
        )
        cells_file.write(path, suite)
        return path


def _outcomes(reports: Sequence[pytest.TestReport]) -> Iterable[str]:
    """One word for each test: how it ended. A broken testbed, or what is outside of the test, is an error."""
    for report in reports:
        if report.when == "call":
            yield report.outcome
        elif report.failed:
            yield "error"
        elif report.when == "setup" and report.skipped:
            yield "skipped"


def register(config: pytest.Config) -> None:
    """Make this process part of the run; a mistake in the options is pytest's UsageError."""
    try:
        config.pluginmanager.register(SuiteRun(config), "vipdrill-suite")
    except UsageError as error:
        raise pytest.UsageError(f"vipdrill: {error}") from None
