"""maintenance: reloads that nobody notices, restarts that cost what they must, members that drain."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from checks.judging import Judge, must_be_limited, must_catch, must_hold
from harness.drill import Drill
from harness.services.haproxy_admin import ask

QUICK = {"script_interval": 0.3, "script_timeout": 0.2, "script_fall": 3}


@pytest.mark.control
@pytest.mark.parametrize("service", ["haproxy", "keepalived"])
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_reload_costs_nothing(drill: Drill, judge: Judge, service: str) -> None:
    drill.run(f"reload:active/{service}")
    must_hold(judge(), "maintenance", "client-outage: without a fault", "single-owner")


@pytest.mark.control
@pytest.mark.testbed("vip-l7", unicast=True, **QUICK)
def test_a_peer_more_costs_nothing(drill: Drill, judge: Judge, tmp_path: Path) -> None:
    text = _keepalived(drill)
    more = re.sub(r"(unicast_peer \{\n(\s*))", r"\g<1>10.0.0.77\n\2", text)
    assert more != text
    drill.run(f"reload:active/keepalived,config={_written(tmp_path, more)}")
    must_hold(judge(), "maintenance", "client-outage: without a fault", "single-owner", "vip-migration")


@pytest.mark.testbed("vip-l7", serve="both", **QUICK)
def test_an_instance_less_moves_that_vip_only(drill: Drill, judge: Judge, tmp_path: Path) -> None:
    """The masters' VIP stays; the routers' goes to the other balancer, at once, as its owner says goodbye."""
    text = _keepalived(drill)
    first, second = (m.start() for m in re.finditer(r"^vrrp_instance ", text, re.MULTILINE))
    assert first < second
    drill.run(f"reload:active/keepalived,config={_written(tmp_path, text[:second])}")
    must_hold(judge(), "maintenance", "single-owner", "vip-migration", "fail-back", "client-outage: outage")


@pytest.mark.testbed("vip-l7", proxy="nginx", **QUICK)
def test_a_reload_of_nginx_costs_nothing(drill: Drill, judge: Judge) -> None:
    drill.run("reload:active/nginx")
    must_hold(judge(), "maintenance", "single-owner")


@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_restart_closes_the_listeners_for_a_while(drill: Drill, judge: Judge) -> None:
    """The limitation that a reload does not have: nobody listens between the stop and the start."""
    drill.steady()
    drill.strike("restart:active/haproxy,pause_s=0.1")
    drill.watch(0.5)
    drill.finish()
    verdicts = judge()
    must_be_limited(verdicts, "maintenance: requests")
    must_hold(verdicts, "maintenance: vip")


@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_reload_without_hand_over_resets_who_waits(drill: Drill, judge: Judge) -> None:
    """The limitation that a hand-over cures; the old worker is held up, so that somebody waits."""
    drill.steady()
    old = drill.testbed.process("lb1", "haproxy")
    worker = old.tree()[1]
    old.signal_children(signal.SIGSTOP)
    drill.watch(0.1)
    drill.strike("reload:active/haproxy,handover=no", at_once=True)
    while not _awaits(worker, signal.SIGUSR1):
        drill.watch(0.01)
    # Each thread may accept a few (tune.maxaccept) before it minds the signal: more than those must wait.
    drill.watch(0.25)
    old.signal_children(signal.SIGCONT)
    drill.watch(0.5)
    drill.finish()
    verdicts = judge()
    must_be_limited(verdicts, "maintenance: requests")
    must_hold(verdicts, "maintenance: vip")


@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_member_drains_without_loss(drill: Drill, judge: Judge) -> None:
    drill.run("drain:m2")
    must_hold(judge(), "maintenance", "client-outage", "single-owner")


def _keepalived(drill: Drill) -> str:
    return drill.testbed.node("lb1").read("/etc/keepalived/keepalived.conf").decode()


def _written(folder: Path, text: str) -> Path:
    (folder / "keepalived.conf").write_text(text)
    return folder / "keepalived.conf"


def _awaits(pid: int, number: int) -> bool:
    """Whether a signal waits for a process to go on (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = next(line for line in status.splitlines() if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (number - 1) & 1)


# -- controls ------------------------------------------------------------------------------------------


@pytest.mark.control
@pytest.mark.testbed("vip-l7", **QUICK)
@pytest.mark.parametrize("fault", ["reload:standby/haproxy", "restart:standby/haproxy"])
def test_the_standby_may_be_maintained(drill: Drill, judge: Judge, fault: str) -> None:
    drill.steady()
    drill.strike(fault)
    drill.watch(0.5)
    drill.finish()
    must_hold(judge(), "maintenance", "single-owner")


# -- saboteurs -----------------------------------------------------------------------------------------


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_reload_that_drops_requests_is_caught(drill: Drill, judge: Judge) -> None:
    """The proxy stands still for longer than clients wait."""
    drill.steady()
    drill.strike("reload:active/haproxy")
    process = drill.testbed.process("lb1", "haproxy")
    process.signal_tree(signal.SIGSTOP)
    drill.watch(0.7)
    process.signal_tree(signal.SIGCONT)
    drill.watch(0.3)
    drill.finish()
    must_catch(judge(), "maintenance", "requests")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_reload_that_takes_the_address_away_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("reload:active/haproxy")
    drill.testbed.node("lb1").status(["ip", "address", "del", "10.0.0.100/24", "dev", "eth0"])
    drill.watch(0.5)
    drill.finish()
    must_catch(judge(), "maintenance", "vip")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_a_drained_member_that_is_still_asked_is_caught(drill: Drill, judge: Judge) -> None:
    """Somebody else's script makes it ready again."""
    drill.steady()
    drill.strike("drain:m2")
    for balancer in ("lb1", "lb2"):
        node = drill.testbed.node(balancer)
        assert ask(node, "/run/haproxy.sock", "set server api-members/m2 state ready") == ""
    drill.watch(0.5)
    drill.finish()
    must_catch(judge(), "maintenance", "rotation")


@pytest.mark.saboteur
@pytest.mark.testbed("vip-l7", **QUICK)
def test_draining_the_last_member_is_caught(drill: Drill, judge: Judge) -> None:
    drill.steady()
    drill.strike("drain:members")
    drill.watch(0.5)
    drill.finish()
    must_catch(judge(), "maintenance", "drain")
