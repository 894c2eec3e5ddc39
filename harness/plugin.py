"""The pytest plugin: testbeds as fixtures, drills in tests, evidence in failures.

A repository opts in with `vipdrill = true` in its pytest configuration (or `pytest --vipdrill`);
then the whole pytest run enters a bubble before anything is collected.

    @pytest.mark.testbed("vip-l7", advert_int=0.1)
    def test_standby_takes_over(drill):
        ...
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import bubble
from harness.errors import CheckFailed, TestbedError, UsageError, VipdrillError

if TYPE_CHECKING:
    from harness.drill import Drill
    from harness.faults.base import Fault
    from harness.session import Image
    from harness.testbed import Testbed
    from harness.timeline import Timeline
    from harness.verdict import Verdict

_RUN = "VIPDRILL_RUN"
_SEED = "VIPDRILL_SEED"
_CELLS = "vipdrill-cells"
_testbed_key = pytest.StashKey["Testbed"]()
_failed_key = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options and ini values, all under the name of vipdrill."""
    group = parser.getgroup("vipdrill", "load-balancer testbeds")
    group.addoption("--vipdrill", action="store_true", help="run in a bubble, so that testbeds can be built")
    group.addoption("--vipdrill-suite", default="trixie", help="Debian release of the node image")
    group.addoption("--vipdrill-seed", type=int, help="repeat an earlier run's random choices")
    group.addoption(
        "--vipdrill-rate",
        type=float,
        default=50.0,
        help="new connections per second and client (default: 50, so that many testbeds fit side by side)",
    )
    group.addoption("--vipdrill-artifacts", help="folder for artifacts (default: .vipdrill at the root)")
    group.addoption(
        "--vipdrill-keep",
        choices=("failed", "all", "none"),
        default="failed",
        help="whose artifacts to keep (default: failed)",
    )
    parser.addini("vipdrill", "run in a bubble, so that testbeds can be built", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Markers."""
    config.addinivalue_line(
        "markers", "saboteur: what the test breaks must be caught; its figures stay out of the matrix"
    )
    config.addinivalue_line("markers", "control: what the test does must not be flagged")
    config.addinivalue_line(
        "markers",
        "testbed(architecture, **options): the testbed that the `testbed` fixture builds for a test",
    )

    if bubble.inside() and _wanted(config):
        from harness import void

        config.pluginmanager.register(void, "vipdrill-void")


def _wanted(config: pytest.Config) -> bool:
    return bool(config.getoption("--vipdrill") or config.getini("vipdrill"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Enter the bubble, once, before collection; xdist's workers are children of it."""
    idle = config.option.help or config.option.version or config.option.collectonly
    if idle or not _wanted(config) or bubble.inside():
        return
    from harness import session

    os.environ.setdefault(_RUN, time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}")
    os.environ.setdefault(_SEED, str(_given(config, "seed") or session.new_seed()))
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    try:
        session.image(config.getoption("--vipdrill-suite"))
        session.pki_ready()
        bubble.enter()
    except VipdrillError as error:
        raise pytest.UsageError(f"vipdrill: {error}") from None


def _given(config: pytest.Config, name: str) -> Any:
    return config.getoption(f"--vipdrill-{name}")


def _base_seed(config: pytest.Config) -> int:
    given = _given(config, "seed")
    return int(given if given is not None else os.environ.get(_SEED, "0"))


def _artifacts(config: pytest.Config) -> Path:
    root = (
        _given(config, "artifacts") or os.environ.get("VIPDRILL_ARTIFACTS") or config.rootpath / ".vipdrill"
    )
    return Path(root).absolute() / os.environ.get(_RUN, "run")


def pytest_report_header(config: pytest.Config) -> str | None:
    """What is needed to run the same again."""
    if not bubble.inside():
        return None
    seed, suite = _base_seed(config), _given(config, "suite")
    return f"vipdrill: seed {seed}, {suite} nodes, artifacts in {_artifacts(config)}"


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def vipdrill_image(request: pytest.FixtureRequest) -> Image:
    """The node image of this run."""
    from harness import session

    return session.image(_given(request.config, "suite"), build=False)


@pytest.fixture
def vipdrill_seed(request: pytest.FixtureRequest) -> int:
    """This test's own seed, made of the run's seed and the test's name."""
    text = f"{_base_seed(request.config)} {request.node.nodeid}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 1_000_000


@pytest.fixture
def artifact_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """This test's own folder for evidence; kept as --vipdrill-keep says."""
    folder = _folder(request.node)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    keep = _given(request.config, "keep")
    if keep == "none" or (keep == "failed" and not request.node.stash.get(_failed_key, False)):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_testbed(
    request: pytest.FixtureRequest, vipdrill_image: Image, vipdrill_seed: int, artifact_folder: Path
) -> Iterator[Callable[..., Testbed]]:
    """A function that builds a testbed: `new_testbed("vip-l7", advert_int=1)`, or of a Topology."""
    import topologies
    from harness.report import slowest
    from harness.testbed import Testbed
    from harness.topology import Topology

    if not bubble.inside():
        raise UsageError(
            "this pytest run is not in a bubble: put `vipdrill = true` into the pytest configuration, "
            "or run `pytest --vipdrill`"
        )
    made: list[Testbed] = []

    rate: float = _given(request.config, "rate")

    def build(architecture: str | Topology, *, probe_rate: float = rate, **options: Any) -> Testbed:
        topology = (
            architecture if isinstance(architecture, Topology) else topologies.make(architecture, options)
        )
        folder = artifact_folder / str(len(made)) if made else artifact_folder
        testbed = Testbed(
            topology,
            vipdrill_image.rootfs,
            folder,
            seed=vipdrill_seed,
            versions=vipdrill_image.versions,
            probe_rate=probe_rate,
        )
        made.append(testbed)
        request.node.stash[_testbed_key] = testbed
        testbed.build()
        return testbed

    yield build
    for testbed in reversed(made):
        testbed.close()
        request.node.user_properties.append((slowest.PROPERTY, slowest.encode(testbed.recorder.waited)))
        if request.node.stash.get(_failed_key, False) or _given(request.config, "keep") == "all":
            _keep_evidence(testbed, _command_again(request.node))


def _keep_evidence(testbed: Testbed, again: str) -> None:
    from harness.properties import judge_all
    from harness.report.evidence import write_artifacts

    timeline = testbed.recorder.timeline
    if timeline.first("run") is None:
        return
    write_artifacts(testbed.artifacts, timeline, judge_all(timeline), again)


@pytest.fixture
def testbed(request: pytest.FixtureRequest, new_testbed: Callable[..., Testbed]) -> Testbed:
    """The testbed that the test's `testbed` marker asks for, built and running."""
    marker = request.node.get_closest_marker("testbed")
    if marker is None or not marker.args:
        raise UsageError(
            f"{request.node.name} uses `testbed` without @pytest.mark.testbed(ARCHITECTURE, ...)"
        )
    options = dict(marker.kwargs)
    param = getattr(request, "param", None)
    if isinstance(param, dict):
        options.update(param)
    return new_testbed(marker.args[0], **options)


@pytest.fixture
def drill(testbed: Testbed) -> Drill:
    """A drill on the test's testbed: steady, strike, aftermath, heal."""
    from harness.drill import Drill

    return Drill(testbed)


@pytest.fixture
def faults(testbed: Testbed) -> Iterator[Callable[[str], Fault]]:
    """A function that aims a fault (`FAULT[:TARGET]`) for a `with` block; all are healed at the end."""
    from harness import faults as library

    aimed: list[Fault] = []

    def aim(text: str) -> Fault:
        aimed.append(library.parse(text, testbed))
        return aimed[-1]

    yield aim
    for fault in reversed(aimed):
        fault.heal()


@pytest.fixture
def timeline(testbed: Testbed) -> Timeline:
    """The timeline of the test's testbed, growing while the test waits."""
    return testbed.recorder.timeline


@pytest.fixture
def probe(testbed: Testbed) -> Any:
    """The clients' present fortunes: `answered`, `lost`, `streak`, by client."""
    return testbed.situation


@pytest.fixture
def judge(request: pytest.FixtureRequest, testbed: Testbed) -> Callable[[], list[Verdict]]:
    """A function that judges the testbed's timeline so far by every property.

    What it finds goes into the suite's matrix and JUnit's properties, except in a test marked `saboteur`.
    """
    from harness.properties import judge_all

    def judge_now() -> list[Verdict]:
        timeline = testbed.recorder.timeline
        verdicts = judge_all(timeline)
        if request.node.get_closest_marker("saboteur") is None:
            import topologies
            from harness.report import matrix

            options = topologies.find(testbed.topology.architecture).OPTIONS
            found = matrix.cells(timeline, verdicts, {option.name: option.default for option in options})
            request.node.user_properties.append((_CELLS, matrix.encode(found)))
            for verdict in verdicts:
                if verdict.measured is not None:
                    name = f"{verdict.title()} {verdict.subject}".strip()
                    request.node.user_properties.append((name, verdict.measured))
        return verdicts

    return judge_now


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix of all that was judged, here and as Markdown beside the artifacts."""
    from harness.report.matrix import Matrix, decode
    from harness.report.slowest import slowest

    found = Matrix()
    reports = [report for some in terminalreporter.stats.values() for report in some]
    for report in reports:
        if getattr(report, "when", "") != "teardown":
            continue
        for name, value in getattr(report, "user_properties", ()):
            if name == _CELLS:
                for cell in decode(value):
                    found.add(cell)
    void = _void_runs(reports)
    if void:
        terminalreporter.section("vipdrill: run again, as the machine was late and the verdict unknown")
        for line in void:
            terminalreporter.write_line(line)
    if not found:
        return
    terminalreporter.section("vipdrill: the ten slowest tests, and what they waited for")
    for line in slowest(reports):
        terminalreporter.write_line(line)
    terminalreporter.section("vipdrill matrix")
    for line in found.plain():
        terminalreporter.write_line(line)
    folder = _artifacts(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "matrix.md").write_text(found.markdown())
    terminalreporter.write_line(f"also in {folder / 'matrix.md'}")


def _void_runs(reports: list[Any]) -> list[str]:
    from harness import void

    return void.told(reports)


def _note_void(item: pytest.Item, error: BaseException, testbed: Testbed | None) -> None:
    from harness import void

    void.note(item, error, testbed)


def start_afresh(item: pytest.Item) -> None:
    """Forget a test's run that is void."""
    if _testbed_key in item.stash:
        del item.stash[_testbed_key]
    item.stash[_failed_key] = False
    shutil.rmtree(_folder(item), ignore_errors=True)


def _folder(item: pytest.Item) -> Path:
    name = re.sub(r"[^A-Za-z0-9._=-]+", "-", item.nodeid)[-150:].strip("-")
    return _artifacts(item.config) / name


# -- failures ----------------------------------------------------------------------------------------


def _command_again(item: pytest.Item) -> str:
    return f"pytest {shlex.quote(item.nodeid)} --vipdrill-seed {_base_seed(item.config)}"


def _story(testbed: Testbed, error: BaseException) -> list[str]:
    """The first lines of evidence around what failed; nothing for other errors than findings."""
    verdict = getattr(error, "verdict", None)
    if verdict is None:
        return []
    from harness.report.evidence import evidence_lines

    return [*evidence_lines(testbed.recorder.timeline, verdict), ""]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Evidence into the failure's text; a broken testbed is an error, never a failed check."""
    report = yield
    if call.excinfo is None or call.excinfo.errisinstance(pytest.skip.Exception):
        return report
    item.stash[_failed_key] = True
    error = call.excinfo.value
    testbed = item.stash.get(_testbed_key, None)
    if report.when == "call":
        _note_void(item, error, testbed)
    if isinstance(error, VipdrillError | CheckFailed):
        report.longrepr = f"{type(error).__name__}: {error}"
    if isinstance(error, TestbedError) and report.when == "call":
        # pytest knows errors only outside the call; JUnit and the summary then tell the two apart.
        report.when = "setup"
        report.longrepr = (
            f"The testbed broke; nothing was learned about the load balancer.\n{report.longrepr}"
        )
    if testbed is not None:
        lines = [
            *_story(testbed, error),
            f"artifacts: {testbed.artifacts}",
            f"run again: {_command_again(item)}",
        ]
        report.sections.append(("vipdrill", "\n".join(lines)))
    return report
