"""Timelines made by hand in which IPVS directors have three members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from checks.selftest.pooled import MEMBERS, PoolLab
from checks.selftest.synthetic import VIP

CHECK = "TCP_CHECK {\nconnect_timeout 0.5\n}"
SERVICE = f"TCP {VIP}:6443"


def virtual_server(
    check: str = CHECK,
    method: str = "DR",
    lines: str = "",
    scheduler: str = "rr",
    weights: Mapping[str, int] | None = None,
) -> str:
    """A virtual_server for these members: delay_loop 1 s, one retry after 0.5 s."""
    servers = "".join(
        f"real_server {address} 6443 {{\nweight {(weights or {}).get(name, 1)}\n{check}\n}}\n"
        for name, address in MEMBERS.items()
    )
    return (
        f"virtual_server {VIP} 6443 {{\nprotocol TCP\nlvs_sched {scheduler}\nlvs_method {method}\n"
        f"delay_loop 1\nretry 1\ndelay_before_retry 0.5\n{lines}\n{servers}}}\n"
    )


class DirectorLab(PoolLab):
    """A lab whose owner lb1 forwards packets by keepalived's virtual servers; no proxy runs."""

    def __init__(self, blocks: str = "", *, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(blocks=blocks or virtual_server())
        self.events = [e for e in self.events if e.get("service") != "haproxy"]
        self.events[0].data["options"] = dict(options or {})

    def tabled(self, at_s: float, change: str = "add", member: str = "m1", weight: int = 1) -> None:
        """The owner's table changes about a member."""
        self.add(
            at_s,
            "ipvs",
            node="lb1",
            service=SERVICE,
            change=change,
            member=f"{MEMBERS[member]}:6443",
            weight=weight,
            forward="DR",
        )
