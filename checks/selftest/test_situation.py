"""What is the case right now, as far as waits depend on it."""

from __future__ import annotations

from typing import Any

import pytest

from checks.selftest.synthetic import VIP
from harness.situation import Situation
from harness.timeline import Event


def heard(*told: tuple[str, str]) -> Situation:
    """The situation after adverts (`advert`) and gratuitous ARP (`arp`) of nodes, in this order."""
    situation = Situation()
    for number, (kind, node) in enumerate(told):
        fields: dict[str, Any] = {"sender_ip": VIP, "gratuitous": True}
        if kind == "advert":
            fields = {"vrid": 51, "priority": 100, "addresses": [VIP]}
        situation.take(Event(number, {"advert": "vrrp"}.get(kind, kind), {"node": node, **fields}))
    return situation


@pytest.mark.parametrize(
    ("told", "mistold"),
    [
        ([("advert", "lb1"), ("arp", "lb1")], ""),
        ([("advert", "lb2"), ("advert", "lb1"), ("arp", "lb1"), ("arp", "lb2")], "lb2"),
        ([("advert", "lb2"), ("arp", "lb2"), ("advert", "lb1"), ("arp", "lb1")], ""),
        ([("advert", "lb2"), ("advert", "lb1"), ("arp", "lb2"), ("arp", "lb1")], ""),
        # What is no router may tell what it wants: that is for a check to find.
        ([("advert", "lb1"), ("arp", "lb1"), ("arp", "m1")], ""),
        ([("advert", "lb1")], ""),
    ],
)
def test_neighbours_that_were_told_of_another_router_last(told: list[tuple[str, str]], mistold: str) -> None:
    words = heard(*told).mistold()
    assert words == (f"neighbours were told last that {mistold} has {VIP}" if mistold else "")
    assert words in heard(*told).summary()
