"""Tests in virtual time: each gets a guest of its own, in which pytest runs it and nothing else.

A pytest plugin.  Outside, a test marked `virtual_time` (or with `--vipdrill-time virtual`, every test that
uses a testbed) is handed to a guest; what its pytest reports is reported here as if it had run here, so that
xdist, JUnit and the summary see nothing of it.  As each begins in a fresh guest, none depends on another.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from _pytest.runner import get_reraise_exceptions

from harness import paths, session, world
from harness.errors import MissingCapability, VipdrillError
from harness.turns import beside_others
from harness.virtual import library
from harness.virtual.guest import Guest
from harness.virtual.init import EXCHANGE, FOLDER, SCRATCH, small_stacks
from harness.void import coming

MARK, REAL_MARK = "virtual_time", "real_time"
_REPORTS = f"{EXCHANGE}/reports"
# What a guest's pytest can do without, and would be long in loading: of its own plugins, and of others'.
_SPARED = ("xdist", "cacheprovider", "hypothesispytest", "pastebin")
# Options of those, which it does not know, and of JUnit's file, which is written outside.
_SPARED_VALUES = (
    *(("-n", "--numprocesses"), ("--maxprocesses",), ("--max-worker-restart",), ("--dist",), ("--tx",)),
    *(("--px",), ("--rsyncdir",), ("--rsyncignore",), ("--testrunuid",), ("--maxschedchunk",)),
    *(("--junitxml", "--junit-xml"), ("--junitprefix", "--junit-prefix"), ("--pastebin",)),
    *(("--lfnf", "--last-failed-no-failures"), ("--cache-show",)),
)
_SPARED_FLAGS = (
    *(("-d", "--distload"), ("-f", "--looponfail"), ("--lf", "--last-failed"), ("--ff", "--failed-first")),
    *(("--nf", "--new-first"), ("--cache-clear",), ("--no-loadscope-reorder",), ("--loadscope-reorder",)),
)
_NOT_NEEDED = ("xdist.", "_hypothesis", "testinfra.")
# Hours of virtual time are no hang: time that stands still is noticed outside.
_SETTINGS = ("faulthandler_timeout=0",)
_ENDS = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
_MOST_SAID = 3000


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
        for report in _reports(item):
            hook.pytest_runtest_logreport(report=report)
        for report in _torn_down(item, coming(item, nextitem)):
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
            out.write(json.dumps(data, default=str) + "\n")


def _torn_down(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[pytest.TestReport]:
    """End what tests before it left to it, as its module, and the next one does not need; tell of errors."""
    state = item.session._setupstate
    call = pytest.CallInfo.from_call(
        lambda: state.teardown_exact(nextitem), "teardown", reraise=get_reraise_exceptions(item.config)
    )
    if call.excinfo is not None:
        yield pytest.TestReport.from_item_and_call(item, call)


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    if reason := refused(item):
        return [_skipped(item, reason)]
    from harness import plugin

    began = time.monotonic()
    try:
        clock, kernel = library.ensure(), session.kernel(build=False)
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
        with beside_others(), Guest(job, kernel.rootfs, clock, seed, folder) as guest:
            outcome = guest.wait({})
            said = "".join(
                (guest.exchange / name).read_text(errors="replace") for name in ("stdout", "stderr")
            )
            told = guest.exchange / "reports"
            lines = told.read_text(errors="replace") if told.exists() else ""
    except MissingCapability as missing:
        return [_skipped(item, str(missing))]
    except (VipdrillError, OSError) as error:
        return [_own_report(item, "failed", f"{type(error).__name__}: {error}")]
    # The folder has another name in the guest, the same for every run.
    here = json.dumps(str(folder))[1:-1]
    made = _read(item.config, lines.replace(f"{FOLDER}/./", f"{here}/").replace(FOLDER, here))
    if outcome["status"] not in _ENDS or not made or made[-1].when != "teardown":
        why = f"pytest in the guest ended with {outcome['status']}, before it had told all of the test"
        said = f"{outcome.get('error', {}).get('text', '')}{said}"
        made.append(_own_report(item, "failed", f"{why}:\n{said[-_MOST_SAID:]}"))
    _in_real_time(made, time.monotonic() - began)
    return made


def _read(config: pytest.Config, lines: str) -> list[pytest.TestReport]:
    """The reports that came out of a guest, as far as they are whole."""
    made: list[pytest.TestReport] = []
    for line in lines.splitlines():
        try:
            data = json.loads(line)
        except ValueError:  # cut off: what is missing is told
            break
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        # JSON knows no tuples, and pytest tells a skipped test by one.
        if isinstance(report.longrepr, list):
            report.longrepr = tuple(report.longrepr)
        made.append(report)
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


def _not_of_the_spared(options: Sequence[str]) -> list[str]:
    """Options of the user's configuration, but those of plugins that a guest goes without."""
    spared = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for names in _SPARED_VALUES:
        spared.add_argument(*names)
    for names in _SPARED_FLAGS:
        spared.add_argument(*names, action="store_true")
    return spared.parse_known_args(options)[1]


def _command(item: pytest.Item, seed: int) -> list[str]:
    config = item.config
    command = [sys.executable, "-m", "pytest", "--vipdrill", "-q", f"--rootdir={config.rootpath}"]
    if config.inipath is not None:
        command += ["-c", str(config.inipath)]
    for name in _SPARED:
        command += ["-p", f"no:{name}"]
    for setting in _SETTINGS:
        command += ["-o", setting]
    command += ["-o", "addopts=", *_not_of_the_spared(config.getini("addopts"))]
    for name in ("suite", "rate", "keep", "kernel", "time"):
        command += [f"--vipdrill-{name}", str(config.getoption(f"--vipdrill-{name}"))]
    command += ["--vipdrill-seed", str(seed), "--vipdrill-artifacts", FOLDER]
    return [*command, f"--basetemp={SCRATCH}/tmp", item.nodeid]
