"""A1 vip-l7: a VIP and proxies, active/standby.

        clx                    cl
    198.51.100.10           10.0.0.10
         │                      │
      ───┴── outside            │
         │                      │
        rt ─────────┬───────────┴─┬──────── lan 10.0.0.0/24
                    │             │             │      │      │
              lb1 10.0.0.11  lb2 10.0.0.12     m1     m2     m3
              keepalived     keepalived       .21    .22    .23
              haproxy        haproxy          fake API servers :6443
                    └── VIP ──────┘
                     10.0.0.100:6443

keepalived moves the VIP by VRRP; HAProxy passes TLS through to the masters and checks their health.
`cl` learns a new owner of the VIP by ARP itself, `clx` depends on the router `rt` learning it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import UsageError
from harness.services import haproxy, keepalived
from harness.services.master import Master
from harness.topology import Interface, NodeSpec, Option, ProbeSpec, Segment, Topology, Vip

SUMMARY = "keepalived moves a VIP between two HAProxy nodes, which pass TLS through to the masters"

VIP = "10.0.0.100"
PORT = 6443
SERVER_NAME = "api.cluster.test"
BALANCERS = {"lb1": "10.0.0.11", "lb2": "10.0.0.12"}

OPTIONS = (
    Option("vrrp_version", 3, "VRRP version", (2, 3)),
    Option("advert_int", 0.1, "advertisement interval in seconds (version 2: whole seconds)"),
    Option("priority1", 150, "priority of lb1"),
    Option("priority2", 100, "priority of lb2"),
    Option("preempt", True, "whether a returning balancer of higher priority takes the VIP back"),
    Option("unicast", False, "unicast advertisements between the two balancers instead of multicast"),
    Option("masters", 3, "number of fake masters"),
    Option("globals", "", "more lines of keepalived's global_defs, separated by ';'"),
    Option("instance", "", "more lines of keepalived's vrrp_instance, separated by ';'"),
)


def topology(options: Mapping[str, Any]) -> Topology:
    """The architecture as data."""
    if options["vrrp_version"] == 2 and options["advert_int"] != int(options["advert_int"]):
        raise UsageError(
            f"VRRP version 2 counts advert_int in whole seconds (RFC 3768 section 5.3.7), not "
            f"{options['advert_int']:g}: choose --vrrp-version 3 or a whole number"
        )
    if not 1 <= options["masters"] <= 50:
        raise UsageError(f"masters must be between 1 and 50, not {options['masters']}")
    masters = {f"m{n}": f"10.0.0.{20 + n}" for n in range(1, options["masters"] + 1)}
    nodes = (
        NodeSpec(
            "rt",
            "router",
            (Interface("eth0", "lan", ("10.0.0.1/24",)), Interface("eth1", "outside", ("198.51.100.1/24",))),
            sysctls={"net.ipv4.ip_forward": "1"},
        ),
        *(_master(name, address) for name, address in masters.items()),
        *(_balancer(name, options, masters) for name in BALANCERS),
        NodeSpec("cl", "client", (Interface("eth0", "lan", ("10.0.0.10/24",)),), {"0.0.0.0/0": "10.0.0.1"}),
        NodeSpec(
            "clx",
            "client",
            (Interface("eth0", "outside", ("198.51.100.10/24",)),),
            {"0.0.0.0/0": "198.51.100.1"},
        ),
    )
    return Topology(
        "vip-l7",
        options,
        (Segment("lan"), Segment("outside")),
        nodes,
        (Vip(VIP, PORT, "masters"),),
        tuple(ProbeSpec(client, VIP, PORT, SERVER_NAME) for client in ("cl", "clx")),
    )


def _master(name: str, address: str) -> NodeSpec:
    interface = Interface("eth0", "lan", (f"{address}/24",))
    server = Master(name, address, PORT, names=(SERVER_NAME, VIP, address))
    return NodeSpec(name, "member", (interface,), {"0.0.0.0/0": "10.0.0.1"}, services=(server,))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.split(";") if line.strip())


def _balancer(name: str, options: Mapping[str, Any], masters: Mapping[str, str]) -> NodeSpec:
    address = BALANCERS[name]
    peers = tuple(peer for other, peer in BALANCERS.items() if other != name)
    instance = keepalived.VrrpInstance(
        name="api",
        interface="eth0",
        vrid=51,
        priority=options["priority1" if name == "lb1" else "priority2"],
        advert_int_s=options["advert_int"],
        addresses=(f"{VIP}/24",),
        nopreempt=not options["preempt"],
        unicast_source=address if options["unicast"] else "",
        unicast_peers=peers if options["unicast"] else (),
        extra=_lines(options["instance"]),
    )
    servers = tuple(haproxy.Server(member, f"{at}:{PORT}") for member, at in masters.items())
    health = ("option httpchk", "http-check send meth GET uri /readyz", "http-check expect status 200")
    check = "check check-ssl verify none inter 1s fall 2 rise 2"
    return NodeSpec(
        name,
        "balancer",
        (Interface("eth0", "lan", (f"{address}/24",)),),
        {"0.0.0.0/0": "10.0.0.1"},
        services=(
            haproxy.Haproxy(haproxy.render_tcp(PORT, servers, check=check, health=health)),
            keepalived.Keepalived(
                keepalived.render(
                    (instance,), version=options["vrrp_version"], globals_=_lines(options["globals"])
                )
            ),
        ),
    )
