"""Drills of A2: how directors are set up quickly, and how saboteurs deceive its judges."""

from __future__ import annotations

from harness.drill import Drill
from harness.testbed import Testbed

CALM = {"serve": "masters", "advert_int": 0.2}
"""Masters, and adverts that a machine of its own sends in time on a busy host as well."""

QUICK = {**CALM, "delay_loop": 0.4, "delay_before_retry": 0.2, "connect_timeout": 0.3}
"""The same, with members checked often enough that a drill is short."""

SCRIPTS = {**CALM, "delay_loop": 0.8, "delay_before_retry": 0.3, "misc_timeout": 3}
"""The same, checked by scripts, which take such a machine a tenth of a second each."""

VIP, TABLE_ENTRY = "10.0.0.100", "10.0.0.100:6443"
METHODS = {"nat": "--masquerading", "dr": "--gatewaying", "tun": "--ipip"}


def ipvsadm(testbed: Testbed, verb: str, member: str, *more: str, directors: str = "lb1 lb2") -> None:
    """Change a member's place in the directors' tables (`--delete-server`, …), telling nobody."""
    for director in directors.split():
        command = ["ipvsadm", verb, "--tcp-service", TABLE_ENTRY, "--real-server", f"{member}:6443"]
        testbed.node(director).run([*command, *more])


def deceive(drill: Drill, old: str, new: str, *, directors: str = "lb1 lb2") -> None:
    """keepalived's file on the directors becomes another one than is known; it is not told to read it."""
    path = "/etc/keepalived/keepalived.conf"
    for director in directors.split():
        node = drill.testbed.node(director)
        text = node.read(path).decode()
        assert old in text, f"{path} of {director} has no {old!r}"
        node.write(path, text.replace(old, new))


def address(testbed: Testbed, member: str) -> str:
    """A member's own address."""
    return testbed.topology.node(member).interfaces[0].addresses[0].partition("/")[0]
