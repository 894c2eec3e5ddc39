"""Scenario files: what they say, what is wrong with them and where, and what a run of one amounts to."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from checks.patience import ENDS_S
from harness.drill import moments
from harness.errors import UsageError
from harness.lab import completion
from harness.plan import Plan, Step
from harness.report.expected import amounts_to, expectations
from harness.scenario import read_scenario
from harness.session import Image
from harness.verdict import Status, Verdict
from harness.virtual import library

WHOLE = """\
architecture: vip-l7
options: {advert-int: 1, track: none, preempt: no}
time: virtual
seed: 7
rate: 0.5
faults:
  - {fault: host-crash, at: 10s, for: 5s}
  - fault: "loss:lb2:eth0,percent=5"
    at: 250ms
watch: 4h
expect: {vip-migration: pass, client-outage: fail}
"""
LEAST = "architecture: vip-l7\nwatch: 60\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a scenario is written to."""
    return tmp_path / "drill.yaml"


def test_a_file_says_it_all(file: Path) -> None:
    file.write_text(WHOLE)
    told = read_scenario(file)
    assert (told.architecture, told.virtual, told.seed, told.rate, told.watch_s) == (
        *("vip-l7", True, 7),
        *(0.5, 14400),
    )
    # YAML would have made a number of the one, and False of the other.
    assert told.options == {"advert_int": "1", "track": "none", "preempt": "no"}
    assert told.steps == (Step("host-crash", 10, 5), Step("loss:lb2:eth0,percent=5", 0.25))
    assert told.expect == {"vip-migration": "pass", "client-outage": "fail"}
    topology = told.plan(7, 0.5, "auto").topology
    assert (topology.options["advert_int"], topology.options["preempt"]) == (1.0, False)


def test_what_may_be_left_out(file: Path) -> None:
    file.write_text(LEAST)
    told = read_scenario(file)
    assert (told.virtual, told.seed, told.rate, told.steps, told.expect) == (False, None, None, (), {})


def test_a_plan_gets_into_a_guest_and_out_of_it(file: Path) -> None:
    file.write_text(WHOLE)
    plan = read_scenario(file).plan(7, 0.5, "auto")
    assert Plan.of(json.loads(json.dumps(dataclasses.asdict(plan)))) == plan


# A whole file, or what stands behind the two lines that every file has; and what is said of it.
MISTAKES = [
    ("", ": is empty; a scenario has at least `architecture` and `watch`"),
    ("architecture: [", ":1: is no YAML"),
    ("architecture: vip-l7\n\twatch: 4h\n", ":2: is no YAML"),
    ("a: b\x00\n", ": is no YAML"),
    ("- 1\n", ":1: a scenario takes keys with values (KEY: VALUE), not a list"),
    ("vip-l7\n", ":1: a scenario takes keys with values (KEY: VALUE), not a single value"),
    ("architecture: vip-l7\n", ":1: there is no `watch`; add it: for how long in all, as 4h"),
    ("watch: 4h\n", ":1: there is no `architecture`; add it: one of `vipdrill list`"),
    (
        "architectur: x\n",
        ":1: unknown key of a scenario 'architectur'; did you mean 'architecture'? known: arch",
    ),
    ("architecture: vip-l8\nwatch: 4h\n", ":1: unknown architecture 'vip-l8'; did you mean 'vip-l7'?"),
    ("architecture: vip-l7\nwatch: soon\n", ":2: `watch`: 'soon' is no length of time; write 90, 90s"),
    ("architecture: vip-l7\nwatch: 0\n", ":2: `watch` is no time at all"),
    ("architecture: vip-l7\nwatch:\n", ":2: `watch` has no value; give it one, or leave it out"),
    ("architecture: vip-l7\nwatch: [4h]\n", ":2: `watch` takes one value, not a list"),
    ("architecture: !vault vip-l7\nwatch: 4h\n", ":1: the tag !vault has no place in a scenario"),
    ("architecture: !!python/name:os.system a\n", "there is no `watch`"),
    ("architecture: !!python/name:os.system a\nwatch: 1\n", ":1: the tag tag:yaml.org,2002:python/name:os"),
    ("a: &a [*a]\n", ":1: unknown key of a scenario 'a'"),
    ("[" * 5000, ": is nested too deeply"),
    ("+watch: 5h\n", ":3: `watch` is given twice; leave one out"),
    ("+<<: {watch: 4h}\n", ":3: unknown key of a scenario '<<'"),
    ("+time: unreal\n", ":3: unknown `time` 'unreal'; did you mean 'real'?"),
    ("+seed: -1\n", ":3: `seed` is a whole number from 0, not '-1'"),
    ("+rate: fast\n", ":3: `rate` is a number of connections a second"),
    ("+rate: 0\n", ":3: --rate must be above 0"),
    (
        "+options:\n  adver-int: 1\n",
        ":4: unknown option of vip-l7 '--adver-int'; did you mean '--advert-int'?",
    ),
    ("+options:\n  rise: 3\n  advert-int: x\n", ":5: advert_int takes a number"),
    ("+options: 3\n", ":3: `options` takes keys with values"),
    ("+faults: host-crash\n", ":3: `faults` takes a list (- …), not a single value"),
    ("+faults:\n  - host-crash\n", ":4: a fault takes keys with values"),
    ("+faults:\n  - {at: 1}\n", ":4: a fault without `fault`; add it"),
    ("+faults:\n  - {fault: stop}\n", ":4: a fault without `at`; add it"),
    (
        "+faults:\n  - {fault: stop, att: 1}\n",
        ":4: unknown key of a fault 'att'; did you mean 'at'? known: at, fault, for",
    ),
    (
        "+faults:\n  - {fault: loss:lb1,percent=5, at: 1}\n",
        ":4: unknown key of a fault 'percent=5'; known: at, fault, for; a fault with commas stands in quotes",
    ),
    (
        "+faults:\n  - {fault: host-crush, at: 1}\n",
        ":4: unknown fault 'host-crush'; did you mean 'host-crash'?",
    ),
    ("+faults:\n  - {fault: 'stop:lb9', at: 1}\n", ":4: unknown target 'lb9'"),
    (
        "+faults:\n  - {fault: stop, at: 61}\n",
        ":4: stop begins 61 s in, after `watch` ends (60 s); watch longer",
    ),
    (
        "+faults:\n  - {fault: stop, at: 50, for: 11s}\n",
        ":4: stop is healed 61 s in, after `watch` ends (60 s)",
    ),
    (
        "+faults:\n  - {fault: stop, at: 5}\n  - {fault: stop, at: 9}\n",
        ":5: stop acts already, by line 4; let one end before the other begins",
    ),
    ("+expect: {vip-migratoin: pass}\n", ":3: unknown key of `expect` 'vip-migratoin'; did you mean"),
    ("+expect: {quorum: yes}\n", ":3: unknown verdict for quorum 'yes'"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_one_sentence_with_its_place(file: Path, text: str, said: str) -> None:
    file.write_text(LEAST + text[1:] if text.startswith("+") else text)
    with pytest.raises(UsageError) as told:
        read_scenario(file)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(f"{file}:")


def test_what_is_no_file_or_no_text_is_told(file: Path) -> None:
    with pytest.raises(UsageError, match=r"drill\.yaml: cannot be read \(No such file"):
        read_scenario(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_scenario(file)


_LINES = st.sampled_from(
    [*WHOLE.splitlines(), "", "  - ", "x: y", "faults: {}", "? a", "watch: &a 3", "at: *a"]
)


@given(lines=st.lists(st.one_of(_LINES, st.text(max_size=12)), max_size=12))
def test_whatever_a_file_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str]
) -> None:
    file = tmp_path_factory.mktemp("any") / "drill.yaml"
    file.write_text("\n".join(lines), encoding="utf-8", errors="replace")
    said = str(file)
    try:
        read_scenario(file)
    except UsageError as error:
        said = str(error)
    assert str(file) in said


def test_the_example_is_what_its_page_shows() -> None:
    root = Path(__file__).parents[2]
    example = (root / "examples/arp-cache.yaml").read_text()
    assert f"```yaml\n{example}```" in (root / "docs/scenario.md").read_text()
    told = read_scenario(root / "examples/arp-cache.yaml")
    assert (told.watch_s, told.virtual, len(told.steps)) == (14400, True, 2)


def test_moments_come_in_order_and_healing_before_what_begins_then() -> None:
    first, second, third = Step("a", 10, 5), Step("b", 2), Step("c", 15)
    assert moments([first, second, third]) == [(2, second), (10, first), (15, first), (15, third)]


# -- what is expected ----------------------------------------------------------------------------------


def found(**statuses: str) -> list[Verdict]:
    """Verdicts of properties, each with these words for its findings."""
    return [
        Verdict(name.replace("_", "-"), Status(word), "")
        for name, words in statuses.items()
        for word in words.split()
    ]


@pytest.mark.parametrize(
    ("expect", "verdicts", "amounts"),
    [
        ({}, found(fail_back="pass"), "pass"),
        ({}, found(fail_back="fail"), "fail"),
        ({"fail-back": "fail"}, found(fail_back="pass fail"), "pass"),
        ({"fail-back": "fail"}, found(fail_back="pass"), "fail"),
        ({"fail-back": "pass"}, found(fail_back="pass fail"), "fail"),
        ({"fail-back": "pass"}, found(fail_back="pass not-applicable"), "pass"),
        # A limitation beside a pass is what a whole run passes with, but here it was asked for.
        ({"fail-back": "limitation"}, found(fail_back="pass limitation"), "pass"),
        ({"fail-back": "pass"}, found(fail_back="pass limitation"), "fail"),
        ({"fail-back": "fail"}, found(fail_back="unknown"), "unknown"),
        ({"fail-back": "fail"}, found(quorum="pass"), "fail"),
        # What nothing was expected of counts as ever.
        ({"fail-back": "fail"}, found(fail_back="fail", quorum="fail"), "fail"),
        ({"fail-back": "fail"}, found(fail_back="fail", quorum="unknown"), "unknown"),
        ({"fail-back": "fail"}, found(fail_back="fail", quorum="pass"), "pass"),
    ],
)
def test_what_a_run_amounts_to(expect: dict[str, str], verdicts: list[Verdict], amounts: str) -> None:
    assert amounts_to(expectations(expect, verdicts), verdicts).value == amounts


def test_an_expectation_says_what_was_found_instead() -> None:
    (one,) = expectations({"fail-back": "fail"}, found(fail_back="pass"))
    assert one.sentence == "fail-back holds, expected was fail"


# -- the command ---------------------------------------------------------------------------------------


def run(*words: object) -> subprocess.CompletedProcess[str]:
    """The command, as its own process in this bubble."""
    command = [sys.executable, "-m", "harness", "run", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=ENDS_S)


@pytest.mark.parametrize(
    "words", [("--fault", "stop"), ("--advert-int", "1"), ("--phase", "0"), ("--no-heal",)]
)
def test_what_the_file_says_is_not_said_twice(file: Path, words: tuple[str, ...]) -> None:
    file.write_text(WHOLE)
    done = run(file, *words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "and a scenario file do not go together; write it into the file" in done.stderr


def test_a_scenario_is_not_repeated_at_phases(file: Path) -> None:
    file.write_text(WHOLE)
    done = run(file, "--repeat", "10")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "run it with other seeds instead" in done.stderr


def test_an_architecture_without_a_fault_is_told_both_ways() -> None:
    done = run("vip-l7")
    assert done.returncode == 2
    assert "--fault says what is to happen to vip-l7" in done.stderr


# In virtual time, where nothing is late: it is what is judged that is looked at, both ways.
OVERLAPPING = """\
architecture: vip-l7
time: virtual
options: {script-interval: 0.2, inter: 0.2}
seed: 3
rate: 20
faults:
  - {fault: "kill:m1", at: 0.5s, for: 6s}
  - {fault: host-crash, at: 3s, for: 2s}
watch: 9s
expect: {vip-migration: pass, member-removal: pass, flow-survival: EXPECTED}
"""


@pytest.mark.skipif(library.lacks() is not None, reason=str(library.lacks()))
@pytest.mark.parametrize(
    ("expected", "code", "words"), [("limitation", 0, "AS EXPECTED"), ("pass", 1, "NOT AS EXPECTED")]
)
def test_faults_that_overlap_are_judged_as_ever(
    tmp_path: Path, vipdrill_image: Image, expected: str, code: int, words: str
) -> None:
    """A member is gone when the balancer crashes; the second run expects what cannot be had."""
    file = tmp_path / "overlapping.yaml"
    file.write_text(OVERLAPPING.replace("EXPECTED", expected))
    done = run(file, "--quiet", "--report", tmp_path / "kept")
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout
    result = json.loads((tmp_path / "kept" / "result.json").read_text())
    member, host = result["faults"]
    assert [(f["fault"], f["target"]) for f in (member, host)] == [
        ("kill", "m1/master"),
        ("host-crash", "lb1"),
    ]
    assert member["inject_s"] < host["inject_s"] < host["heal_s"] < member["heal_s"]
    assert [one["verdict"] for one in result["expected"]] == ["pass", "pass", "pass" if code == 0 else "fail"]
    assert (tmp_path / "kept" / "scenario.yaml").read_text() == file.read_text()


# -- completion ----------------------------------------------------------------------------------------


def test_the_shell_offers_architectures_files_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.yaml", "two.yml", "other.txt", ".hidden.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "vips").mkdir()
    (tmp_path / "vips" / "deep.yaml").touch()
    monkeypatch.chdir(tmp_path)
    assert completion.drills(None, "") == ["vip-l7", "vip-l4", "one.yaml", "two.yml", "vips/"]
    assert completion.drills(None, "vip") == ["vip-l7", "vip-l4", "vips/"]
    assert completion.drills(None, "vips/") == ["vips/deep.yaml"]
    assert completion.drills(None, f"{tmp_path}/o") == [f"{tmp_path}/one.yaml"]
    assert completion.drills(None, ".h") == [".hidden.yaml"]
    assert completion.drills(None, "nowhere/") == []
