"""Whether an event from a file has values of the right kind, so that judges need not ask."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

from harness.timeline import Event

_NUMBERS = {
    "vrrp": ("vrid", "version", "priority", "interval_cs"),
    "probe": ("seq", "end"),
    "lag": ("lag_ns",),
    "clock": ("offset_ns",),
}
_WORDS = {
    "config": ("node", "service", "path", "text"),
    "phase": ("name",),
    "service": ("node", "service", "state"),
    "node": ("node", "state"),
    "fault": ("id", "fault", "target", "state"),
    "address": ("node", "interface", "change"),
    "link": ("node", "interface"),
    "vrrp": ("segment", "node"),
    "arp": ("segment", "node", "op", "sender_mac", "sender_ip"),
    "icmp": ("segment", "node", "src", "dst", "what"),
    "neighbour": ("node", "interface"),
    "health": ("node", "service", "pool", "server"),
    "probe": ("client", "stream", "target", "result"),
    "run": ("architecture",),
}


def why_unsound(event: Event) -> str:
    """What is wrong with an event's values, or an empty string."""
    for name in _NUMBERS.get(event.kind, ()):
        if not isinstance(event.data[name], int):
            return f"a {event.kind!r} event whose {name} is {event.data[name]!r}"
    for name in _WORDS.get(event.kind, ()):
        if not isinstance(event.data[name], str):
            return f"a {event.kind!r} event whose {name} is {event.data[name]!r}"
    try:
        _look_into(event)
    except (KeyError, TypeError, ValueError) as error:
        return f"a {event.kind!r} event that is damaged inside ({type(error).__name__}: {error})"
    return ""


def _look_into(event: Event) -> None:
    """Raise for what is nested: addresses, and the description of the testbed."""
    if event.kind == "vrrp":
        for address in (event.src, *event.addresses):
            ip_address(address)
    elif event.kind == "neighbour":
        ip_address(event.address)
        _words([] if event.mac is None else [event.mac])
    elif event.kind == "address":
        ip_interface(event.address)
    elif event.kind == "fault":
        _words(event.get("nodes") or [])
    elif event.kind == "run":
        _words(event.segments)
        for vip in event.vips:
            ip_address(vip["address"])
            _words([vip["service"]])
        for node in event.nodes:
            _words([node["name"], node["role"]])
            for interface in node["interfaces"]:
                _words([interface["name"], interface["segment"], interface["mac"]])
                for address in interface["addresses"]:
                    ip_interface(address)


def _words(values: Any) -> None:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} is not a name")
