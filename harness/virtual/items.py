"""Tests in virtual time: each gets a guest of its own, in which pytest runs it and nothing else.

A pytest plugin.  Outside, a test marked `virtual_time` (or with `--vipdrill-time virtual`, every test that
uses a testbed) is handed to a guest; what its pytest reports is reported here as if it had run here, so that
xdist, JUnit and the summary see nothing of it.  As each begins in a fresh guest, none depends on another.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness import paths, session, world
from harness.errors import MissingCapability, TestbedError
from harness.turns import beside_others
from harness.virtual import library
from harness.virtual.guest import Guest
from harness.virtual.init import EXCHANGE, FOLDER, SCRATCH, small_stacks

MARK, REAL_MARK = "virtual_time", "real_time"
_REPORTS = f"{EXCHANGE}/reports"
# What a guest's pytest can do without, and would be long in loading: of its own plugins, and of others'.
_SPARED = ("xdist", "cacheprovider", "hypothesispytest", "junitxml", "pastebin")
_NOT_NEEDED = ("xdist.", "_hypothesis", "testinfra.")
# Hours of virtual time are no hang: time that stands still is noticed outside.
_SETTINGS = ("faulthandler_timeout=0",)


def wanted(item: pytest.Item) -> bool:
    """Whether a test is to run in virtual time."""
    if item.get_closest_marker(MARK) is not None:
        return True
    uses_testbed = "new_testbed" in getattr(item, "fixturenames", ())
    return uses_testbed and item.config.getoption("--vipdrill-time") == world.VIRTUAL


def refused(item: pytest.Item) -> str:
    """Why a test that is to run in virtual time cannot (its `real_time` marker says it), or nothing."""
    marker = item.get_closest_marker(REAL_MARK)
    return "" if marker is None else " ".join(["needs real time:", *map(str, marker.args)])


class Outside:
    """The plugin where guests are started."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run a test in a guest, if it is for one."""
        if not wanted(item):
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in (*_reports(item), *_torn_down(item, nextitem)):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


class Inside:
    """The plugin in a guest: writes each report to the exchange."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        small_stacks()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a report."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with open(_REPORTS, "a", encoding="utf-8") as out:
            out.write(json.dumps(data) + "\n")


def _torn_down(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[pytest.TestReport]:
    """End what tests before it left to it, as its module, and the next one does not need; tell of errors."""
    state = item.session._setupstate
    call = pytest.CallInfo.from_call(lambda: state.teardown_exact(nextitem), "teardown")
    if call.excinfo is not None:
        yield pytest.TestReport.from_item_and_call(item, call)


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    if reason := refused(item):
        return [_skipped(item, reason)]
    try:
        clock, kernel = library.ensure(), session.kernel(build=False)
    except MissingCapability as missing:
        return [_skipped(item, str(missing))]
    from harness import plugin

    folder = plugin.artifacts_folder(item.config)
    folder.mkdir(parents=True, exist_ok=True)
    seed = plugin.base_seed(item.config)
    job = {
        "command": _command(item, seed),
        "directory": str(item.config.rootpath),
        "environment": {
            **_environment(),
            **_plugins(item.config),
            "VIPDRILL_CACHE": str(paths.cache_dir()),
            "VIPDRILL_RUN": ".",
        },
    }
    began = time.monotonic()
    try:
        with beside_others(), Guest(job, kernel.rootfs, clock, seed, folder) as guest:
            guest.wait({})
            said = "".join(
                (guest.exchange / name).read_text(errors="replace") for name in ("stdout", "stderr")
            )
            told = guest.exchange / "reports"
            reports = told.read_text() if told.exists() else ""
    except TestbedError as error:
        return [_own_report(item, "failed", str(error))]
    if not reports:
        return [_own_report(item, "failed", f"pytest in the guest reported nothing:\n{said[-3000:]}")]
    # The folder has another name in the guest, the same for every run.
    lines = reports.replace(f"{FOLDER}/./", f"{folder}/").replace(FOLDER, str(folder)).splitlines()
    hook = item.config.hook
    made = [hook.pytest_report_from_serializable(config=item.config, data=json.loads(line)) for line in lines]
    for report in made:
        # JSON knows no tuples, and pytest tells a skipped test by one.
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)
    _in_real_time(made, time.monotonic() - began)
    return made


def _environment() -> dict[str, str]:
    """That of this process, but for what differs from one of xdist's workers to the next."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}


def _plugins(config: pytest.Config) -> dict[str, str]:
    """The environment that has a guest's pytest load the plugins that were found here, by their modules.

    To find them anew, it would read what every installed distribution says of itself.
    """
    found = [getattr(plugin, "__name__", "") for plugin, _ in config.pluginmanager.list_plugin_distinfo()]
    wanted = [name for name in found if not name.startswith(_NOT_NEEDED)]
    if "" in wanted:  # one that is no module
        return {}
    return {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": ",".join(wanted)}


def _in_real_time(reports: list[pytest.TestReport], took_s: float) -> None:
    """Let reports tell how long they took here, not in the guest: shards and the slowest tests go by that."""
    guests_s = sum(report.duration for report in reports)
    for report in reports:
        report.duration *= took_s / guests_s if guests_s else 0.0


def _skipped(item: pytest.Item, reason: str) -> pytest.TestReport:
    return _own_report(item, "skipped", (str(item.path), item.location[1] or 0, f"Skipped: {reason}"))


def _own_report(item: pytest.Item, outcome: Any, why: Any) -> pytest.TestReport:
    """What is to be said of a test that no guest could run."""
    return pytest.TestReport(item.nodeid, item.location, {}, outcome, why, "setup")


def _command(item: pytest.Item, seed: int) -> list[str]:
    config = item.config
    command = [sys.executable, "-m", "pytest", "--vipdrill", "-q", f"--rootdir={config.rootpath}"]
    if config.inipath is not None:
        command += ["-c", str(config.inipath)]
    for name in _SPARED:
        command += ["-p", f"no:{name}"]
    for setting in _SETTINGS:
        command += ["-o", setting]
    for name in ("suite", "rate", "keep", "kernel", "time"):
        command += [f"--vipdrill-{name}", str(config.getoption(f"--vipdrill-{name}"))]
    command += ["--vipdrill-seed", str(seed), "--vipdrill-artifacts", FOLDER]
    return [*command, f"--basetemp={SCRATCH}/tmp", item.nodeid]
