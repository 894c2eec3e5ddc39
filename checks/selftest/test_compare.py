"""`vipdrill compare`: what is worse is called worse, what is the same the same, as often as it says."""

from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from checks.selftest.drilled import check, drawn, exactly, many, stored
from harness.cli import app
from harness.compare.judge import Comparison, Settings, compare
from harness.compare.model import Side
from harness.compare.outcome import Outcome
from harness.compare.read import add_result, read_side
from harness.errors import UsageError

TRIALS = 400
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=2),
)


def sides(base: list[dict[str, Any]], candidate: list[dict[str, Any]]) -> Comparison:
    """Two lists of results, compared."""
    read = Side("base"), Side("candidate")
    for side, results in zip(read, (base, candidate), strict=True):
        for number, result in enumerate(results):
            add_result(f"{side.path} {number}", result, side)
    return compare(*read)


def outcomes(comparison: Comparison) -> dict[str, Outcome]:
    """The outcome of each check, by title."""
    return {row.question.title: row.outcome for row in comparison.rows}


class TestErrorRates:
    """How often chance alone decides, over trials that are independent of each other."""

    def test_ten_repeats_of_the_same_are_the_same(self) -> None:
        chance = random.Random(11)
        found = Counter(sides(many(chance, 10), many(chance, 10)).outcome for _ in range(TRIALS))
        # alpha 0.01 for both directions together; as the checks of a drill go together, far less.
        assert found[Outcome.SAME] >= 0.99 * TRIALS, found
        assert set(found) <= {Outcome.SAME, Outcome.BETTER, Outcome.WORSE}

    def test_a_doubled_advert_int_is_worse_every_time(self) -> None:
        chance = random.Random(12)
        for _ in range(50):
            judged = sides(many(chance, 10), many(chance, 10, advert_s=0.2))
            assert judged.outcome is Outcome.WORSE
            assert outcomes(judged)["vip-migration: takeover"] is Outcome.WORSE

    def test_a_delay_of_one_interval_that_nothing_promised_is_worse(self) -> None:
        """Bounds are alike, and each verdict a pass: what was measured has to tell it."""
        chance = random.Random(13)
        found = Counter(
            sides(many(chance, 10), many(chance, 10, late_s=0.1)).outcome for _ in range(TRIALS // 4)
        )
        assert found[Outcome.WORSE] >= 0.99 * TRIALS // 4, found

    def test_a_delay_that_does_not_matter_is_the_same(self) -> None:
        """Two milliseconds of 310: at 200 against 200 ranks see them, but nobody minds them."""
        chance = random.Random(14)
        judged = sides(many(chance, 200), many(chance, 200, late_s=0.005))
        assert judged.outcome is Outcome.SAME
        (timer,) = [row for row in judged.rows if row.question.title == "vip-migration: timer"]
        assert "that matter" in timer.why


class TestVirtualTime:
    """One run of each side decides, every time."""

    def test_the_same_configuration_is_the_same_twenty_times_of_twenty(self) -> None:
        """Another comment in a file moves what is looked at by microseconds, or by some milliseconds."""
        chance = random.Random(51)
        for seed in range(20):
            judged = sides([exactly(seed)], [exactly(seed, off_s=chance.uniform(-0.009, 0.009))])
            assert judged.outcome is Outcome.SAME, [
                row for row in judged.rows if row.outcome is not Outcome.SAME
            ]
            assert judged.exact

    def test_a_doubled_advert_int_is_worse_twenty_times_of_twenty(self) -> None:
        for seed in range(20):
            judged = sides([exactly(seed)], [exactly(seed, advert_s=0.2)])
            assert judged.outcome is Outcome.WORSE
            assert outcomes(judged)["vip-migration: takeover"] is Outcome.WORSE
            back = sides([exactly(seed, advert_s=0.2)], [exactly(seed)])
            assert outcomes(back)["vip-migration: takeover"] is Outcome.BETTER

    def test_what_is_late_by_more_than_the_timers_resolve_is_worse(self) -> None:
        """The bounds are alike and every verdict a pass: the figure tells it, and how it was told."""
        for seed in range(20):
            judged = sides([exactly(seed)], [exactly(seed, late_s=0.011)])
            (row,) = [row for row in judged.rows if row.question.title == "vip-migration: timer"]
            assert row.outcome is Outcome.WORSE
            assert row.why == "+0.011 s, exact, virtual time, which resolves 0.01 s"
            other = sides([exactly(seed)], [exactly(seed, late_s=0.0099)])
            assert outcomes(other)["vip-migration: timer"] is Outcome.SAME

    def test_a_client_sees_no_better_than_it_asks(self) -> None:
        """Every 40 ms: one attempt more or less is no finding, two are."""

        def late_by(off_s: float) -> Outcome:
            base, candidate = exactly(7), exactly(7)
            for found in candidate["checks"]:
                if found["aspect"] == "outage" and found["subject"].startswith("clx"):
                    found["measured"] += off_s
            (row,) = [
                row
                for row in sides([base], [candidate]).rows
                if row.question.title == "client-outage: outage" and row.question.subject.startswith("clx")
            ]
            return row.outcome

        assert [late_by(s) for s in (0.04, 0.08, -0.08)] == [Outcome.SAME, Outcome.WORSE, Outcome.BETTER]

    def test_verdicts_decide_from_one_run_each(self) -> None:
        def after(verdict: str, before: str = "pass") -> Outcome:
            base, candidate = exactly(7), exactly(7)
            base["checks"][2]["verdict"], candidate["checks"][2]["verdict"] = before, verdict
            return outcomes(sides([base], [candidate]))["vip-migration: successor"]

        assert after("fail") is after("limitation") is after("fail", "limitation") is Outcome.WORSE
        assert after("pass", "fail") is after("pass", "limitation") is Outcome.BETTER
        assert after("unknown") is after("pass", "unknown") is Outcome.UNKNOWN
        assert after("fail", "fail") is after("unknown", "unknown") is Outcome.SAME

    def test_several_runs_are_compared_seed_by_seed_and_the_worst_counts(self) -> None:
        base = [exactly(seed) for seed in range(5)]
        candidate = [exactly(seed, late_s=0.03 * (seed == 3)) for seed in (4, 3, 2, 1, 0)]
        judged = sides(base, candidate)
        assert outcomes(judged)["vip-migration: timer"] is Outcome.WORSE
        assert sides(base, base[::-1]).outcome is Outcome.SAME

    def test_a_check_that_only_some_runs_came_to(self) -> None:
        """With another seed nobody may have been hit: what has no fellow is told, and a failure counts."""

        def without(seed: int, verdict: str = "pass") -> tuple[dict[str, Any], dict[str, Any]]:
            whole, less = exactly(seed), exactly(seed)
            whole["checks"][2]["verdict"] = verdict
            del less["checks"][2]
            return whole, less

        whole, less = without(1)
        found = [(sides([exactly(2), a], [exactly(2), b])) for a, b in ((whole, less), (less, whole))]
        assert [outcomes(one)["vip-migration: successor"] for one in found] == [Outcome.UNKNOWN, Outcome.SAME]
        whole, less = without(1, "fail")
        judged = sides([exactly(2), less], [exactly(2), whole])
        assert outcomes(judged)["vip-migration: successor"] is Outcome.WORSE

    def test_other_seeds_and_other_worlds_are_refused_in_a_sentence(self) -> None:
        chance = random.Random(52)
        with pytest.raises(UsageError, match=r"with seed 7, candidate with seed 8, .*same --seed"):
            sides([exactly(7)], [exactly(8)])
        with pytest.raises(UsageError, match="base is of virtual time and candidate of real time"):
            sides([exactly(7)], many(chance, 10))
        with pytest.raises(UsageError, match="base holds runs of real and of virtual time"):
            sides([exactly(7), *many(chance, 10)], [exactly(7)])

    def test_a_threshold_that_was_given_counts_there_too(self) -> None:
        read = Side("base"), Side("candidate")
        for side, late_s in zip(read, (0.0, 0.02), strict=True):
            add_result(side.path, exactly(7, late_s=late_s), side)
        assert outcomes(compare(*read))["vip-migration: timer"] is Outcome.WORSE
        assert outcomes(compare(*read, Settings(threshold=0.1)))["vip-migration: timer"] is Outcome.SAME


class TestVerdicts:
    def test_the_bound_alone_tells_a_doubled_advert_int_from_one_drill_each(self) -> None:
        chance = random.Random(21)
        judged = sides(many(chance, 1), many(chance, 1, advert_s=0.2))
        assert judged.outcome is Outcome.WORSE
        (row,) = [row for row in judged.rows if row.question.title == "vip-migration: takeover"]
        assert row.changes == ("advert_int 0.1 -> 0.2",)
        assert row.why == ("by the configuration alone: promised up to 0.7219 s, in the base 0.3609 s")

    def test_a_halved_advert_int_is_better(self) -> None:
        chance = random.Random(22)
        judged = sides(many(chance, 10, advert_s=0.2), many(chance, 10))
        assert outcomes(judged)["vip-migration: takeover"] is Outcome.BETTER
        assert judged.outcome is Outcome.BETTER

    def test_too_few_repeats_decide_nothing_and_enough_are_asked_for(self) -> None:
        chance = random.Random(23)
        judged = sides(many(chance, 3), many(chance, 3))
        assert judged.outcome is Outcome.UNKNOWN
        why = {row.why for row in judged.rows if row.outcome is Outcome.UNKNOWN}
        assert why == {f"3 against 3 repeats decide nothing at this level: {judged.needed} of each can"}
        assert sides(many(chance, judged.needed), many(chance, judged.needed)).outcome is Outcome.SAME

    def test_a_check_that_fails_only_now_is_worse(self) -> None:
        chance = random.Random(24)
        base, candidate = many(chance, 10), many(chance, 10)
        candidate[4]["checks"][2]["verdict"] = "fail"
        judged = sides(base, candidate)
        (row,) = [row for row in judged.rows if row.outcome is Outcome.WORSE]
        assert (row.question.title, row.why) == (
            "vip-migration: successor",
            "fails in 1 of 10, in the base in 0 of 10",
        )

    def test_a_limitation_that_is_gone_is_better(self) -> None:
        chance = random.Random(25)
        base, candidate = many(chance, 10), many(chance, 10)
        for result in candidate:
            for found in result["checks"]:
                found["verdict"] = "pass"
        assert outcomes(sides(base, candidate))["flow-survival: continuity"] is Outcome.BETTER

    def test_what_lateness_made_unknown_counts_not_at_all(self) -> None:
        chance = random.Random(26)
        base, candidate = many(chance, 10), many(chance, 10)
        for result in candidate[:8]:
            result["checks"][0].update(verdict="unknown", measured=9.0)
        assert outcomes(sides(base, candidate))["vip-migration: takeover"] is Outcome.UNKNOWN

    def test_a_drill_that_the_candidate_never_ran_is_unknown(self) -> None:
        chance = random.Random(27)
        other = many(chance, 10)
        for result in other:
            result["faults"][0]["fault"] = "stop"
        judged = sides([*many(chance, 10), *other], many(chance, 10))
        assert judged.outcome is Outcome.UNKNOWN
        assert [row.drill for row in judged.rows if row.outcome is Outcome.UNKNOWN] == ["vip-l7, stop"]

    def test_variants_are_paired_by_what_they_share(self) -> None:
        chance = random.Random(28)
        sides_of = [many(chance, 10, advert_s=0.1) + many(chance, 10, advert_s=1.0) for _ in range(2)]
        judged = sides(*sides_of)
        assert judged.outcome is Outcome.SAME
        assert {row.changes for row in judged.rows} == {()}

    def test_of_one_fault_on_several_nodes_those_of_the_same_node_are_paired(self) -> None:
        """As `check --base` has it: the sides differ by an option, and a crash hits either balancer."""
        both = []
        for lb in ("before", "after"):
            chance = random.Random(31)
            results = many(chance, 10) + many(chance, 10)
            for number, result in enumerate(results):
                result["options"]["lb"] = lb
                result["faults"][0]["target"] = "lb1" if number < 10 else "lb2"
            both.append(results)
        judged = sides(*both)
        assert judged.outcome is Outcome.SAME
        assert {row.drill.rpartition(", on ")[2] for row in judged.rows} == {"lb1", "lb2"}
        assert {row.changes for row in judged.rows} == {("lb before -> after",)}
        assert judged.notes == ()

    def test_a_renamed_subject_is_still_the_same_check(self) -> None:
        chance = random.Random(29)
        base, candidate = many(chance, 10), many(chance, 10)
        for result in candidate:
            for found in result["checks"]:
                found["subject"] = found["subject"].replace("vip", "another vip")
        assert sides(base, candidate).outcome is Outcome.SAME

    def test_a_rate_is_wished_high(self) -> None:
        def rates(least: float) -> list[dict[str, Any]]:
            results = many(random.Random(30), 10)
            for number, result in enumerate(results):
                result["checks"] = [check("throughput", "requests", least + number, None, "", "requests/s")]
            return results

        assert outcomes(sides(rates(1000), rates(2000)))["throughput: requests"] is Outcome.BETTER
        assert outcomes(sides(rates(2000), rates(1000)))["throughput: requests"] is Outcome.WORSE


class TestDamage:
    """Whatever a file holds, it is compared, or refused in a sentence."""

    @settings(max_examples=200, deadline=None)
    @given(where=st.lists(st.integers(0, 40), min_size=1, max_size=4), junk=JUNK)
    def test_a_value_of_any_kind_anywhere(self, where: list[int], junk: Any) -> None:
        result = json.loads(json.dumps(drawn(random.Random(1))))
        place: Any = result
        for step in where[:-1]:
            inside = list(place.values()) if isinstance(place, dict) else place
            inside = [value for value in inside if isinstance(value, dict | list) and value]
            if not inside:
                break
            place = inside[step % len(inside)]
        key = list(place)[where[-1] % len(place)] if isinstance(place, dict) else where[-1] % len(place)
        place[key] = junk
        side = Side("damaged")
        with contextlib.suppress(UsageError):
            add_result("damaged", result, side)
            compare(side, side)

    def test_units_that_differ_are_not_compared(self) -> None:
        chance = random.Random(40)
        base, candidate = many(chance, 10), many(chance, 10)
        for result in candidate:
            result["checks"][6].update(measured=0, unit="takeovers", bound={"low": 0, "high": 0})
        (row,) = [row for row in sides(base, candidate).rows if row.question.title == "fail-back"]
        assert (row.outcome, row.why) == (Outcome.UNKNOWN, "the base counts s, the candidate takeovers")


def run(*words: object) -> tuple[int, str]:
    """The command, as a user gives it; its exit code and all that it said."""
    done = CliRunner().invoke(app, ["compare", *map(str, words)])
    if isinstance(done.exception, UsageError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.output


class TestCommand:
    def test_exit_codes_and_json(self, tmp_path: Path) -> None:
        chance = random.Random(31)
        same, also, few = many(chance, 10), many(chance, 10), many(chance, 2)
        base = stored(tmp_path / "base", same)
        assert run(base, stored(tmp_path / "same", also))[0] == 0
        worse = stored(tmp_path / "worse", many(chance, 10, advert_s=0.2))
        code, said = run(base, worse, "--json", tmp_path / "out.json")
        assert code == 1
        assert "advert_int 0.1 -> 0.2" in said
        assert "WORSE" in said
        data = json.loads((tmp_path / "out.json").read_text())
        assert (data["format"], data["verdict"]) == (1, "worse")
        (takeover,) = [c for c in data["checks"] if c["check"] == "vip-migration: takeover"]
        assert takeover["shift"]["by"] == pytest.approx(0.311, abs=0.05)
        code, said = run(base, stored(tmp_path / "few", few))
        assert code == 4
        assert "2 repeats decide nothing at this level" in " ".join(said.split())

    def test_virtual_time_says_how_it_compared(self, tmp_path: Path) -> None:
        base = stored(tmp_path / "base", [exactly(7)])
        code, said = run(base, stored(tmp_path / "same", [exactly(7)]), "--json", tmp_path / "out.json")
        assert (code, "exact, virtual time" in said) == (0, True)
        data = json.loads((tmp_path / "out.json").read_text())
        assert (data["exact"], data["repeats_needed"], data["threshold"]) == (True, 1, 0.0)
        assert {c["shift"]["test"] for c in data["checks"] if c["shift"]} == {"exact, virtual time"}
        assert run(base, stored(tmp_path / "worse", [exactly(7, advert_s=0.2)]))[0] == 1
        code, said = run(base, stored(tmp_path / "real", many(random.Random(1), 10)))
        assert (code, "run both with the same --time" in said) == (2, True)

    def test_a_file_of_repeats_is_as_good_as_their_folder(self, tmp_path: Path) -> None:
        chance = random.Random(32)
        results = many(chance, 10)
        file = tmp_path / "base.json"
        file.write_text(json.dumps({"format": 1, "results": results}))
        assert run(file, stored(tmp_path / "folder", results))[0] == 0

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is no JSON"),
            ('{"format": 1, "checks": [', "is no JSON"),
            ("[1, 2]", "holds list, not an object"),
            ('{"format": 7, "checks": []}', "no result of a drill in format 1"),
            ('{"format": 1}', "it has no checks"),
            (json.dumps({**drawn(random.Random(1)), "checks": [{"property": "x"}]}), "is damaged"),
            (json.dumps({**drawn(random.Random(1)), "checks": [3]}), "is damaged"),
            (json.dumps({**drawn(random.Random(1)), "faults": None}), "is damaged"),
            (json.dumps({**drawn(random.Random(1)), "outage_s": "long"}), "is damaged"),
            (json.dumps({**drawn(random.Random(1)), "complete": False}), "did not come to its end"),
            ('{"format": 1, "cells": [{"row": 1}]}', "is damaged"),
            ('{"format": 1, "results": [5]}', "result 1, is no result"),
            (b"\xff\xfe\x00", "is no JSON"),
        ],
    )
    def test_what_is_no_result_is_told_in_a_sentence(
        self, tmp_path: Path, text: str | bytes, said: str
    ) -> None:
        file = tmp_path / "bad.json"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        code, told = run(file, file)
        assert (code, said in told, str(file) in told) == (2, True, True), told

    def test_places_where_nothing_is(self, tmp_path: Path) -> None:
        assert run(tmp_path / "nowhere", tmp_path)[0] == 2
        assert run(tmp_path, tmp_path)[0] == 2
        cut = tmp_path / "root" / "cut"
        cut.mkdir(parents=True)
        (cut / "timeline.jsonl").write_text("")
        code, told = run(tmp_path / "root", tmp_path / "root")
        assert code == 2
        assert "vipdrill analyze" in told

    def test_a_cut_run_among_whole_ones_is_left_out_and_told(self, tmp_path: Path) -> None:
        chance = random.Random(33)
        base, candidate = (stored(tmp_path / name, many(chance, 10)) for name in ("base", "candidate"))
        (candidate / "cut").mkdir()
        (candidate / "cut" / "timeline.jsonl").write_text("")
        code, told = run(base, candidate)
        assert code == 0
        assert "is left out" in " ".join(told.split())

    def test_a_void_run_does_not_count(self, tmp_path: Path) -> None:
        """`check --base` keeps it beside the run that counts."""
        chance = random.Random(34)
        runs = many(chance, 2)
        folder = stored(tmp_path / "base", runs)
        void = folder / "001-void1"
        void.mkdir()
        (void / "void.json").write_text(json.dumps(runs[0]))
        (void / "timeline.jsonl").write_text("")
        side = read_side(folder)
        assert ([side.repeats(*drill) for drill in side.drills], side.notes) == ([2], [])

    def test_different_drills_have_nothing_in_common(self, tmp_path: Path) -> None:
        base, candidate = drawn(random.Random(1)), drawn(random.Random(1))
        candidate["faults"][0]["fault"] = "stop"
        code, told = run(stored(tmp_path / "base", [base]), stored(tmp_path / "candidate", [candidate]))
        assert code == 2
        assert "no drill in common" in told

    @pytest.mark.parametrize("words", [("--threshold", "-1"), ("--alpha", "0"), ("--alpha", "nan")])
    def test_settings_out_of_range(self, tmp_path: Path, words: tuple[str, str]) -> None:
        base = stored(tmp_path / "base", [drawn(random.Random(1))])
        assert run(base, base, *words)[0] == 2
