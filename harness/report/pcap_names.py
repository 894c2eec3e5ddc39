"""Who is who on the wire: the names that a capture carries for addresses, from the timeline's `run` event."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface

from harness.timeline import Timeline


def addresses_of(timeline: Timeline) -> dict[bytes, str]:
    """Packed addresses with their nodes' names; a VIP is called `VIP`, or `VIP-service` among several."""
    run = timeline.first("run")
    if run is None:
        return {}
    names: dict[bytes, str] = {}
    for node in run.nodes:
        for interface in node["interfaces"]:
            for address in interface["addresses"]:
                names[ip_interface(address).ip.packed] = node["name"]
    vips = {vip["address"]: vip["service"] for vip in run.vips}
    for address, service in vips.items():
        alone = len(vips) == 1
        shared = list(vips.values()).count(service) > 1
        names[ip_address(address).packed] = "VIP" if alone else f"VIP-{address if shared else service}"
    return names


def ports_on(timeline: Timeline, segment: str) -> list[str]:
    """The ports of a segment as `node:interface mac`."""
    run = timeline.first("run")
    if run is None:
        return []
    return [
        f"{node['name']}:{interface['name']} {interface['mac']}"
        for node in run.nodes
        for interface in node["interfaces"]
        if interface["segment"] == segment
    ]
