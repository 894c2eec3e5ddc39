"""A2 vip-l4: a VIP and IPVS, active/standby.

dr, tun: members answer the clients themselves

        clx                    cl
    198.51.100.10           10.0.0.10
         │                      │
      ───┴── outside            │
         │                      │
        rt ─────────┬───────────┴─┬──────── lan 10.0.0.0/24
                    │             │             │      │      │        │      │
              lb1 10.0.0.11  lb2 10.0.0.12     m1     m2     m3       r1     r2
              keepalived     keepalived       .21    .22    .23      .81    .82
              IPVS           IPVS             fake API servers       fake routers
                    └─ VIPs ──────┘           :6443                  :443 :80 :1936
                     10.0.0.100:6443 masters  VIPs on lo, told to nobody by ARP
                     10.0.0.101:443, :80 routers
                     10.0.0.102:53 resolvers (d1, d2 .61 .62, by UDP)

nat: members stand behind the directors, who are their way out

        rt ─────────┬─────────────┬──────── lan 10.0.0.0/24
                    │             │
              lb1 .11        lb2 .12
                    │             │             m1 … m3        r1, r2
                  ──┴─────────────┴─────────────┴──────────────┴───── back 10.0.1.0/24
                     10.0.1.1, which moves with the VIPs           └ by .90 (--bystander yes)

dr --two-nics yes: eth0 of a member is on lan, as above, and eth1 on back, where directors find it

keepalived moves the VIPs by VRRP, keeps the IPVS tables of both directors and checks the members.  Only
the packets of clients cross a director with dr and tun, those of members as well with nat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.services.base import Service
from harness.services.master import Master
from harness.services.resolver import Resolver
from harness.services.router import Router
from harness.topology import Interface, NodeSpec, ProbeSpec, Segment, Topology, Vip
from topologies import surroundings
from topologies.l4 import checks, directors, members
from topologies.l4 import plan as plans
from topologies.l4.directors import Pool
from topologies.l4.plan import Plan

SUMMARY = "keepalived moves VIPs between two IPVS directors, which pass packets on to their members"

VIP, ROUTERS_VIP, RESOLVERS_VIP = "10.0.0.100", "10.0.0.101", "10.0.0.102"
PORT, DNS = checks.MASTERS_PORT, 53
SERVER_NAME = "api.cluster.test"
DOMAIN = "apps.cluster.test"
PLAIN_APPLICATION = f"shop.{DOMAIN}"
APPLICATIONS = {f"console.{DOMAIN}": "redirect", PLAIN_APPLICATION: "allow"}
DIRECTORS = {"lb1": 11, "lb2": 12}
CLIENTS = ("cl", "clx")
# A connection that the next director knows of goes on with TCP's next retransmission, so clients wait.
PATIENCE_S = 3.0
_SORRY, _BESIDE = 99, 90
BYSTANDER = "by"

OPTIONS = plans.OPTIONS


def topology(options: Mapping[str, Any]) -> Topology:
    """The architecture as data."""
    plan = plans.plan(options)
    segments = (Segment("lan"), Segment("outside"), *([Segment("back")] if plan.back else []))
    clients = (*CLIENTS, *([BYSTANDER] if plan["bystander"] else []))
    nodes = (
        surroundings.ROUTER,
        *_members(plan),
        *(_director(name, plan) for name in DIRECTORS),
        *surroundings.CLIENTS,
        *_bystander(plan),
    )
    return Topology(
        "vip-l4",
        options,
        segments,
        nodes,
        tuple(Vip(pool.vip, port, pool.name) for pool in _pools(plan) for port in pool.ports),
        tuple(probe for client in clients for probe in _probes(client, plan)),
    )


def _pools(plan: Plan) -> Iterator[Pool]:
    sorry = f"{members.place(plan).prefix}.{_SORRY}" if plan["sorry"] else ""
    if plan.serves_masters:
        masters = members.addresses(plan, "m", 20, plan["masters"])
        yield Pool("masters", 51, VIP, (PORT,), masters, checks.of_masters(plan), sorry)
    if plan.serves_routers:
        routers = members.addresses(plan, "r", 80, plan["routers"])
        how = checks.of_routers(plan, next(iter(APPLICATIONS)))
        swapped = plan["priorities"] == "opposite"
        yield Pool("routers", 52, ROUTERS_VIP, (443, 80), routers, how, sorry, reversed_=swapped)
    if plan.serves_resolvers:
        resolvers = members.addresses(plan, "d", 60, plan["resolvers"])
        how = checks.of_resolvers(plan)
        yield Pool("resolvers", 53, RESOLVERS_VIP, (DNS,), resolvers, how, sorry, "UDP")


def _members(plan: Plan) -> Iterator[NodeSpec]:
    pools = {pool.name: pool for pool in _pools(plan)}
    for kind, pool in pools.items():
        for name, address in pool.members.items():
            yield members.member(plan, name, address, (pool.vip,), _server(kind, plan, name, address))
    if plan["sorry"]:
        address = f"{members.place(plan).prefix}.{_SORRY}"
        vips = [pool.vip for pool in pools.values()]
        yield members.member(
            plan, "sorry", address, vips, *(_server(kind, plan, "sorry", address) for kind in pools)
        )


def _server(kind: str, plan: Plan, name: str, address: str) -> Service:
    where = members.listens_on(plan, address)
    if kind == "resolvers":
        return Resolver(name, (address,) if plan.nat else (address, RESOLVERS_VIP), DNS)
    if kind == "masters":
        return Master(name, where, PORT, names=(SERVER_NAME, VIP, address))
    return Router(name, where, APPLICATIONS, f"*.{DOMAIN}")


def _director(name: str, plan: Plan) -> NodeSpec:
    own, others = f"10.0.0.{DIRECTORS[name]}", [f"10.0.0.{n}" for d, n in DIRECTORS.items() if d != name]
    interfaces = [Interface("eth0", "lan", (f"{own}/24",))]
    back = members.BACK
    if plan.back:
        interfaces.append(Interface("eth1", back.segment, (f"{back.prefix}.{DIRECTORS[name]}/24",)))
    gateway = f"{back.gateway}/24" if plan.nat else ""
    first = name == next(iter(DIRECTORS))
    rules = [directors.masquerade(f"{back.prefix}.0/24")] if plan["masquerade"] else []
    rules += [directors.tracking()] if plan["conntrack"] else []
    return NodeSpec(
        name,
        "balancer",
        tuple(interfaces),
        {"0.0.0.0/0": "10.0.0.1"},
        directors.sysctls(plan),
        services=(
            *rules,
            directors.service(plan, list(_pools(plan)), own, others, gateway, first=first),
        ),
        opaque=plan["opaque"],
        needs=directors.modules(plan),
    )


def _bystander(plan: Plan) -> tuple[NodeSpec, ...]:
    """A client in the members' own segment, who has the way out that they have."""
    if not plan["bystander"]:
        return ()
    where = members.BACK
    own = Interface("eth0", where.segment, (f"{where.prefix}.{_BESIDE}/24",))
    return (NodeSpec(BYSTANDER, "client", (own,), {"0.0.0.0/0": where.gateway}),)


def _probes(client: str, plan: Plan) -> Iterator[ProbeSpec]:
    """As in A1: `cl` measures, `clx` shows that the router learnt as well, so it asks less often.

    Nobody waits for a bystander, who is served only where the directors masquerade.
    """
    share = 1.0 if client == CLIENTS[0] else 0.25
    how: dict[str, Any] = {
        "share": share,
        "patience_s": PATIENCE_S,
        "awaited": client in CLIENTS,
        "ports": plan["client_ports"],
    }
    if plan.serves_resolvers:
        how["patience_s"] = 0.0
        yield ProbeSpec(client, RESOLVERS_VIP, DNS, "id.server", "", tls=False, protocol="udp", **how)
    if plan.serves_masters:
        yield ProbeSpec(client, VIP, PORT, SERVER_NAME, upload=plan["upload"], **how)
    if plan.serves_routers:
        host = list(APPLICATIONS)[0 if client == CLIENTS[0] else 1]
        yield ProbeSpec(client, ROUTERS_VIP, 443, host, "/", certificate=(host,), **how)
        yield ProbeSpec(client, ROUTERS_VIP, 80, PLAIN_APPLICATION, "/", tls=False, **how)
