"""Clients that stand beside members whose network has no VIP."""

from __future__ import annotations

from typing import Any

import pytest

import topologies
from harness.bystanders import bystanders
from harness.errors import UsageError
from harness.timeline import Event


def told(**options: Any) -> Event:
    """The head of a timeline of vip-l4 with these options."""
    topology = topologies.make("vip-l4", {"serve": "masters", **options})
    nodes = [
        {
            "name": node.name,
            "role": node.role,
            "interfaces": [{"name": i.name, "addresses": list(i.addresses)} for i in node.interfaces],
        }
        for node in topology.nodes
    ]
    vips = [{"address": vip.address, "port": vip.port, "service": vip.service} for vip in topology.vips]
    return Event(1, "run", {"nodes": nodes, "vips": vips})


def test_behind_nat_there_is_one_where_it_is_wished_for() -> None:
    assert bystanders(told(forwarding="nat", bystander=True)) == {"by"}
    assert bystanders(told(forwarding="nat")) == frozenset()


@pytest.mark.parametrize("forwarding", ["dr", "tun"])
def test_where_members_and_vip_share_a_network_there_is_none(forwarding: str) -> None:
    assert bystanders(told(forwarding=forwarding)) == frozenset()
    with pytest.raises(UsageError, match="cl stands beside the members already"):
        told(forwarding=forwarding, bystander=True)


def test_nobody_waits_until_it_is_served() -> None:
    probes = topologies.make("vip-l4", {"serve": "both", "forwarding": "nat", "bystander": True}).probes
    own = [probe for probe in probes if probe.client == "by"]
    assert [(probe.port, probe.awaited) for probe in own] == [(6443, False), (443, False), (80, False)]
