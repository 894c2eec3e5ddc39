"""A1 vip-l7: a VIP and proxies, active/standby.

        clx                    cl
    198.51.100.10           10.0.0.10
         │                      │
      ───┴── outside            │
         │                      │
        rt ─────────┬───────────┴─┬──────── lan 10.0.0.0/24
                    │             │             │      │      │        │      │
              lb1 10.0.0.11  lb2 10.0.0.12     m1     m2     m3       r1     r2
              keepalived     keepalived       .21    .22    .23      .81    .82
              proxy          proxy            fake API servers       fake routers
                    └─ VIPs ──────┘           :6443                  :443 :80 :1936
                     10.0.0.100:6443 masters
                     10.0.0.101:443, :80 routers

keepalived moves the VIPs by VRRP; the proxy (HAProxy or Nginx) passes TLS through to the members and
checks their health.  There is a VIP for masters, for routers, or for both, and on demand a third
balancer, lb3 10.0.0.13.  `cl` learns a new owner of a VIP by ARP itself, `clx` depends on the router
`rt` learning it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.services.master import Master
from harness.services.proxy import Service
from harness.services.router import Router
from harness.topology import Interface, NodeSpec, ProbeSpec, Segment, Topology, Vip
from topologies import surroundings
from topologies.l7 import plan as plans
from topologies.l7 import proxies, vrrp
from topologies.l7.plan import Plan

SUMMARY = "keepalived moves VIPs between two proxies, which pass TLS through to masters or routers"

VIP = "10.0.0.100"
PORT = proxies.MASTERS_PORT
SERVER_NAME = "api.cluster.test"
BALANCERS = {"lb1": "10.0.0.11", "lb2": "10.0.0.12", "lb3": "10.0.0.13"}
CLIENTS = ("cl", "clx")

ROUTERS_VIP = "10.0.0.101"
DOMAIN = "apps.cluster.test"
PLAIN_APPLICATION = f"shop.{DOMAIN}"
# The console's plain HTTP is redirected to TLS, the shop's is served.
APPLICATIONS = {f"console.{DOMAIN}": "redirect", PLAIN_APPLICATION: "allow"}

OPTIONS = plans.OPTIONS


def topology(options: Mapping[str, Any]) -> Topology:
    """The architecture as data."""
    plan = plans.plan(options)
    masters = _addresses("m", 20, plan["masters"] if plan.serves_masters else 0)
    routers = _addresses("r", 80, plan["routers"] if plan.serves_routers else 0)
    nodes = (
        surroundings.trusting(surroundings.ROUTER, plan["arp_cache"]),
        *(_master(name, address) for name, address in masters.items()),
        *(_router(name, address) for name, address in routers.items()),
        *(_balancer(name, plan, masters, routers) for name in _balancers(plan)),
        *(surroundings.trusting(client, plan["arp_cache"]) for client in surroundings.CLIENTS),
    )
    return Topology(
        "vip-l7",
        options,
        (Segment("lan"), Segment("outside")),
        nodes,
        tuple(_vips(plan)),
        tuple(probe for client in CLIENTS for probe in _probes(client, plan)),
    )


def _balancers(plan: Plan) -> dict[str, str]:
    return dict(list(BALANCERS.items())[: plan["balancers"]])


def _addresses(prefix: str, base: int, count: int) -> dict[str, str]:
    return {f"{prefix}{n}": f"10.0.0.{base + n}" for n in range(1, count + 1)}


def _vips(plan: Plan) -> Iterator[Vip]:
    if plan.serves_masters:
        yield Vip(VIP, PORT, "masters")
    if plan.serves_routers:
        for port in (443, 80):
            yield Vip(ROUTERS_VIP, port, "routers")


def _probes(client: str, plan: Plan) -> Iterator[ProbeSpec]:
    """On 443 each client asks for another application, so that choosing by SNI matters.

    `cl` measures; `clx` only has to show that the router learnt as well, so it asks less often.
    """
    share = 1.0 if client == CLIENTS[0] else 0.25
    if plan.serves_masters:
        yield ProbeSpec(client, VIP, PORT, SERVER_NAME, share=share)
    if plan.serves_routers:
        host = list(APPLICATIONS)[CLIENTS.index(client)]
        yield ProbeSpec(client, ROUTERS_VIP, 443, host, "/", certificate=(host,), share=share)
        yield ProbeSpec(client, ROUTERS_VIP, 80, PLAIN_APPLICATION, "/", tls=False, share=share)


def _master(name: str, address: str) -> NodeSpec:
    interface = Interface("eth0", "lan", (f"{address}/24",))
    server = Master(name, address, PORT, names=(SERVER_NAME, VIP, address))
    return NodeSpec(name, "member", (interface,), {"0.0.0.0/0": "10.0.0.1"}, services=(server,))


def _router(name: str, address: str) -> NodeSpec:
    interface = Interface("eth0", "lan", (f"{address}/24",))
    server = Router(name, address, APPLICATIONS, f"*.{DOMAIN}")
    return NodeSpec(name, "member", (interface,), {"0.0.0.0/0": "10.0.0.1"}, services=(server,))


def _balancer(name: str, plan: Plan, masters: Mapping[str, str], routers: Mapping[str, str]) -> NodeSpec:
    balancers = _balancers(plan)
    address = balancers[name]
    peers = [peer for other, peer in balancers.items() if other != name]
    virtual: list[vrrp.VirtualRouter] = []
    balanced: list[Service] = []
    if plan.serves_masters:
        virtual.append(vrrp.VirtualRouter("api", 51, VIP))
        balanced += proxies.masters(VIP, masters, plan)
    if plan.serves_routers:
        swapped = plan["priorities"] == "opposite"
        virtual.append(vrrp.VirtualRouter("ingress", 52, ROUTERS_VIP, swapped))
        balanced += proxies.routers(ROUTERS_VIP, routers, DOMAIN, plan)
    nonlocal_bind = {"net.ipv4.ip_nonlocal_bind": "1"} if plan["nonlocal_bind"] else {}
    return NodeSpec(
        name,
        "balancer",
        (Interface("eth0", "lan", (f"{address}/24",)),),
        {"0.0.0.0/0": "10.0.0.1"},
        nonlocal_bind if plan["bind"] == "vip" else {},
        services=(
            proxies.proxy(balanced, plan),
            vrrp.service(plan, virtual, address, peers, number=list(balancers).index(name) + 1),
        ),
        opaque=plan["opaque"],
    )
