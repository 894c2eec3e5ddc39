"""Drills as processes of their own: void ones are run again, broken ones are told."""

from __future__ import annotations

import shutil
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from harness.commands import children
from harness.commands.children import Child, Ended, run_all

_DRILL = """\
#!/bin/sh
# Ends as the next line of a file says: verdict, exit code, how late the testbed was (ns).
cd {folder}
read -r verdict code late < fates
sed -i 1d fates
cat > one/timeline.jsonl <<END
{{"t":1,"kind":"phase","name":"steady"}}
{{"t":2,"kind":"lag","source":"observer","lag_ns":$late}}
END
echo "{{\\"verdict\\":\\"$verdict\\"}}" > one/result.json
exit $code
"""
_LATE, _IN_TIME = 40_000_000, 3_000_000


def ends(
    folder: Path, monkeypatch: pytest.MonkeyPatch, fates: list[tuple[str, int, int]]
) -> tuple[list[Ended], list[Ended]]:
    """A drill of three runs at most, each with a fate of its own: how it ended, and what was told."""
    program = folder / "drill"
    program.write_text(_DRILL.format(folder=folder))
    program.chmod(0o755)
    (folder / "fates").write_text("".join(f"{v} {code} {late}\n" for v, code, late in fates))
    monkeypatch.setattr(sys, "executable", str(program))
    told: list[Ended] = []
    ended, _ = run_all([Child("one", ("check",), folder / "one")], 1, told.append, most_runs=3)
    return ended, told


@pytest.mark.parametrize(
    ("fates", "runs"),
    [
        ([("unknown", 4, _LATE), ("pass", 0, _IN_TIME)], 2),
        ([("unknown", 4, _LATE)] * 4, 3),
        ([("unknown", 4, _LATE), ("fail", 1, _LATE)], 2),
        ([("unknown", 4, _IN_TIME), ("pass", 0, _IN_TIME)], 1),
        ([("fail", 1, _LATE), ("pass", 0, _IN_TIME)], 1),
    ],
)
def test_only_what_lateness_may_explain_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fates: list[tuple[str, int, int]], runs: int
) -> None:
    (one,), told = ends(tmp_path, monkeypatch, fates)
    assert one.result == {"verdict": fates[runs - 1][0]}
    assert [t.void for t in told] == ["observer was late by 0.040 s"] * (runs - 1) + [""]
    kept = ["one/result.json", *(f"one-void{number}/void.json" for number in range(1, runs))]
    found = [*tmp_path.glob("*/result.json"), *tmp_path.glob("*/void.json")]
    assert sorted(str(path.relative_to(tmp_path)) for path in found) == sorted(kept)


def test_whoever_reads_no_more_ends_what_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `| head`: the first that is told of cannot be; of the other nineteen, few had begun."""
    begun: list[str] = []
    told = threading.Event()

    def run(child: Child, running: children._Running) -> Ended | None:
        if running.interrupted:
            return None
        if begun:
            told.wait(0.1)
        begun.append(child.name)
        return Ended(child, {"verdict": "pass"})

    def interrupt(running: children._Running) -> None:
        running.interrupted = True
        told.set()

    def tell(_: Ended) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(children, "_run", run)
    monkeypatch.setattr(children._Running, "interrupt", interrupt)
    drills = [Child(str(number), ("run",), tmp_path / str(number)) for number in range(20)]
    with pytest.raises(BrokenPipeError):
        run_all(drills, 1, tell)
    assert len(begun) <= 2


def test_one_that_cannot_be_begun_is_broken(tmp_path: Path) -> None:
    (tmp_path / "one").touch()
    (one,), _ = run_all([Child("one", ("run",), tmp_path / "one")], 1, lambda _: None)
    assert one.result is None
    assert "could not be begun" in one.said


def test_the_last_run_of_a_drill_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other drill goes on until a third run of the late one begins beside it, or does not in a while."""
    late, other = (Child(name, ("run",), tmp_path / name) for name in ("late", "other"))
    runs, together = Counter[str](), threading.Event()

    def run(child: Child, _: object) -> Ended:
        runs[child.name] += 1
        if runs[late.name] == 3:
            together.set()
        if child is other:
            assert not together.wait(0.3), "the last run of a late drill began beside another"
            return Ended(child, {"verdict": "pass"})
        child.folder.mkdir()
        (child.folder / "result.json").touch()
        return Ended(child, {"verdict": "unknown"})

    monkeypatch.setattr(children, "_run", run)
    monkeypatch.setattr(children, "_void", lambda one: "late" if one.child is late else "")
    ended, _ = run_all([late, other], 2, lambda _: None, most_runs=3)
    assert ([one.child for one in ended], runs[late.name]) == ([late, other], 3)


def test_one_that_ends_as_failed_without_a_result_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    child = Child("one", ("run",), tmp_path / "one")
    ended, interrupted = run_all([child], 1, lambda _: None)
    assert (ended, interrupted) == ([Ended(child, None, "exit code 1")], False)
