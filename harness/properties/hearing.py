"""What a fault of the network does to advertisements: who hears whose no more, and how late they come."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.properties.facts import FaultSpan

# Faults of links and segments; of those with a direction, `in` is towards the node.
NETWORK = (
    *("link-blocked", "link-oneway", "vrrp-drop", "partition", "port-security"),
    *("delay", "jitter", "reorder", "duplicate", "rate"),
)
# What waits in the queue of a capped link at most (the faults' documentation).
_RATE_QUEUE_S = 0.05
_CUT = re.compile(r"(\S+) hears no ([^;\s]+)")

_MAY_BE_LATE = ("delay", "jitter", "reorder", "rate", "cpu-steal", "cpu-quota")
_CHANCE = "how many packets in a row are lost is chance"
_NOBODY_SAYS = "no configuration says what a host does without it"
_NO_GUARD = "neither VRRP nor the proxy guards against it"
_UNPROMISED = {
    "loss": _CHANCE,
    "cpu-steal": "a host that stands still for so long may miss any timer",
    "cpu-quota": "a host that stands still for so long may miss any timer",
    "delay": "advertisements may be later than the time-out of a backup",
    "jitter": "advertisements may be later than the time-out of a backup",
    "reorder": "advertisements may be later than the time-out of a backup",
    "rate": "advertisements may be later than the time-out of a backup",
    "fds-exhausted": _NOBODY_SAYS,
    "disk-full": _NOBODY_SAYS,
    "conntrack-full": _NOBODY_SAYS,
    "file-missing": _NOBODY_SAYS,
    "file-mode": _NOBODY_SAYS,
    "address-removed": _NO_GUARD,
    "arp-spoof": _NO_GUARD,
}


def unpromised(fault: FaultSpan) -> str:
    """Why nothing is promised under a fault, where that may be; or nothing."""
    return _UNPROMISED.get(fault.fault, "")


def by_chance(fault: FaultSpan) -> bool:
    """Whether advertisements may be late or lost under a fault that promises nothing of them."""
    return fault.fault in (*_MAY_BE_LATE, "loss", "conntrack-full", "fds-exhausted", "address-removed")


def unheard(fault: FaultSpan, speaker: str, listener: str) -> bool:
    """Whether a fault keeps a node's advertisements from another node."""
    if fault.fault == "partition":
        return speaker in cuts(fault).get(listener, ())
    if fault.fault == "link-blocked":
        # A listener behind such a port hears nothing either, but what it then does reaches nobody.
        return speaker in fault.nodes
    if fault.fault == "link-oneway":
        return (speaker if fault.parameters.get("lost") == "out" else listener) in fault.nodes
    if fault.fault == "vrrp-drop":
        direction = fault.parameters.get("direction", "both")
        out = direction != "in" and speaker in fault.nodes
        return out or (direction != "out" and listener in fault.nodes)
    return False


def hidden(fault: FaultSpan) -> set[str]:
    """The nodes whose advertisements a fault keeps off the wire, while they themselves reach everybody."""
    muted = fault.fault == "vrrp-drop" and fault.parameters.get("direction", "both") != "in"
    return set(fault.nodes) if muted else set()


def untold(fault: FaultSpan, speaker: str, listener: str) -> bool:
    """Whether a fault keeps a node's gratuitous ARP from another node."""
    if fault.fault in ("garp-drop", "link-down", "host-crash", "host-reboot"):
        return listener in fault.nodes
    if fault.fault == "port-security":
        return speaker in fault.nodes
    if fault.fault == "link-blocked" and listener in fault.nodes:
        return True
    return fault.fault != "vrrp-drop" and unheard(fault, speaker, listener)


def cut_off(fault: FaultSpan, nodes: Iterable[str]) -> set[str]:
    """Those of the speakers that a fault cuts off from all others, in one direction at least."""
    if fault.fault in ("link-down", "link-blocked", "link-oneway"):
        return set(nodes) & set(fault.nodes)
    if fault.fault != "partition":
        return set()
    unheard_by = cuts(fault)
    everybody = {*unheard_by, *(node for nodes in unheard_by.values() for node in nodes)}
    return {node for node in nodes if all(node in unheard_by.get(o, ()) for o in everybody - {node})} | {
        node for node in nodes if everybody - {node} <= unheard_by.get(node, set())
    }


def cuts(fault: FaultSpan) -> dict[str, set[str]]:
    """A partition's map as its detail tells it: for each node, those that it does not hear."""
    detail = str(fault.inject.get("detail", ""))
    return {sink: set(sources.split("+")) for sink, sources in _CUT.findall(detail)}


def late_s(fault: FaultSpan) -> float:
    """How much later than before an advertisement may come under a fault, in seconds."""
    given = fault.parameters
    milliseconds = float(given.get("ms", 0)) + float(given.get("jitter_ms", 0))
    if fault.fault in ("delay", "jitter", "reorder"):
        return milliseconds / 1000
    if fault.fault == "rate":
        return _RATE_QUEUE_S
    if fault.fault == "cpu-steal":
        return float(given["period_ms"]) * float(given["percent"]) / 100_000
    return float(given["period_ms"]) / 1000 if fault.fault == "cpu-quota" else 0.0
