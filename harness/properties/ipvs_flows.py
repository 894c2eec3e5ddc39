"""What becomes of a connection through IPVS when its director or its member goes.

A director keeps an entry for each connection; another one that was not told of it (sync daemon,
Documentation/networking/ipvs-sysctl.rst: sync_threshold) takes its next packet for one of nobody's and
answers with a reset, unless it may begin a connection with any packet (sloppy_tcp) and would choose the
same member (sh, mh).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.properties.facts import SECOND_NS, Facts, speaker_name
from harness.properties.in_force import keepalived_at
from harness.properties.pools import Pool
from harness.properties.streams import Stream

# An exchange on a connection that is kept costs a client a packet with the request and an acknowledgement.
_PACKETS_AN_EXCHANGE = 2
_THRESHOLD = "3 50"
_HASHES = ("sh", "mh")


@dataclass(frozen=True)
class Inheritance:
    """Whether the next director knows a connection, or would treat it alike; None: chance decides."""

    survives: bool | None
    why: str


def option(facts: Facts, name: str, default: Any) -> Any:
    """A setting of the directors' kernels, as the architecture was told it."""
    return facts.timeline.run.options.get(name, default)


def by_udp(facts: Facts, stream: Stream) -> bool:
    """Whether a stream is of datagrams, by what its target is in the directors' configurations."""
    port = int(stream.target.rpartition(":")[2])
    virtual = [v for config in facts.configs.values() for v in config.virtual_servers]
    return any((v.address, v.port, v.protocol) == (stream.address, port, "UDP") for v in virtual)


def inheritance(facts: Facts, pool: Pool, heir: str, stream: Stream, t_ns: int) -> Inheritance:
    """What a new director makes of a connection that was its predecessor's until a moment."""
    told = _told(facts, pool.balancer, heir, stream, t_ns)
    if told is not None:
        return told
    if not option(facts, "sloppy_tcp", False):
        return Inheritance(False, f"{heir} knows nothing of {pool.balancer}'s connections and resets them")
    port_hashed = any(flag.endswith("-port") for flag in (pool.virtual.flags if pool.virtual else ()))
    if pool.algorithm in _HASHES:
        what = "address and port" if port_hashed else "address"
        return Inheritance(True, f"{heir} gives the client's {what} the same member ({pool.algorithm})")
    return Inheritance(None, f"with sloppy_tcp {heir} gives it any member, perhaps the same")


def _told(facts: Facts, owner: str, heir: str, stream: Stream, t_ns: int) -> Inheritance | None:
    configs = [keepalived_at(facts.timeline, node, t_ns) for node in (owner, heir)]
    daemons = [config.sync_daemon for config in configs if config is not None]
    told = daemons[0] if len(daemons) == len(configs) and None not in daemons else None
    if told is None:
        return None
    threshold, period = (int(word) for word in str(option(facts, "sync_threshold", _THRESHOLD)).split())
    exchanges = [a for a in _of_this_connection(stream, t_ns) if a.result == "ok"]
    packets = len(exchanges) * _PACKETS_AN_EXCHANGE
    young = bool(exchanges) and exchanges[0].end < _master_since(facts, stream, owner, t_ns) + SECOND_NS
    if young and threshold <= packets < threshold + period:
        why = f"it began as {owner} became MASTER, perhaps before both sync daemons ran"
        return Inheritance(None, f"{why}, which tells of it again after {period} packets only")
    if packets < threshold:
        why = f"{owner} tells of a connection from its packet {threshold} on, and it had no more than that"
        return Inheritance(False, why)
    return Inheritance(True, f"{owner} had told {heir} of it (lvs_sync_daemon)")


def _master_since(facts: Facts, stream: Stream, owner: str, t_ns: int) -> int:
    """When the owner of a moment began to announce the address without a break by another."""
    adverts = [a for r in facts.routers if stream.address in r.addresses for a in r.adverts if a.t <= t_ns]
    since = t_ns
    for advert in reversed(adverts):
        if speaker_name(advert) != owner:
            break
        since = advert.t
    return since


def _of_this_connection(stream: Stream, t_ns: int) -> list[Any]:
    """The exchanges on the connection that was open at a moment."""
    found: list[Any] = []
    for exchange in stream.attempts:
        if exchange.end >= t_ns:
            break
        if exchange.get("reconnected"):
            found = []
        found.append(exchange)
    return found


def patience_s(facts: Facts, client: str) -> float | None:
    """How long a client's connection may stand still before it gives it up, where that was told."""
    told: dict[str, float] = facts.timeline.run.get("patience_s") or {}
    return told.get(client)
