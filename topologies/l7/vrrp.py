"""A1's keepalived: an instance for each VIP, and what it tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.services import keepalived
from topologies.l7 import proxies
from topologies.l7.plan import Plan


@dataclass(frozen=True)
class VirtualRouter:
    """A VIP as keepalived knows it; `reversed_` where the first two balancers' priorities are swapped."""

    name: str
    vrid: int
    address: str
    reversed_: bool = False


_SWAPPED = {1: 2, 2: 1}


def service(
    plan: Plan, routers: Sequence[VirtualRouter], own: str, peers: Sequence[str], *, number: int
) -> keepalived.Keepalived:
    """keepalived of one balancer, the one that `priority<number>` belongs to."""
    instances = tuple(_instance(plan, router, own, peers, number=number) for router in routers)
    tracks = plan["track"].startswith("script")
    blocks = (_script_block(plan),) if tracks else ()
    # A script that others could change would be theirs to run as root: keepalived then refuses it.
    security = ("script_user root", "enable_script_security") if tracks else ()
    text = keepalived.render(
        instances,
        version=plan["vrrp_version"],
        globals_=(*security, *plan.lines("globals"), *(plan.lines("globals2") if number == 2 else ())),
        blocks=blocks,
    )
    own_script = tracks and not plan["script"]
    extra = {proxies.SCRIPT: proxies.script(plan["script_timeout"])} if own_script else {}
    return keepalived.Keepalived(text, extra)


def _instance(
    plan: Plan, router: VirtualRouter, own: str, peers: Sequence[str], *, number: int
) -> keepalived.VrrpInstance:
    preferred = _SWAPPED.get(number, number) if router.reversed_ else number
    tracked: tuple[str, ...] = ()
    if plan["track"].startswith("script"):
        tracked = ("track_script {", "    check_proxy", "}")
    return keepalived.VrrpInstance(
        name=router.name,
        interface="eth0",
        vrid=router.vrid,
        priority=plan[f"priority{preferred}"],
        advert_int_s=plan["advert_int"],
        addresses=(f"{router.address}/24",),
        nopreempt=not plan["preempt"],
        preempt_delay_s=plan["preempt_delay"],
        unicast_source=own if plan["unicast"] else "",
        unicast_peers=tuple(peers) if plan["unicast"] else (),
        extra=(*tracked, *plan.lines("instance"), *(plan.lines("instance2") if number == 2 else ())),
    )


def _script_block(plan: Plan) -> str:
    lines = [
        f'script "{plan["script"] or proxies.SCRIPT}"',
        f"interval {plan['script_interval']:g}",
        f"timeout {plan['script_timeout']:g}",
        f"fall {plan['script_fall']}",
        f"rise {plan['script_rise']}",
    ]
    if plan.weight:
        lines.append(f"weight -{plan.weight}")
    return "vrrp_script check_proxy {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
