"""How a test is run and reported: as by pytest itself, where it is not run again and not in a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from checks.selftest.test_plugin import Repository
from harness.virtual import library

_FAILS = """
    import pytest

    @pytest.fixture(scope="module")
    def of_the_module():
        yield
        {ending}

    def test_mine(of_the_module):
        assert False, "a finding"
"""
_VOID = """
    from checks.selftest.fault_beds import hosts
    from harness.lab import at_failure
    from harness.verdict import Inconclusive

    runs = []
    at_failure.keep = lambda *_: runs.append("kept")

    def test_mine(new_testbed):
        runs.append("run")
        bed = new_testbed(hosts("a"))
        bed.recorder.emit("phase", name="steady")
        bed.recorder.emit("lag", source="observer", lag_ns=40_000_000)
        if len(runs) == 1:
            raise Inconclusive("so it is")
        assert runs == ["run", "run"], runs
"""
_IN_A_GUEST = """
    import pathlib, pytest

    {before}

    @pytest.mark.virtual_time
    def test_mine(record_property):
        {code}
"""
needs_guests = pytest.mark.skipif(library.lacks() is not None, reason=str(library.lacks()))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A fresh repository."""
    return Repository(tmp_path)


def test_a_failure_is_told_before_anything_else_goes_wrong(repository: Repository) -> None:
    """-x tears all down with the test that failed: what fails then is an error beside it."""
    repository.write(_FAILS.format(ending="raise OSError('it will not end')"))
    (repository.folder / "test_other.py").write_text("def test_other(): ...\n")
    done = repository.run("-x")
    assert "1 failed, 1 error in" in done.stdout, done.stdout + done.stderr
    assert "a finding" in done.stdout


def test_who_interrupts_the_teardown_keeps_the_failure(repository: Repository) -> None:
    repository.write(_FAILS.format(ending="raise KeyboardInterrupt"))
    done = repository.run()
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "1 failed" in done.stdout, done.stdout + done.stderr


def test_a_void_run_is_not_kept_as_a_lab(repository: Repository) -> None:
    repository.write(_VOID)
    done = repository.run("--keep")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@needs_guests
@pytest.mark.parametrize(
    ("code", "outcome", "said"),
    [
        ("record_property('folder', pathlib.Path('/x')); assert False, 'a finding'", "1 failed", "a finding"),
        ("import os; os._exit(7)", "1 error", "ended with 7, before it had told all of the test"),
    ],
)
def test_nothing_gets_lost_on_the_way_out_of_a_guest(
    repository: Repository, code: str, outcome: str, said: str
) -> None:
    repository.write(_IN_A_GUEST.format(before="", code=code))
    done = repository.run()
    assert done.returncode == 1
    assert outcome in done.stdout, done.stdout + done.stderr
    assert said in done.stdout


@needs_guests
def test_who_interrupts_what_ends_with_a_test_in_a_guest_ends_the_run(repository: Repository) -> None:
    fixture = """@pytest.fixture(scope="module")
    def of_the_module():
        yield
        raise KeyboardInterrupt

    def test_before(of_the_module): ...
    """
    repository.write(_IN_A_GUEST.format(before=fixture, code="..."))
    (repository.folder / "test_other.py").write_text("def test_other(): ...\n")
    done = repository.run()
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "2 passed" in done.stdout, done.stdout + done.stderr


@needs_guests
def test_a_guest_minds_the_options_of_the_configuration_that_it_can(repository: Repository) -> None:
    ini = (
        "[pytest]\nvipdrill = true\naddopts = -n 1 --junitxml=its.xml --lf -k 'not other' --strict-markers\n"
    )
    repository.write(_IN_A_GUEST.format(before="def test_other(): assert False", code="..."), ini)
    done = repository.run()
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@needs_guests
def test_a_mistake_in_the_environment_is_the_test_s_error(repository: Repository) -> None:
    before = "import os; os.environ['VIPDRILL_STALL_S'] = 'abc'"
    repository.write(_IN_A_GUEST.format(before=before, code="..."))
    done = repository.run()
    assert "1 error" in done.stdout, done.stdout + done.stderr
    assert "VIPDRILL_STALL_S must be a number" in done.stdout
