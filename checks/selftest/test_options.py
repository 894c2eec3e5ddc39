"""Options of an architecture, as they are given by name and on the command line."""

from __future__ import annotations

import pytest

import topologies
from harness import faults
from harness.errors import UsageError
from harness.topology import Option


def test_an_option_may_be_called_by_its_flag() -> None:
    for name in ("for", "serve"):
        assert topologies.make("vip-l7", {name: "routers"}).vips[0].service == "routers"


def test_an_unknown_option_is_told_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"did you mean '--for'\? known: .*--masters"):
        topologies.make("vip-l7", {"fro": "routers"})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("kill:lb9", "unknown target 'lb9'; known: active"),
        ("kill:m1/nginx", "unknown service on m1 'nginx'"),
        ("link-down:lb1:eth7", "unknown interface of lb1 'eth7'"),
        ("partition:wan", "unknown segment 'wan'"),
        ("kil", "did you mean 'kill'"),
    ],
)
def test_a_fault_that_cannot_be_aimed_is_told_before_anything_is_built(fault: str, words: str) -> None:
    topology = topologies.make("vip-l7", {})
    with pytest.raises(UsageError) as refused:
        faults.check(fault, topology)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", faults.FAULTS)
def test_every_fault_can_be_aimed_at_its_default_target(name: str) -> None:
    faults.find(name).check_target(topologies.make("vip-l7", {}), "")


def test_a_bare_flag_is_a_yes_for_what_takes_yes_or_no() -> None:
    assert Option("opaque", False, "").parse(True) is True
    for default in (1, 0.5, "text"):
        with pytest.raises(UsageError, match="--a-b needs a value"):
            Option("a_b", default, "").parse(True)


def test_both_vips_have_their_members_and_probes() -> None:
    made = topologies.make("vip-l7", {"for": "both", "routers": 4})
    assert [(vip.address, vip.port) for vip in made.vips] == [
        ("10.0.0.100", 6443),
        ("10.0.0.101", 443),
        ("10.0.0.101", 80),
    ]
    assert [node.name for node in made.role("member")] == ["m1", "m2", "m3", "r1", "r2", "r3", "r4"]
    assert {probe.port for probe in made.probes if probe.client == "clx"} == {6443, 443, 80}
