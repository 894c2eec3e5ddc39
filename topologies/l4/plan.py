"""The choices of A2: its options, which of them go together, and what they come to.

An option that nothing would read is refused unless it has its default, so that nobody believes to have
set what has no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import UsageError
from harness.services.ipvs import Method
from harness.topology import Option
from topologies.choices import Choices
from topologies.l7.plan import OPTIONS as L7_OPTIONS
from topologies.l7.plan import check_vrrp

# What moves the VIP is the same keepalived as in A1.
_AS_IN_A1 = (
    *("vrrp_version", "advert_int", "priority1", "priority2", "priorities"),
    *("preempt", "preempt_delay", "unicast", "opaque", "trip", "untrip"),
    *("globals", "globals2", "instance", "instance2"),
)

OPTIONS = (
    Option("forwarding", "dr", "how the directors pass packets on", ("nat", "dr", "tun")),
    Option("serve", "routers", "what is balanced", ("masters", "routers", "both", "resolvers"), flag="for"),
    Option("masters", 3, "number of fake masters"),
    Option("routers", 2, "number of fake routers"),
    Option("resolvers", 2, "number of fake DNS servers, asked by UDP"),
    Option("ops", False, "resolvers: whether each datagram is scheduled by itself (one-packet scheduling)"),
    Option("scheduler", "rr", "how members are chosen", ("rr", "wrr", "lc", "wlc", "sh", "mh")),
    Option("flags", "", "flags of the scheduler, joined by '+' (mh-port, mh-fallback, sh-port, sh-fallback)"),
    Option("weights", "", "weights of the members in their order, joined by '+' (default: 1 each)"),
    Option(
        "check",
        "auto",
        "how members are checked (auto: SSL_GET of masters, HTTP_GET of routers, TCP_CHECK of resolvers)",
        ("auto", "tcp", "http", "ssl", "misc", "misc-dynamic", "none"),
    ),
    Option(
        "check_path", "", "path of the http or ssl check (default: /readyz, /healthz/ready, of ssl routers /)"
    ),
    Option("digest", False, "whether the http or ssl check compares the MD5 of the page as well"),
    Option("fast_recovery", False, "whether an http or ssl check that is well again counts at once"),
    Option("script", "", "command of the misc check; it is given a member's address and port"),
    Option("misc_timeout", 0, "whole seconds that a script may take (0: delay_loop)"),
    Option("delay_loop", 1.0, "seconds between two checks of a member"),
    Option("retry", 1, "checks that are repeated until a member is out"),
    Option("delay_before_retry", 0.3, "seconds before each of them"),
    Option("connect_timeout", 1.0, "seconds after which a check gives up"),
    Option("warmup", 0.0, "seconds within which the first check is made, at random"),
    Option("quorum", 1, "sum of weights that must be well"),
    Option("hysteresis", 0, "how much less loses the quorum, and how much more regains it"),
    Option("alpha", False, "whether members are out until their first good check"),
    Option("omega", False, "whether notifiers run when keepalived stops"),
    Option("sorry", False, "a sorry server, for when there is no quorum"),
    Option("inhibit_on_failure", False, "whether a failed member stays in the table with weight 0"),
    Option("persistence", 0, "seconds for which a client stays with its member (0: none)"),
    Option(
        "sync",
        "off",
        "the sync daemon: none; one that sends while it is MASTER and else receives; one that does both",
        ("off", "instance", "both"),
    ),
    Option("expire_nodest_conn", False, "whether connections to a removed member end (net.ipv4.vs)"),
    Option("expire_quiescent_template", False, "whether persistence ends with weight 0 (net.ipv4.vs)"),
    Option("sloppy_tcp", False, "whether a connection may begin with any packet (net.ipv4.vs)"),
    Option(
        "sync_threshold", "3 50", "packets before a connection is told, and between tellings (net.ipv4.vs)"
    ),
    Option(
        "conn_reuse_mode",
        1,
        "what becomes of a connection whose ports an old entry has (net.ipv4.vs)",
        (0, 1, 2, 3),
    ),
    Option("conntrack", False, "whether the directors' firewall tracks what IPVS forwards (vs.conntrack)"),
    Option("client_ports", 0, "source ports that clients take in turn (0: as many as the kernel has)"),
    Option("upload", 0, "masters: bytes of the body of each request (0: a GET)"),
    Option("pmtu_disc", True, "tun: whether what is too big for the tunnel is refused (net.ipv4.vs)"),
    Option("masquerade", False, "nat: members see the director as the client (vs.conntrack and nftables)"),
    Option("bystander", False, "nat: a client `by` in the members' own segment"),
    Option("two_nics", False, "dr: directors reach members by a second interface, on a segment of its own"),
    Option("rp_filter", 0, "two-nics: how members look at the way that packets come (conf.all)", (0, 1, 2)),
    Option("arp", "sysctl", "dr, tun: what keeps members from answering ARP for the VIP", ("sysctl", "none")),
    Option("server", "", "more lines of every virtual_server, separated by ';'"),
    *(option for option in L7_OPTIONS if option.name in _AS_IN_A1),
)

_PAGE_ONLY = ("check_path", "digest", "fast_recovery")
_SCRIPT_ONLY = ("script", "misc_timeout")
_CHECKS_ONLY = ("delay_loop", "retry", "delay_before_retry", "connect_timeout", "warmup", "alpha")

Kind = Literal["masters", "routers", "resolvers"]
CheckKind = Literal["tcp", "http", "ssl", "misc", "misc-dynamic", "none"]


@dataclass(frozen=True)
class Plan(Choices):
    """The options, checked, and what follows from them."""

    known = OPTIONS

    @property
    def method(self) -> Method:
        """The forwarding in keepalived's word."""
        methods: dict[str, Method] = {"nat": "NAT", "dr": "DR", "tun": "TUN"}
        return methods[self["forwarding"]]

    @property
    def nat(self) -> bool:
        """Whether members stand behind the directors, on a segment of their own."""
        return bool(self["forwarding"] == "nat")

    @property
    def back(self) -> bool:
        """Whether directors reach members by a segment that clients are not on."""
        return bool(self.nat or self["two_nics"])

    def check(self, kind: Kind) -> CheckKind:
        """How members of a kind are checked."""
        given: CheckKind | Literal["auto"] = self["check"]
        if given != "auto":
            return given
        kinds: dict[Kind, CheckKind] = {"masters": "ssl", "routers": "http", "resolvers": "tcp"}
        return kinds[kind]

    @property
    def flags(self) -> tuple[str, ...]:
        """The scheduler's flags."""
        return tuple(flag for flag in self["flags"].split("+") if flag)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is served."""
        on: dict[Kind, bool] = {
            "masters": self.serves_masters,
            "routers": self.serves_routers,
            "resolvers": self.serves_resolvers,
        }
        return tuple(kind for kind, served in on.items() if served)

    def weight(self, position: int) -> int:
        """The weight of the member at a position, from 0."""
        weights = [int(word) for word in self["weights"].split("+") if word]
        return weights[position] if position < len(weights) else 1


def plan(options: Mapping[str, Any]) -> Plan:
    """The plan of these options; raises UsageError for what cannot be, and for what nothing would read."""
    made = Plan(options)
    for judge in (_numbers, _scheduling, _checks, _forwarding, _persistence, _vips):
        judge(made)
    check_vrrp(options)
    return made


def _numbers(made: Plan) -> None:
    ranges = (
        ("masters", 1, 50),
        ("routers", 1, 50),
        ("resolvers", 1, 50),
        ("priority1", 1, 255),
        ("priority2", 1, 255),
        ("retry", 0, 10000),
        ("misc_timeout", 0, 3600),
        ("warmup", 0, 3600),
        ("delay_before_retry", 0, 3600),
        ("quorum", 1, 10000),
        ("hysteresis", 0, 10000),
        ("persistence", 0, 86400),
        ("preempt_delay", 0, 1000),
        ("client_ports", 0, 10000),
        ("upload", 0, 1 << 20),
    )
    made.check_numbers(ranges, ("advert_int", "delay_loop", "connect_timeout"))
    words = [word for word in made["weights"].split("+") if word]
    if not all(word.isdigit() and int(word) <= 65535 for word in words):
        raise UsageError(f"weights are whole numbers from 0 to 65535 joined by '+', not {made['weights']!r}")
    threshold = made["sync_threshold"].split()
    if len(threshold) != 2 or not all(word.isdigit() for word in threshold):
        raise UsageError(f"sync_threshold is two whole numbers, as in '3 50', not {made['sync_threshold']!r}")


def _scheduling(made: Plan) -> None:
    scheduler = made["scheduler"]
    for flag in made.flags:
        if flag not in ("mh-port", "mh-fallback", "sh-port", "sh-fallback"):
            raise UsageError(
                f"no flag of a scheduler is called {flag!r}; there are: mh-port, mh-fallback, sh-port, "
                "sh-fallback"
            )
        if not flag.startswith(f"{scheduler}-"):
            raise UsageError(f"{flag} belongs to --scheduler {flag[:2]}, not to {scheduler}")
    if scheduler in ("rr", "lc") and made["weights"]:
        raise UsageError(f"--scheduler {scheduler} heeds no weights: choose w{scheduler}")
    counts = [made[kind] for kind in made.kinds]
    members = max(counts)
    given = len([word for word in made["weights"].split("+") if word])
    if given > members:
        raise UsageError(f"{given} weights for {members} members")
    total = min(sum(made.weight(n) for n in range(count)) for count in counts)
    if made["check"] != "misc-dynamic" and made["quorum"] > max(total, 1):
        raise UsageError(
            f"quorum {made['quorum']} is more than the weights of all members, {total}: never met"
        )
    needed = made["quorum"] + made["hysteresis"]
    if made["check"] != "misc-dynamic" and made["hysteresis"] and needed > total:
        raise UsageError(
            f"with hysteresis {made['hysteresis']} a quorum of {made['quorum']} is gained at {needed}, and "
            f"the weights of all members are {total}: never"
        )
    if made["hysteresis"] and made["hysteresis"] >= made["quorum"]:
        raise UsageError(f"hysteresis {made['hysteresis']} must be less than the quorum {made['quorum']}")


def _checks(made: Plan) -> None:
    check = made["check"]
    if check == "http" and made.serves_masters:
        raise UsageError("masters speak TLS only, so HTTP_GET cannot ask them: choose --check ssl")
    if made.serves_resolvers and check not in ("auto", "tcp", "none"):
        raise UsageError("resolvers speak DNS, and keepalived asks them for a connection: choose --check tcp")
    if check in ("tcp", "misc", "misc-dynamic", "none"):
        made.refuse_given(_PAGE_ONLY, f"--check {check} asks for no page")
    if not check.startswith("misc"):
        made.refuse_given(_SCRIPT_ONLY, f"--check {check} runs no script")
    if check.startswith("misc"):
        made.refuse_given(("connect_timeout",), "a script has its own time-out; see --misc-timeout")
    if check == "none":
        made.refuse_given(_CHECKS_ONLY, "--check none checks no member")
    if check == "misc-dynamic" and made["scheduler"] in ("rr", "lc"):
        raise UsageError(
            f"--scheduler {made['scheduler']} heeds no weights, so misc-dynamic sets them in vain"
        )


def _forwarding(made: Plan) -> None:
    if made["forwarding"] != "dr":
        made.refuse_given(("two_nics",), "members have one interface; see --forwarding dr")
    if not made["two_nics"]:
        made.refuse_given(("rp_filter",), "packets come by the one interface that there is; see --two-nics")
    if made["forwarding"] != "tun":
        made.refuse_given(("pmtu_disc",), "there is no tunnel; see --forwarding tun")
    if not made.nat:
        made.refuse_given(
            ("masquerade",), f"with --forwarding {made['forwarding']} members answer clients directly"
        )
        why = f"with --forwarding {made['forwarding']} the client cl stands beside the members already"
        made.refuse_given(("bystander",), why)
    else:
        made.refuse_given(("arp",), "with --forwarding nat no member has the VIP")
        if made["priorities"] == "opposite":
            raise UsageError(
                "with --forwarding nat the members' one gateway must be where the VIPs are, so the VIPs "
                "cannot prefer different directors: leave --priorities equal"
            )


def _persistence(made: Plan) -> None:
    if not made["persistence"]:
        made.refuse_given(("expire_quiescent_template",), "there is no --persistence")
    elif not (made["inhibit_on_failure"] or made["check"] == "misc-dynamic"):
        why = "no member keeps its place with weight 0; see --inhibit-on-failure"
        made.refuse_given(("expire_quiescent_template",), why)
    if made["sync"] == "off":
        made.refuse_given(("sync_threshold",), "there is no sync daemon; see --sync")


def _vips(made: Plan) -> None:
    if made["serve"] != "both":
        made.refuse_given(("priorities",), "there is only one VIP; see --for both")
    if not made.serves_routers:
        made.refuse_given(("routers",), "no routers are served; see --for routers, --for both")
    if not made.serves_resolvers:
        why = "no resolvers are served; see --for resolvers"
        made.refuse_given(("resolvers", "ops"), why)
    if not made.serves_masters:
        made.refuse_given(("masters", "upload"), "no masters are served; see --for masters, --for both")
    if made["sync"] == "instance" and made["serve"] == "both" and not made.nat:
        raise UsageError(
            "the sync daemon follows one VRRP instance, and --for both has two: choose --sync both"
        )
