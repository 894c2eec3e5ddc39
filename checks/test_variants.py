"""Every variant of A1 comes up, serves, and survives the crash of a balancer; what cannot be is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import topologies
from checks.judging import Judge, must_catch, must_hold
from harness import faults
from harness.bounds.vrrp import Speaker, fail_back_after_start
from harness.configs.keepalived import read_keepalived
from harness.drill import Drill, NotSteady
from harness.errors import ConfigRejected, TestbedError, UsageError
from harness.testbed import Testbed

# Each value of each option is in one of them at least.
VARIANTS: dict[str, dict[str, Any]] = {
    "haproxy-tcp-checks-untracked": {"check": "tcp", "track": "none", "timeout_check": 0.5},
    "haproxy-weighted-bound-to-the-vip": {"track": "script-weighted", "bind": "vip"},
    "haproxy-routers-unicast": {"serve": "routers", "unicast": True, "balance": "source"},
    "haproxy-both-equal": {"serve": "both", "on_marked_down": "shutdown-sessions"},
    "haproxy-both-opposite": {"serve": "both", "priorities": "opposite", "bind": "vip"},
    "nginx-untracked": {"proxy": "nginx", "track": "none"},
    "nginx-routers-weighted": {"proxy": "nginx", "serve": "routers", "track": "script-weighted"},
    "nginx-both-opposite-unicast": {
        "proxy": "nginx",
        "serve": "both",
        "priorities": "opposite",
        "unicast": True,
        "balance": "leastconn",
    },
    "nginx-bound-to-the-vip-nopreempt": {"proxy": "nginx", "bind": "vip", "preempt": False},
    "three-haproxy-both-opposite-unicast": {
        "balancers": 3,
        "serve": "both",
        "priorities": "opposite",
        "unicast": True,
    },
    "version-2-preempt-delay": {"vrrp_version": 2, "advert_int": 1, "preempt_delay": 1, "probe_rate": 20},
}


@pytest.mark.testbed("vip-l7")
@pytest.mark.parametrize("testbed", VARIANTS.values(), ids=VARIANTS, indirect=True)
def test_a_variant_survives_the_crash_of_a_balancer(drill: Drill, judge: Judge) -> None:
    drill.run("host-crash:lb1")
    must_hold(judge(), "vip-migration", "client-outage", "single-owner", "fail-back")


@pytest.mark.testbed("vip-l7", serve="routers")
def test_only_known_names_reach_the_routers(testbed: Testbed, drill: Drill) -> None:
    """Passed through by SNI: what is no application of theirs is closed by the proxy itself."""
    _only_known_names(testbed, drill)


@pytest.mark.testbed("vip-l7", serve="routers", proxy="nginx")
def test_only_known_names_reach_the_routers_by_nginx(testbed: Testbed, drill: Drill) -> None:
    _only_known_names(testbed, drill)


def _only_known_names(testbed: Testbed, drill: Drill) -> None:
    drill.steady()
    client = testbed.node("cl")

    def ask(host: str) -> int:
        url, there = f"https://{host}/", f"{host}:443:10.0.0.101"
        return client.status(["curl", "-sk", "-m", "5", "-o", "/dev/null", "--resolve", there, url]).status

    assert ask("console.apps.cluster.test") == 0
    assert ask("www.elsewhere.test") != 0
    drill.finish()
    asked = {e.get("host") for e in testbed.recorder.timeline.of("access")}
    assert "console.apps.cluster.test" in asked
    assert "www.elsewhere.test" not in asked


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", script="/usr/bin/false")
def test_a_pair_whose_script_always_fails_never_serves(testbed: Testbed, drill: Drill) -> None:
    """Both instances stay in FAULT from the start: nobody owns the VIP when one must."""
    files = testbed.recorder.timeline.of("config", service="keepalived", node="lb1")
    config = read_keepalived(files[0].text, files[0].path)
    speaker = Speaker.of("lb1", config.instances[0], config)
    with pytest.raises(NotSteady, match="no owner"):
        drill.steady(within_s=fail_back_after_start(speaker, speaker).high + 1.0)


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", proxy="nginx", track="script-weighted", weight=20)
def test_a_weight_smaller_than_the_gap_is_caught(drill: Drill, judge: Judge) -> None:
    drill.run("kill:active/nginx", heal=False)
    must_catch(judge(), "service-tracking")


# -- opaque pairs --------------------------------------------------------------------------------------

BALANCERS = ("lb1", "lb2")
KILL, START = "pkill -9 -x keepalived", "keepalived -f /etc/keepalived/keepalived.conf"


@pytest.mark.testbed("vip-l7", opaque=True, trip=KILL, untrip=START)
def test_an_opaque_pair_is_judged_from_outside(testbed: Testbed, drill: Drill, judge: Judge) -> None:
    drill.run("trip")
    must_hold(judge(), "vip-migration", "client-outage", "single-owner")
    inside = testbed.recorder.timeline.of("config", "address", "link", "service")
    assert not [event for event in inside if event.node in BALANCERS]


@pytest.mark.testbed("vip-l7", opaque=True, track="script", trip="pkill -STOP -x haproxy")
def test_an_opaque_pair_may_notice_its_trip_late(drill: Drill, judge: Judge) -> None:
    """The VIP moves when the pair itself finds its proxy hung: the bound counts from its farewell."""
    drill.steady()
    drill.strike("trip:lb1")
    drill.watch(5)
    drill.finish()
    must_hold(judge(), "vip-migration", "single-owner")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", opaque=True, trip=KILL)
def test_a_silent_takeover_of_an_opaque_pair_is_caught(testbed: Testbed, drill: Drill, judge: Judge) -> None:
    """The node that is tripped keeps the address, and nobody is told of the new owner."""
    fabric = testbed.fabric
    fabric.rules.drop("arp saddr ip 10.0.0.100", source=fabric.port("lb2", "eth0"))
    drill.run("trip", heal=False)
    must_catch(judge(), "vip-migration", "gratuitous ARP")


@pytest.mark.testbed("vip-l7", opaque=True)
def test_nothing_inside_an_opaque_pair_can_be_aimed_at(drill: Drill) -> None:
    drill.steady()
    with pytest.raises(UsageError, match="lb1 is opaque"):
        drill.strike("kill:lb1/haproxy")
    with pytest.raises(UsageError, match="--trip COMMAND"):
        drill.strike("trip")


# -- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"track": "process"}, "process events"),
        ({"proxy": "nginx", "check": "http"}, "no active health checks"),
        ({"proxy": "nginx", "inter": 2}, "--inter would have no effect"),
        ({"max_fails": 3}, "--max-fails would have no effect"),
        ({"check": "none", "fall": 3}, "--fall would have no effect"),
        ({"track": "none", "script_fall": 3}, "--script-fall would have no effect"),
        ({"weight": 20}, "only --track script-weighted"),
        ({"track": "script-weighted", "priority1": 255}, "priority 255"),
        ({"priorities": "opposite"}, "only one VIP"),
        ({"for": "routers", "masters": 5}, "no masters are served"),
        ({"routers": 5}, "no routers are served"),
        ({"nonlocal_bind": False}, "--bind any"),
        ({"priority3": 90}, "see --balancers 3"),
        ({"preempt": False, "preempt_delay": 5}, "--preempt no"),
        ({"vrrp_version": 2}, "whole seconds"),
        ({"advert_int": 50}, "12 bits"),
        ({"for": "routers", "serve": "both"}, "give it once"),
        ({"proxy": "envoy"}, "unknown proxy 'envoy'"),
        ({"fall": 0}, "fall must be between"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        topologies.make("vip-l7", options)


def test_a_trip_without_a_command_is_refused_before_anything_is_built() -> None:
    with pytest.raises(UsageError, match="--trip COMMAND"):
        faults.check("trip", topologies.make("vip-l7", {"opaque": True}))
    faults.check("trip:lb1,command=true", topologies.make("vip-l7", {}))
    faults.check("trip", topologies.make("vip-l7", {"trip": "true"}))


@pytest.mark.saboteur
@pytest.mark.parametrize(
    ("proxy", "error", "words"),
    [("haproxy", TestbedError, "cannot bind"), ("nginx", ConfigRejected, "Cannot assign requested address")],
)
def test_a_proxy_that_may_not_bind_the_vip_is_told(
    new_testbed: Callable[..., Testbed], proxy: str, error: type[Exception], words: str
) -> None:
    """Without ip_nonlocal_bind a balancer without the VIP cannot listen on it."""
    with pytest.raises(error, match=words):
        new_testbed("vip-l7", proxy=proxy, bind="vip", nonlocal_bind=False)
