"""A2's directors: keepalived with a VRRP instance for each VIP and a virtual server for each port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.services import keepalived
from harness.services.firewall import Firewall
from harness.services.ipvs import Check, RealServer, Timing, VirtualServer
from topologies.l4 import checks
from topologies.l4.plan import Plan


@dataclass(frozen=True)
class Pool:
    """What stands behind a VIP: the ports that are balanced, the members' addresses, their checks."""

    name: str
    vrid: int
    vip: str
    ports: tuple[int, ...]
    members: Mapping[str, str]
    checks: tuple[Check, ...]
    sorry: str = ""
    protocol: Literal["TCP", "UDP"] = "TCP"
    reversed_: bool = False


def service(
    plan: Plan, pools: Sequence[Pool], own: str, peers: Sequence[str], gateway: str, *, first: bool
) -> keepalived.Keepalived:
    """keepalived of one director; `gateway` is the members' default route, which moves with the VIPs."""
    if plan.nat:
        # The members have one gateway, so all VIPs move as one.
        instances = [_instance(plan, pools[0], pools, own, peers, gateway, first=first)]
    else:
        instances = [_instance(plan, pool, [pool], own, peers, "", first=first) for pool in pools]
    blocks = [server.render() for pool in pools for server in _virtual_servers(plan, pool)]
    second = () if first else plan.lines("globals2")
    text = keepalived.render(
        tuple(instances),
        version=plan["vrrp_version"],
        globals_=(*_security(plan), *_sync(plan, instances[0].name), *plan.lines("globals"), *second),
        blocks=tuple(blocks),
    )
    return keepalived.Keepalived(text, checks.files(plan))


def _instance(
    plan: Plan,
    pool: Pool,
    pools: Sequence[Pool],
    own: str,
    peers: Sequence[str],
    gateway: str,
    *,
    first: bool,
) -> keepalived.VrrpInstance:
    inside = ("virtual_ipaddress_excluded {", f"    {gateway} dev eth1", "}") if gateway else ()
    return keepalived.VrrpInstance(
        name=pool.name,
        interface="eth0",
        vrid=pool.vrid,
        priority=plan["priority1" if first != pool.reversed_ else "priority2"],
        advert_int_s=plan["advert_int"],
        addresses=tuple(f"{each.vip}/24" for each in pools),
        nopreempt=not plan["preempt"],
        preempt_delay_s=plan["preempt_delay"],
        unicast_source=own if plan["unicast"] else "",
        unicast_peers=tuple(peers) if plan["unicast"] else (),
        extra=(*inside, *plan.lines("instance"), *(() if first else plan.lines("instance2"))),
    )


def _security(plan: Plan) -> tuple[str, ...]:
    """Scripts run as root, and only those that nobody else can change."""
    return ("script_user root", "enable_script_security") if plan["check"].startswith("misc") else ()


def _sync(plan: Plan, instance: str) -> tuple[str, ...]:
    if plan["sync"] == "off":
        return ()
    return (
        f"lvs_sync_daemon eth0 inst {instance}" if plan["sync"] == "instance" else "lvs_sync_daemon eth0",
    )


def _virtual_servers(plan: Plan, pool: Pool) -> Iterator[VirtualServer]:
    timing = Timing(plan["delay_loop"], plan["retry"], plan["delay_before_retry"], plan["warmup"])
    for port in pool.ports:
        servers = tuple(
            RealServer(address, port, plan.weight(position), pool.checks)
            for position, address in enumerate(pool.members.values())
        )
        yield VirtualServer(
            address=pool.vip,
            port=port,
            servers=servers,
            method=plan.method,
            scheduler=plan["scheduler"],
            timing=timing,
            flags=(*plan.flags, *(("ops",) if plan["ops"] else ())),
            quorum=plan["quorum"],
            hysteresis=plan["hysteresis"],
            alpha=plan["alpha"],
            omega=plan["omega"],
            inhibit_on_failure=plan["inhibit_on_failure"],
            persistence_s=plan["persistence"],
            sorry=(pool.sorry, port) if pool.sorry else None,
            protocol=pool.protocol,
            extra=plan.lines("server"),
        )


def sysctls(plan: Plan) -> dict[str, str]:
    """What a director's kernel must be told (Documentation/networking/ipvs-sysctl.rst)."""
    switches = {
        "net.ipv4.vs.expire_nodest_conn": plan["expire_nodest_conn"],
        "net.ipv4.vs.expire_quiescent_template": plan["expire_quiescent_template"],
        "net.ipv4.vs.sloppy_tcp": plan["sloppy_tcp"],
        "net.ipv4.vs.conntrack": plan["masquerade"] or plan["conntrack"],
    }
    told = {name: "1" for name, on in switches.items() if on}
    if not plan["pmtu_disc"]:
        told["net.ipv4.vs.pmtu_disc"] = "0"
    if plan["conn_reuse_mode"] != 1:
        told["net.ipv4.vs.conn_reuse_mode"] = str(plan["conn_reuse_mode"])
    if plan["sync"] != "off":
        told["net.ipv4.vs.sync_threshold"] = plan["sync_threshold"].replace(" ", "\t")
    return {"net.ipv4.ip_forward": "1", **told}


def masquerade(inside: str) -> Firewall:
    """Members see the director itself as the client, so that every answer comes back to it."""
    return Firewall((f"nat POSTROUTING -o eth1 -d {inside} -j MASQUERADE",), name="masquerade")


def tracking() -> Firewall:
    """A rule that asks for the state of connections, as any stateful firewall has: the kernel tracks them."""
    return Firewall(("filter INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",), name="tracking")


def modules(plan: Plan) -> tuple[str, ...]:
    """What a director's kernel must have."""
    return ("ip_vs", f"ip_vs_{plan['scheduler']}")
