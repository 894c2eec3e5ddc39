"""The report of a real drill: every witness has its lane, packets are found, the folder stays small."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from checks import browser as browsers
from harness.drill import Drill
from harness.report.evidence import write_artifacts
from harness.report.lanes import lanes_of
from harness.report.packet_numbers import PacketNumbers
from harness.timeline import Timeline
from harness.verdict import Verdict

Judge = Callable[[], list[Verdict]]


@pytest.mark.real_time("a browser draws the page, and computes in a guest without ever asking for the time")
@pytest.mark.testbed("vip-l7", inter=0.2)
def test_a_real_drill_is_told_by_every_witness(drill: Drill, judge: Judge, tmp_path: Path) -> None:
    drill.run("kill:m1")
    verdicts = judge()
    testbed = drill.testbed
    testbed.close()
    assert write_artifacts(testbed.artifacts, testbed.recorder.timeline, verdicts, "") == []
    timeline = Timeline.load(testbed.artifacts / "timeline.jsonl")

    groups = lanes_of(timeline, verdicts)
    lanes = {lane.name: lane for group in groups for lane in group.lanes}
    assert [s.label for s in lanes["lb1: m1"].stretches][-3:] == ["up", "down", "up"]
    assert [s.label for s in lanes["lb1: m2"].stretches] == ["up"]
    assert [s.label for s in lanes["m1: ill"].stretches] == ["kill"]
    # What cl and the router believe of the VIP comes from their own kernels.
    assert {lanes[node].stretches[-1].label for node in ("rt", "lb1")} == {"lb1", "active"}

    # A capture may lack what was on the wire in its last moments.
    steady, healing = (timeline.first("phase", name=name) for name in ("steady", "healing"))
    assert steady is not None
    assert healing is not None
    numbers = PacketNumbers(testbed.artifacts / "captures", timeline)
    for kind in ("vrrp", "arp"):
        seen = timeline.of(kind, since=steady.t, until=healing.t)
        assert all(numbers.of(event) for event in seen), kind
    asked = timeline.of("probe", stream="new", since=steady.t, until=healing.t)
    # Most: a SYN that a late machine sent long after its attempt began is nobody's for sure.
    assert sum(numbers.of(event) is not None for event in asked) > len(asked) / 2

    sizes = {path.name: path.stat().st_size for path in testbed.artifacts.iterdir() if path.is_file()}
    assert sizes["index.html"] < 2_000_000
    assert json.loads((testbed.artifacts / "trace.json").read_text(encoding="utf-8"))["traceEvents"]

    if (program := browsers.chromium()) is not None:
        with browsers.running(program, tmp_path) as browser:
            page = browser.page()
            page.open(testbed.artifacts / "index.html")
            page.wait("document.documentElement.dataset.drawn")
            assert page.ask("document.querySelectorAll('g.lane').length") == sum(
                len(group.lanes) for group in groups
            )
            assert page.errors == []
