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
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import bubble, world
from harness.errors import CheckFailed, MissingCapability, TestbedError, UsageError, VipdrillError

if TYPE_CHECKING:
    from harness.drill import Drill
    from harness.faults.base import Fault
    from harness.session import Image
    from harness.suite_run import SuiteRun
    from harness.testbed import Testbed
    from harness.timeline import Timeline
    from harness.verdict import Verdict

_RUN = "VIPDRILL_RUN"
_SEED = "VIPDRILL_SEED"
_CELLS = "vipdrill-cells"
_testbed_key = pytest.StashKey["Testbed"]()
_failed_key = pytest.StashKey[bool]()
_kept_key = pytest.StashKey[bool]()
_status_key = pytest.StashKey[int]()


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
    group.addoption(
        "--lab-on-failure",
        action="store_true",
        help="open a failed test's testbed as a lab, and wait at the terminal until Enter",
    )
    group.addoption(
        "--keep",
        action="store_true",
        help="keep a failed test's testbed up as a lab after the run, until `vipdrill down`",
    )
    group.addoption("--vipdrill-shard", metavar="I/N", help="of N equal parts of the suite run part I")
    group.addoption(
        "--vipdrill-durations",
        metavar="FILE",
        help="cells.json of an earlier run: shards are balanced by what each test took",
    )
    group.addoption(
        "--vipdrill-kernel",
        default="auto",
        help="whose kernel nodes run on: host, their own (uml), or as the host allows (default: auto)",
    )
    group.addoption(
        "--vipdrill-time",
        choices=(world.REAL, world.VIRTUAL),
        default=world.REAL,
        help="virtual: every test that uses a testbed runs in virtual time (docs/virtual-time.md)",
    )
    parser.addini(
        "vipdrill_kernel",
        "have the kernel image ready, for tests in virtual time and nodes with a kernel of their own",
        type="bool",
        default=False,
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

    # A guest's run is one test of another's.
    if (_wanted(config) or _given(config, "shard")) and not world.virtual():
        from harness import suite_run

        suite_run.register(config)
    config.addinivalue_line("markers", "virtual_time: the test runs in virtual time, in a guest of its own")
    config.addinivalue_line("markers", "real_time(reason): the test makes no sense in virtual time")

    if bubble.inside() and _wanted(config):
        from harness import void
        from harness.virtual import items

        config.pluginmanager.register(void, "vipdrill-void")
        where = items.Inside(config) if world.virtual() else items.Outside()
        config.pluginmanager.register(where, "vipdrill-virtual")


def _wanted(config: pytest.Config) -> bool:
    return bool(config.getoption("--vipdrill") or config.getini("vipdrill"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Enter the bubble, once, before collection; xdist's workers are children of it.

    A worker on another machine was started in a bubble of that machine (`vipdrill bubble`), or has none.
    """
    idle = config.option.help or config.option.version or config.option.collectonly
    if idle or not _wanted(config) or bubble.inside() or hasattr(config, "workerinput"):
        return
    from harness import session
    from harness.lab import at_failure

    os.environ.setdefault(_RUN, time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}")
    os.environ.setdefault(_SEED, str(_given(config, "seed") or session.new_seed()))
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    if refused := at_failure.refusal(config):
        raise pytest.UsageError(f"vipdrill: {refused}")
    try:
        session.image(config.getoption("--vipdrill-suite"))
        _kernel_ready(config)
        session.pki_ready()
        bubble.enter(detachable=config.getoption("--keep"))
    except VipdrillError as error:
        raise pytest.UsageError(f"vipdrill: {error}") from None


def _kernel_ready(config: pytest.Config) -> None:
    """Have what virtual time needs, built now if need be; where it cannot be, only who insists is refused."""
    from harness import session
    from harness.virtual import library

    insists = _given(config, "time") == world.VIRTUAL
    if not insists and not config.getini("vipdrill_kernel"):
        return
    try:
        library.ensure()
        session.kernel()
    except MissingCapability:
        if insists:
            raise


def _given(config: pytest.Config, name: str) -> Any:
    return config.getoption(f"--vipdrill-{name}")


def base_seed(config: pytest.Config) -> int:
    """The seed of the whole run, which that of each test is made of."""
    given = _given(config, "seed")
    return int(given if given is not None else os.environ.get(_SEED, "0"))


def artifacts_folder(config: pytest.Config) -> Path:
    """The folder for the artifacts of this run's tests."""
    root = (
        _given(config, "artifacts") or os.environ.get("VIPDRILL_ARTIFACTS") or config.rootpath / ".vipdrill"
    )
    return Path(root).absolute() / os.environ.get(_RUN, "run")


def pytest_report_header(config: pytest.Config) -> str | None:
    """What is needed to run the same again."""
    if not bubble.inside():
        return None
    seed, suite = base_seed(config), _given(config, "suite")
    return f"vipdrill: seed {seed}, {suite} nodes, artifacts in {artifacts_folder(config)}"


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def vipdrill_image(request: pytest.FixtureRequest) -> Image:
    """The node image of this run."""
    from harness import session

    return session.image(_given(request.config, "suite"), build=False)


@pytest.fixture
def vipdrill_seed(request: pytest.FixtureRequest) -> int:
    """This test's own seed, made of the run's seed and the test's name."""
    text = f"{base_seed(request.config)} {request.node.nodeid}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 1_000_000


@pytest.fixture
def artifact_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """This test's own folder for evidence; kept as --vipdrill-keep says."""
    folder = _folder(request.node)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if request.node.stash.get(_kept_key, False):
        return
    keep = _given(request.config, "keep")
    if keep == "none" or (keep == "failed" and not request.node.stash.get(_failed_key, False)):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_testbed(
    request: pytest.FixtureRequest, vipdrill_image: Image, vipdrill_seed: int, artifact_folder: Path
) -> Iterator[Callable[..., Testbed]]:
    """A function that builds a testbed: `new_testbed("vip-l7", advert_int=1)`, or of a Topology."""
    import topologies
    from harness import session
    from harness.kernel import ladder
    from harness.report import slowest
    from harness.topology import Topology
    from harness.turns import beside_others, place_for_machines

    if not bubble.inside():
        raise UsageError(
            "this pytest run is not in a bubble: put `vipdrill = true` into the pytest configuration, "
            "or run `pytest --vipdrill`; give a worker on another machine "
            "`python=vipdrill bubble -- python3`"
        )
    made: list[Testbed] = []
    places = ExitStack()

    rate: float = _given(request.config, "rate")

    def build(architecture: str | Topology, *, probe_rate: float = rate, **options: Any) -> Testbed:
        topology = (
            architecture if isinstance(architecture, Topology) else topologies.make(architecture, options)
        )
        folder = artifact_folder / str(len(made)) if made else artifact_folder
        try:
            choice = ladder.choose(topology, _given(request.config, "kernel"))
            own = session.kernel(build=False) if choice.own_kernels else None
        except MissingCapability as error:
            pytest.skip(str(error))
        if not made:
            places.enter_context(beside_others())
            if own is not None:
                places.enter_context(place_for_machines())
        testbed = session.assemble(choice, vipdrill_image, own, folder, seed=vipdrill_seed, rate=probe_rate)
        made.append(testbed)
        choice.tell(testbed.recorder)
        request.node.stash[_testbed_key] = testbed
        testbed.build()
        return testbed

    def end(testbed: Testbed) -> None:
        if _kept_as_lab(request.node, testbed):
            return
        try:
            testbed.close()
        except BaseException:
            request.node.stash[_failed_key] = True  # its evidence stays, as the error names it
            raise
        request.node.user_properties.append((slowest.PROPERTY, slowest.encode(testbed.recorder.waited)))
        if request.node.stash.get(_failed_key, False) or _given(request.config, "keep") == "all":
            _keep_evidence(testbed, _command_again(request.node))

    with places, ExitStack() as ends:
        yield build
        # The last one first, and each of them whatever becomes of another.
        for testbed in made:
            ends.callback(end, testbed)


def _kept_as_lab(item: pytest.Item, testbed: Testbed) -> bool:
    """Whether a failed test's testbed goes on as a lab (`--keep`)."""
    if not (item.config.getoption("--keep") and item.stash.get(_failed_key, False)):
        return False
    from harness import void
    from harness.lab import at_failure

    if void.again(item):
        return False

    item.stash[_kept_key] = at_failure.keep(testbed, item, _command_again(item))
    return item.stash[_kept_key]


def pytest_exception_interact(
    node: pytest.Item | pytest.Collector, report: pytest.CollectReport | pytest.TestReport
) -> None:
    """Let the user into the testbed of a test that has just failed (`--lab-on-failure`)."""
    if not isinstance(node, pytest.Item) or not node.config.getoption("--lab-on-failure"):
        return
    if report.when == "teardown":  # the testbed is gone, or half gone
        return
    testbed = node.stash.get(_testbed_key, None)
    if testbed is not None and testbed.built and bubble.inside():
        from harness.lab import at_failure

        at_failure.wait_in(testbed, node)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remember how the run ends."""
    session.config.stash[_status_key] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The last thing of all: hold what labs are kept."""
    if bubble.inside() and config.getoption("--keep", False):
        from harness.lab import at_failure

        at_failure.leave(config.stash.get(_status_key, 0))


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
def judge(request: pytest.FixtureRequest) -> Callable[[], list[Verdict]]:
    """A function that judges the timeline so far of the last testbed that the test built, by every property.

    What it finds goes into the suite's matrix and JUnit's properties, except in a test marked `saboteur`.
    In one marked `control` no property may find a failure, whichever the test is about.
    """
    from harness.properties import judge_all
    from harness.verdict import Status, check_all

    def judge_now() -> list[Verdict]:
        testbed = request.node.stash.get(_testbed_key, None)
        if testbed is None:
            raise UsageError(f"{request.node.name} judges before it has built a testbed")
        timeline = testbed.recorder.timeline
        verdicts = judge_all(timeline)
        if request.node.get_closest_marker("saboteur") is None:
            import topologies
            from harness.report import matrix

            options = topologies.find(testbed.topology.architecture).OPTIONS
            defaults = {option.name: option.default for option in options}
            folder = testbed.artifacts.relative_to(artifacts_folder(request.config)).as_posix()
            found = matrix.cells(timeline, verdicts, defaults, request.node.nodeid, folder)
            request.node.user_properties.append((_CELLS, matrix.encode(found)))
            _tell_figures(request.node, timeline, verdicts)
            for verdict in verdicts:
                if verdict.measured is not None:
                    name = f"{verdict.title()} {verdict.subject}".strip()
                    request.node.user_properties.append((name, verdict.measured))
        if request.node.get_closest_marker("control") is not None:
            check_all([verdict for verdict in verdicts if verdict.status is Status.FAIL])
        return verdicts

    return judge_now


def _tell_figures(item: pytest.Item, timeline: Timeline, verdicts: list[Verdict]) -> None:
    """A drill's figures as properties of its test; judged again, it has those of the last time."""
    from harness.report import junit

    others = [pair for pair in item.user_properties if not pair[0].startswith(junit.PREFIX)]
    item.user_properties[:] = [*others, *junit.properties(timeline, verdicts)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> Generator[None, None, None]:
    """JUnit's properties are for people: what only travels between processes is not among them."""
    if "PYTEST_XDIST_WORKER" in os.environ or world.virtual():
        return (yield)
    from harness.report.slowest import PROPERTY

    carried = report.user_properties
    report.user_properties = [pair for pair in carried if pair[0] not in (_CELLS, PROPERTY)]
    try:
        return (yield)
    finally:
        report.user_properties = carried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The matrix of all that was judged, here and as a page and Markdown beside the artifacts."""
    if world.virtual():
        return
    from harness.report.html.suite import write_suite
    from harness.report.matrix import Matrix, decode
    from harness.report.slowest import slowest

    cells = []
    reports = [report for some in terminalreporter.stats.values() for report in some]
    for report in reports:
        if getattr(report, "when", "") != "teardown":
            continue
        for name, value in getattr(report, "user_properties", ()):
            if name == _CELLS:
                cells += decode(value)
    found = Matrix(cells)
    suite: SuiteRun | None = config.pluginmanager.get_plugin("vipdrill-suite")
    written = suite.write(artifacts_folder(config), base_seed(config), cells, reports) if suite else None
    _tell_kept_labs(terminalreporter, config)
    void = _void_runs(reports)
    if void:
        terminalreporter.section("vipdrill: run again, as the machine was late and the verdict unknown")
        for line in void:
            terminalreporter.write_line(line)
    if not found:
        if written:
            terminalreporter.write_line(f"vipdrill: no cells of this shard, as {written} tells")
        return
    terminalreporter.section("vipdrill: the ten slowest tests, and what they waited for")
    for line in slowest(reports):
        terminalreporter.write_line(line)
    terminalreporter.section("vipdrill matrix")
    for line in found.plain():
        terminalreporter.write_line(line)
    folder = artifacts_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "matrix.md").write_text(found.markdown())
    write_suite(folder, found)
    terminalreporter.write_line(
        f"also in {folder / 'matrix.md'}, with its evidence in {folder / 'index.html'}, "
        f"and for `vipdrill merge` in {written}"
    )


def _tell_kept_labs(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Which labs `--keep` has kept."""
    if not (config.getoption("--keep") and bubble.inside()):
        return
    from harness.lab import at_failure

    if told := at_failure.summary():
        terminalreporter.section("vipdrill: labs of failed tests")
        for line in told:
            terminalreporter.write_line(line)


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
    return artifacts_folder(item.config) / name


# -- failures ----------------------------------------------------------------------------------------


def _command_again(item: pytest.Item) -> str:
    time = " --vipdrill-time virtual" if _given(item.config, "time") == world.VIRTUAL else ""
    return f"pytest {shlex.quote(item.nodeid)} --vipdrill-seed {base_seed(item.config)}{time}"


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
