"""How a fault makes a member ill: for the connections of clients, and for the checks of a balancer.

The two need not be the same: that is what a health check on another path, or none at all, is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.bounds.checkers import Noticing, removal_by
from harness.bounds.haproxy import Illness, removal
from harness.configs.haproxy_server import Check
from harness.properties import ipvs_illness
from harness.properties.facts import Facts, FaultSpan
from harness.properties.pools import Pool, Pooled

# What ends or silences a whole member: its host, its link, its process.
_WHOLE: dict[str, Illness] = {
    "host-crash": "black-hole",
    "host-reboot": "black-hole",
    "kernel-panic": "black-hole",
    "link-down": "black-hole",
    "link-blocked": "black-hole",
    "freeze": "hang",
    "hang": "hang",
    "kill": "refused",
}


# ngx_stream_proxy_module asks for the socket's error when it takes a connection for established.
_RESET_EARLY = "a reset that comes before Nginx takes the connection for established counts as a failed one"
HEALTH_PATHS = {"/readyz", "/healthz", "/livez", "/healthz/ready"}


@dataclass(frozen=True)
class Ailment:
    """What a fault does to a member.

    `traffic` is what clients' connections meet, None where they are served as before; `check` what a
    balancer's check meets, None where it notices nothing, with `why`; `perhaps` where it may notice all
    the same, by chance.  `noticed` are those of keepalived's checkers that meet it.
    """

    traffic: Illness | None
    check: Illness | None
    why: str = ""
    perhaps: str = ""
    noticed: tuple[Noticing, ...] = ()


# Faults that may hit a member without making it ill.
_NO_ILLNESS = {
    "arp-spoof": "it is its neighbours that are lied to",
    "backend-limit": "it serves so many connections as before, and lets others wait",
    "drain": "it is only given no new connections",
    "partition": "whom it serves depends on who reaches it",
    "garp-drop": "it misses announcements only",
    "loss": "how many packets in a row are lost is chance",
    "delay": "it is only further away",
    "jitter": "it is only further away",
    "reorder": "its packets come in another order",
    "duplicate": "its packets come twice",
    "rate": "its link is only narrower",
    "cpu-steal": "it is only slower",
    "cpu-quota": "it is only slower",
    "restart": "it is back at once",
    "reload": "it goes on",
}


def no_illness(fault: FaultSpan) -> str:
    """Why a fault is no illness of a member, where that is so; or nothing."""
    return _NO_ILLNESS.get(fault.fault, "")


def grace_s(facts: Facts, fault: FaultSpan, member: str) -> float:
    """How long a member that shuts down in order served on: until it told that it listens no more."""
    told = facts.timeline.of("note", since=fault.inject_ns, shutdown="drain")
    closed = next((note for note in told if str(note.text).startswith(f"{member} ")), None)
    return 0.0 if closed is None else (closed.t - fault.inject_ns) / 1e9


def ailment(facts: Facts, fault: FaultSpan, server: Pooled) -> Ailment | None:
    """What a fault does to a member as one balancer sees it; None where that is not known."""
    if fault.fault in _WHOLE:
        return _seen(server, _WHOLE[fault.fault])
    if fault.fault == "stop":
        return _graceful(server, grace_s(facts, fault, server.member))
    if not fault.fault.startswith("backend-"):
        return None
    given, illness = fault.parameters, fault.fault.removeprefix("backend-")
    if illness == "flap":
        illness = given.get("illness", "refuse")
    listeners = _listed(given, "listeners")
    if server.real is not None:
        return _of_real_server(illness, given, server, listeners)
    traffic_hit = not listeners or str(server.port) in listeners
    found = _of_backend(illness, given, server)
    if found is None or not listeners:
        return found
    asked = server.check.port if server.check is not None else ""
    if (asked or str(server.port)) not in listeners:
        why = f"the check asks port {asked or server.port}, which is well"
        return Ailment(found.traffic if traffic_hit else None, None, why)
    return Ailment(found.traffic if traffic_hit else None, found.check, found.why)


def _listed(given: Mapping[str, str], name: str) -> list[str]:
    return [part for part in given.get(name, "").split("+") if part]


def _of_backend(illness: str, given: Mapping[str, str], server: Pooled) -> Ailment | None:
    """An illness of a fake server, by its name."""
    stage = given.get("stage", "request")
    if illness == "refuse":
        return _seen(server, "refused")
    if illness == "blackhole":
        return _seen(server, "black-hole")
    if illness == "hang":
        return _partly(given, server, "hang", early=stage == "accept")
    if illness in ("close", "reset"):
        early = stage == "accept"
        return _partly(given, server, "wrong-answer", early=early, reset=illness == "reset")
    if illness in ("status", "plain"):
        return _partly(given, server, "wrong-answer", early=illness == "plain")
    if illness == "badcert":
        return _bad_certificate(server)
    return _slow(given, server) if illness == "slow" else None


# What an illness of a fake server is to those who connect, and whether it shows before any request.
_AS_SEEN: dict[str, tuple[Illness, bool]] = {
    "refuse": ("refused", True),
    "blackhole": ("black-hole", True),
    "hang": ("hang", False),
    "close": ("wrong-answer", False),
    "reset": ("wrong-answer", False),
    "status": ("wrong-answer", False),
    "plain": ("wrong-answer", True),
}


def _of_real_server(
    illness: str, given: Mapping[str, str], server: Pooled, listeners: list[str]
) -> Ailment | None:
    """An illness of a fake server, by its name, as keepalived's checkers meet it."""
    checkers = server.checkers
    hit = not listeners or str(server.port) in listeners
    if illness == "slow":
        noticed = ipvs_illness.slow(checkers, given)
        return _noticed(server, "hang" if hit else None, "hang", noticed)
    if illness == "badcert":
        return Ailment(
            "wrong-answer" if hit else None, None, "no checker of keepalived verifies certificates"
        )
    if illness not in _AS_SEEN:
        return None
    met, early = _AS_SEEN[illness]
    paths = [] if early or given.get("stage") == "accept" else _listed(given, "paths")
    # Paths are named to hit a health page, or to spare it: clients ask for something else.
    spared = bool(paths) and set(paths) <= HEALTH_PATHS
    noticed = ipvs_illness.partly(checkers, met, listeners, paths)
    return _noticed(server, met if hit and not spared else None, met, noticed)


def _noticed(
    server: Pooled, traffic: Illness | None, illness: Illness, noticed: tuple[Noticing, ...]
) -> Ailment:
    if not noticed:
        return Ailment(traffic, None, ipvs_illness.unnoticed(server.checkers, illness))
    return Ailment(traffic, illness, noticed=noticed)


def _seen(server: Pooled, illness: Illness) -> Ailment:
    """The whole member is ill, so its checks meet what its clients meet."""
    if server.real is not None:
        return _noticed(server, illness, illness, ipvs_illness.whole(server.checkers, illness))
    if server.passive is not None:
        return Ailment(illness, illness)
    if server.check is None:
        return Ailment(illness, None, f"there is no `check` on the server line of {server.member}")
    if _blind(server.check, illness):
        return Ailment(illness, None, _connects_only(illness))
    return Ailment(illness, illness)


def _partly(
    given: Mapping[str, str], server: Pooled, illness: Illness, *, early: bool, reset: bool = False
) -> Ailment:
    """An illness of connections (`early`: before any request) or of requests, perhaps of some paths only."""
    if early or server.passive is not None or server.check is None:
        seen = _seen(server, illness)
        return replace(seen, perhaps=_RESET_EARLY) if early and server.passive is not None and reset else seen
    paths = _listed(given, "paths")
    asked = server.check.request.rpartition(" ")[2]
    # Paths are named to hit the health page, or to spare it: clients ask for something else.
    traffic = None if paths and asked in paths else illness
    if server.check.kind != "http":
        traffic = None if paths and set(paths) <= HEALTH_PATHS else illness
        kind = "a TLS handshake" if server.check.tls else "a connection"
        return Ailment(traffic, None, f"the check asks for no page, it is {kind}")
    if paths and asked not in paths:
        return Ailment(traffic, None, f"the check asks for {asked}, which is well")
    return Ailment(traffic, illness)


def _bad_certificate(server: Pooled) -> Ailment:
    if server.check is not None and server.check.tls and server.verifies:
        return Ailment("wrong-answer", "wrong-answer")
    return Ailment("wrong-answer", None, "the check does not verify certificates")


def _slow(given: Mapping[str, str], server: Pooled) -> Ailment:
    """Slower than a check may be is hung for the check; clients have their own patience."""
    delay_ms = float(given.get("delay_s", "0")) * 1000
    check = server.check
    if check is None or check.kind != "http":
        return Ailment("hang", None, "the check does not wait for an answer")
    if delay_ms > check.silence_limit_ms:
        return Ailment("hang", "hang")
    return Ailment("hang", None, f"{delay_ms:g} ms is within the check's {check.silence_limit_ms} ms")


def _graceful(server: Pooled, serves_s: float) -> Ailment:
    """A member that shuts down in order fails its readiness first, serves on for a while, then stops."""
    if ready := ipvs_illness.not_ready(server.checkers, HEALTH_PATHS):
        gone = removal_by(list(ready))
        served = gone is not None and serves_s >= gone.high
        return _noticed(server, None if served else "refused", "wrong-answer", ready)
    check = server.check
    if check is not None and check.kind == "http":
        gone = removal(check, "wrong-answer")
        served_long = gone is not None and serves_s >= gone.high
        return Ailment(None if served_long else "refused", "wrong-answer")
    return _seen(server, "refused")


def _blind(check: Check, illness: Illness) -> bool:
    return check.kind == "connect" and not check.tls and illness in ("hang", "wrong-answer")


def _connects_only(illness: Illness) -> str:
    return f"the check only connects, which a member with this illness ({illness}) lets it do"


def weight_of_the_well(facts: Facts, pool: Pool, t_ns: int) -> int:
    """The weight of a director's members that no fault makes ill at a moment in a way that checks notice."""
    well = 0
    for server in pool.servers:
        acting = (f for f in facts.faults if server.member in f.nodes and f.surely_acts_at(t_ns))
        illnesses = (ailment(facts, fault, server) for fault in acting)
        well += 0 if any(i is not None and i.noticed for i in illnesses) else server.weight
    return well
