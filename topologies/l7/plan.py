"""The choices of A1: its options, which of them go together, and what they come to.

An option that one proxy does not know is refused unless it has its default, so that nobody believes to
have set what nothing reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError
from harness.services.haproxy_config import Kind
from harness.topology import Option
from topologies.choices import Choices

OPTIONS = (
    Option("proxy", "haproxy", "the proxy on the balancers", ("haproxy", "nginx")),
    Option("serve", "masters", "what is balanced", ("masters", "routers", "both"), flag="for"),
    Option("masters", 3, "number of fake masters"),
    Option("routers", 2, "number of fake routers"),
    Option("balancers", 2, "number of balancers", (2, 3)),
    Option("vrrp_version", 3, "VRRP version", (2, 3)),
    Option("advert_int", 0.1, "advertisement interval in seconds (version 2: whole seconds)"),
    Option("priority1", 150, "priority of lb1"),
    Option("priority2", 100, "priority of lb2"),
    Option("priority3", 50, "priority of lb3, with three balancers"),
    Option(
        "priorities",
        "equal",
        "with two VIPs: whether both prefer lb1, or the routers' VIP prefers lb2 over it",
        ("equal", "opposite"),
    ),
    Option("preempt", True, "whether a returning balancer of higher priority takes the VIP back"),
    Option("preempt_delay", 0.0, "seconds for which a returning balancer waits before that"),
    Option("unicast", False, "unicast advertisements between the two balancers instead of multicast"),
    Option(
        "track",
        "script",
        "what keepalived does about its proxy: nothing, a script that takes the VIP away or lowers the "
        "priority, or the kernel's process events",
        ("none", "script", "script-weighted", "process"),
    ),
    Option("script", "", "command of the tracked script (default: ask the proxy's own health page)"),
    Option("script_interval", 1.0, "seconds between two runs of the script"),
    Option("script_timeout", 1.0, "seconds after which a run of the script counts as failed"),
    Option("script_fall", 2, "failures until the script counts as failed"),
    Option("script_rise", 2, "successes until it counts as well again"),
    Option("weight", 0, "priority that a failing script-weighted takes away (0: 10 more than the gap)"),
    Option(
        "check",
        "auto",
        "how members are checked (auto: http by HAProxy, by failed connections alone by Nginx)",
        ("auto", "http", "tcp", "none"),
    ),
    Option(
        "check_path", "", "path of the http check (default: /readyz of masters, /healthz/ready of routers)"
    ),
    Option("inter", 1.0, "HAProxy: seconds between two checks"),
    Option("fall", 2, "HAProxy: failed checks until a member is down"),
    Option("rise", 2, "HAProxy: good checks until it is up again"),
    Option("timeout_check", 0.0, "HAProxy: seconds in which a check must be answered (0: inter)"),
    Option("on_marked_down", "none", "HAProxy: what becomes of sessions then", ("none", "shutdown-sessions")),
    Option("max_fails", 1, "Nginx: failed connections until a member is left out (0: never)"),
    Option("fail_timeout", 10, "Nginx: whole seconds in which they count, and for which it is left out"),
    Option("connect_timeout", 1.0, "seconds after which a connection to a member is given up"),
    Option("balance", "roundrobin", "how members are chosen", ("roundrobin", "leastconn", "source")),
    Option("server", "", "more words of every server line of the proxy"),
    Option("bind", "any", "whether the proxy listens on any address or on the VIP only", ("any", "vip")),
    Option("nonlocal_bind", True, "with bind vip: net.ipv4.ip_nonlocal_bind on the balancers"),
    Option(
        "arp_cache", 0, "seconds for which clients and router trust what ARP told them (0: the kernel's 30)"
    ),
    Option("opaque", False, "take the balancers for an appliance: only what is outside of them is recorded"),
    Option("trip", "", "shell command that fails a balancer, for the fault trip"),
    Option("untrip", "", "shell command that brings it back"),
    Option("globals", "", "more lines of keepalived's global_defs, separated by ';'"),
    Option("globals2", "", "more lines of it on lb2 only"),
    Option("instance", "", "more lines of keepalived's vrrp_instance, separated by ';'"),
    Option("instance2", "", "more lines of it on lb2 only"),
)

_HAPROXY_ONLY = ("check_path", "inter", "fall", "rise", "timeout_check", "on_marked_down")
_NGINX_ONLY = ("max_fails", "fail_timeout")
_SCRIPT_ONLY = ("script", "script_interval", "script_timeout", "script_fall", "script_rise")


@dataclass(frozen=True)
class Plan(Choices):
    """The options, checked, and what follows from them."""

    known = OPTIONS

    @property
    def check(self) -> Kind:
        """How members are checked: http, tcp, or none."""
        given: Kind | Literal["auto"] = self["check"]
        if given != "auto":
            return given
        return "http" if self["proxy"] == "haproxy" else "none"

    @property
    def weight(self) -> int:
        """What a failing script takes off the priority; 0 takes the whole instance to FAULT."""
        if self["track"] != "script-weighted":
            return 0
        gap: int = abs(self["priority1"] - self["priority2"])
        return int(self["weight"] or gap + 10)


def plan(options: Mapping[str, Any]) -> Plan:
    """The plan of these options; raises UsageError for what cannot be, and for what nothing would read."""
    made = Plan(options)
    for judge in (_numbers, _balancers, _tracking, _proxy, _vips):
        judge(made)
    check_vrrp(options)
    return made


def _numbers(made: Plan) -> None:
    ranges = (
        ("masters", 1, 50),
        ("routers", 1, 50),
        ("priority1", 1, 255),
        ("priority2", 1, 255),
        ("priority3", 1, 255),
        ("weight", 0, 253),
        ("fall", 1, 10000),
        ("rise", 1, 10000),
        ("script_fall", 1, 10000),
        ("script_rise", 1, 10000),
        ("max_fails", 0, 10000),
        ("fail_timeout", 1, 3600),
        ("preempt_delay", 0, 1000),
        ("timeout_check", 0, 3600),
        ("arp_cache", 0, 86400),
    )
    made.check_numbers(
        ranges, ("advert_int", "inter", "script_interval", "script_timeout", "connect_timeout")
    )


def _balancers(made: Plan) -> None:
    if made["balancers"] < 3:
        made.refuse_given(("priority3",), "there are two balancers; see --balancers 3")


def check_vrrp(made: Mapping[str, Any]) -> None:
    """Raise UsageError for VRRP options that contradict one another, or the protocol."""
    if made["vrrp_version"] == 2 and made["advert_int"] != int(made["advert_int"]):
        raise UsageError(
            f"VRRP version 2 counts advert_int in whole seconds (RFC 3768 section 5.3.7), not "
            f"{made['advert_int']:g}: choose --vrrp-version 3 or a whole number"
        )
    if made["vrrp_version"] == 3 and not 0.01 <= made["advert_int"] <= 40.95:
        raise UsageError(
            f"VRRP version 3 counts advert_int in 12 bits of centiseconds, 0.01 to 40.95 s (RFC 9568 "
            f"section 5.2.7), not {made['advert_int']:g}"
        )
    if made["preempt_delay"] and not made["preempt"]:
        raise UsageError("preempt_delay delays what --preempt no forbids: choose one of them")


def _tracking(made: Plan) -> None:
    if made["track"] == "process":
        raise UsageError(TRACK_PROCESS_REFUSED)
    if not made["track"].startswith("script"):
        made.refuse_given(_SCRIPT_ONLY, f"--track {made['track']} runs no script")
    if made["track"] != "script-weighted":
        made.refuse_given(("weight",), "only --track script-weighted has a weight")
    elif 255 in (made["priority1"], made["priority2"]):
        raise UsageError("priority 255 is the address owner's and no weight changes it (keepalived.conf(5))")


TRACK_PROCESS_REFUSED = (
    "--track process needs the kernel's process events (proc connector), which Linux serves in the host's "
    "own network and PID namespaces only (drivers/connector): in a namespace node keepalived is refused "
    "them (errno 111) and never leaves FAULT; choose --track script"
)


def _proxy(made: Plan) -> None:
    if made["proxy"] == "nginx":
        if made["check"] in ("http", "tcp"):
            raise UsageError(
                f"open-source Nginx has no active health checks, so no --check {made['check']}: it leaves a "
                "member out after --max-fails failed connections, for --fail-timeout seconds"
            )
        made.refuse_given(_HAPROXY_ONLY, "Nginx has no active checks; see --max-fails, --fail-timeout")
        return
    if made.check != "http":
        made.refuse_given(("check_path",), f"--check {made.check} asks for no path")
    made.refuse_given(_NGINX_ONLY, "HAProxy has active checks; see --inter, --fall, --rise")
    if made.check == "none":
        made.refuse_given(_HAPROXY_ONLY, "--check none checks no member")


def _vips(made: Plan) -> None:
    if made["serve"] != "both":
        made.refuse_given(("priorities",), "there is only one VIP; see --for both")
    if not made.serves_routers:
        made.refuse_given(("routers",), "no routers are served; see --for routers, --for both")
    if not made.serves_masters:
        made.refuse_given(("masters",), "no masters are served; see --for masters, --for both")
    if made["bind"] == "any":
        made.refuse_given(("nonlocal_bind",), "--bind any listens everywhere")
