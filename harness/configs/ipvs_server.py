"""`virtual_server`, `real_server` and `virtual_server_group` blocks of keepalived.conf, and lvs_sync_daemon.

Defaults and corrections as in keepalived 2.3.3's check_parser.c and check_data.c
(`validate_check_config`): no protocol is UDP, no scheduler wlc, no method NAT; a port that differs
from the virtual server's is set to it unless the method is NAT; a quorum beyond the sum of weights is
reduced to it, and a hysteresis as large as the quorum to one less; a real server named twice counts once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.configs.ipvs_checker import MOST, TIMING, Surroundings, is_checker, read_checkers
from harness.configs.ipvs_model import (
    Forwarding,
    RealServer,
    SorryServer,
    SyncDaemon,
    VirtualServer,
    VirtualServerGroup,
)
from harness.configs.keepalived_tree import Statement
from harness.configs.keepalived_values import Reader, Values, flag, number, read_block, switch, text

_PERSISTENCE_S = 360
_SCHEDULERS = (
    *("rr", "wrr", "lc", "wlc", "lblc", "sh", "mh", "dh", "fo", "ovf", "lblcr", "sed", "nq", "twos"),
)
_SCHEDULER_FLAGS = {"sh-port": "sh", "sh-fallback": "sh", "mh-port": "mh", "mh-fallback": "mh"}
_PLAIN_FLAGS = ("ops", "flag-1", "flag-2", "flag-3")


def _forwarding(field: str) -> Reader:
    def read(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
        word = values.word(statement)
        if word in ("NAT", "DR", "TUN"):
            return {field: word}
        values.remark(statement.where, f"{statement.text!r}: the method is NAT, DR or TUN, ignored")
        return {}

    return read


def _scheduler(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
    word = values.word(statement)
    if word in _SCHEDULERS:
        return {"scheduler": word}
    values.remark(statement.where, f"{statement.text!r}: no scheduler of keepalived's, ignored")
    return {}


def _flag(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    word, scheduler = statement.keyword, given.get("scheduler", "")
    if word in _SCHEDULER_FLAGS and _SCHEDULER_FLAGS[word] != scheduler:
        wanted = _SCHEDULER_FLAGS[word]
        values.remark(statement.where, f"{word} counts only after lvs_sched {wanted}, ignored")
        return {}
    return {"flags": (*given.get("flags", ()), word)}


def _persistence(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
    if not statement.arguments:
        return {"persistence_s": _PERSISTENCE_S}
    seconds = values.number(statement, 0, 1, 31 * 86400)
    return {"persistence_s": seconds} if seconds else {}


def _protocol(statement: Statement, _: Mapping[str, Any], values: Values) -> dict[str, Any]:
    word = values.word(statement).upper()
    if word in ("TCP", "UDP", "SCTP"):
        return {"protocol": word}
    values.remark(statement.where, f"{statement.text!r}: the protocol is TCP, UDP or SCTP, ignored")
    return {}


# A checker may be told not to retry at all; servers may not (vs_retry_handler, rs_retry_handler).
_SERVER_TIMING = {**TIMING, "retry": number("retry", 1, MOST)}
_VIRTUAL: dict[str, Reader] = {
    **_SERVER_TIMING,
    "lvs_sched": _scheduler,
    "lb_algo": _scheduler,
    "lvs_method": _forwarding("forwarding"),
    "lb_kind": _forwarding("forwarding"),
    **dict.fromkeys((*_SCHEDULER_FLAGS, *_PLAIN_FLAGS), _flag),
    "persistence_timeout": _persistence,
    "persistence_granularity": text("persistence_granularity"),
    "protocol": _protocol,
    "alpha": flag("alpha"),
    "omega": flag("omega"),
    "ha_suspend": flag("ha_suspend"),
    "inhibit_on_failure": flag("inhibit_on_failure"),
    "quorum": number("quorum", 1, MOST),
    "hysteresis": number("hysteresis", 0, MOST),
    "weight": number("weight", 1, MOST),
    "virtualhost": text("virtualhost"),
    "sorry_server_inhibit": flag("sorry_inhibit"),
    "sorry_server_lvs_method": _forwarding("sorry_forwarding"),
}
_REAL: dict[str, Reader] = {
    **_SERVER_TIMING,
    "weight": number("weight", 0, MOST),
    "lvs_method": _forwarding("forwarding"),
    "inhibit_on_failure": switch("inhibit_on_failure"),
    "alpha": switch("alpha"),
    "uthreshold": number("upper_threshold", 0, MOST),
    "lthreshold": number("lower_threshold", 0, MOST),
}


def read_virtual_server(statement: Statement, values: Values) -> VirtualServer | None:
    """Read one `virtual_server`; None where keepalived would skip it, with a remark why."""
    which = _which(statement, values)
    if which is None:
        return None
    given, other = read_block(statement.block or (), _VIRTUAL, values)
    if "protocol" not in given and not which.get("fwmark"):
        values.remark(statement.where, "no protocol is set: keepalived takes UDP")
    if "scheduler" not in given:
        values.remark(statement.where, "no lvs_sched is set: keepalived takes wlc")
    forwarding: Forwarding = given.get("forwarding", "NAT")
    if "forwarding" not in given:
        values.remark(statement.where, "no lvs_method is set: keepalived takes NAT")
    server = VirtualServer(
        where=statement.where,
        **which,
        protocol="" if which.get("fwmark") else given.get("protocol", "UDP"),
        forwarding=forwarding,
        delay_loop_us=given.get("delay_loop_us", 60_000_000),
        sorry_server=_sorry(statement, which.get("port", 0), forwarding, given, values),
        real_servers=_real_servers(statement, which.get("port", 0), given, values),
        other=tuple(s for s in other if s.keyword not in ("real_server", "sorry_server")),
        **{name: given[name] for name in _VIRTUAL_FIELDS if name in given},
    )
    return _corrected(server, values)


_VIRTUAL_FIELDS = (
    *("scheduler", "flags", "persistence_s", "persistence_granularity", "quorum", "hysteresis"),
    *("alpha", "omega", "ha_suspend", "virtualhost"),
)


def _which(statement: Statement, values: Values) -> dict[str, Any] | None:
    """What is balanced: an address and port, a group, or a firewall mark."""
    words = statement.arguments
    if len(words) > 1 and words[0] == "group":
        return {"group": words[1]}
    if len(words) > 1 and words[0] == "fwmark" and words[1].isdigit():
        return {"fwmark": int(words[1])}
    address, port = _address(words)
    if not address:
        values.remark(statement.where, f"{statement.text!r}: not an address with a port, skipped")
        return None
    return {"address": address, "port": port}


def _address(words: tuple[str, ...]) -> tuple[str, int]:
    """An address in its normal form and a port (0: none), or an empty address."""
    try:
        address = str(ipaddress.ip_address(words[0]))
        port = int(words[1]) if len(words) > 1 else 0
    except (IndexError, ValueError):
        return "", 0
    return (address, port) if 0 <= port <= 65535 else ("", 0)


def _real_servers(
    statement: Statement, port: int, virtual: Mapping[str, Any], values: Values
) -> tuple[RealServer, ...]:
    found: dict[tuple[str, int], RealServer] = {}
    for child in statement.block or ():
        if child.keyword != "real_server":
            continue
        server = _real_server(child, port, virtual, values)
        if server is None:
            continue
        # As written: what a port is corrected to, keepalived does not compare.
        key = _address(child.arguments)
        if key in found:
            values.remark(child.where, f"{child.text!r} is there twice: this one is left out")
            continue
        found[key] = server
    return tuple(found.values())


def _real_server(
    statement: Statement, port: int, virtual: Mapping[str, Any], values: Values
) -> RealServer | None:
    address, own_port = _address(statement.arguments)
    if not address:
        values.remark(statement.where, f"{statement.text!r}: not an address with a port, skipped")
        return None
    given, other = read_block(statement.block or (), _REAL, values)
    for stray in other:
        if not is_checker(stray) and stray.keyword not in _TOLD_NOBODY:
            values.remark(stray.where, f"unknown keyword {stray.keyword!r} in a real_server")
    forwarding: Forwarding = given.get("forwarding", virtual.get("forwarding", "NAT"))
    own_port = _port(own_port, port, forwarding, statement, values)
    around = Surroundings(address, own_port, given, virtual)
    return RealServer(
        address=address,
        port=own_port,
        where=statement.where,
        weight=given.get("weight", virtual.get("weight", 1)),
        forwarding=forwarding,
        inhibit_on_failure=around.value("inhibit_on_failure", False),
        alpha=around.value("alpha", False),
        checkers=tuple(read_checkers(statement, around, values)),
        **{name: given[name] for name in ("upper_threshold", "lower_threshold") if name in given},
    )


# Whom keepalived tells, and by which names: nothing that balances.
_TOLD_NOBODY = ("notify_up", "notify_down", "smtp_alert", "snmp_name", "virtualhost")


def _port(own: int, virtual: int, forwarding: Forwarding, statement: Statement, values: Values) -> int:
    """A real server's port: its own with NAT only, as DR and TUN pass packets on as they are."""
    if forwarding != "NAT" and own and virtual and own != virtual:
        values.remark(statement.where, f"with {forwarding} the port is the virtual server's {virtual}")
        return virtual
    return own or virtual


def _sorry(
    statement: Statement, port: int, forwarding: Forwarding, given: Mapping[str, Any], values: Values
) -> SorryServer | None:
    said = statement.children("sorry_server")
    if not said:
        return None
    address, own_port = _address(said[-1].arguments)
    if not address:
        values.remark(said[-1].where, f"{said[-1].text!r}: not an address with a port, skipped")
        return None
    method: Forwarding = given.get("sorry_forwarding", forwarding)
    own_port = _port(own_port, port, method, said[-1], values)
    return SorryServer(address, own_port, method, given.get("sorry_inhibit", False))


def _corrected(server: VirtualServer, values: Values) -> VirtualServer:
    """The virtual server with what keepalived sets right by itself."""
    if server.address and not server.port and not server.persistence_s:
        values.remark(server.where, "a port of 0 needs persistence: keepalived sets 360 s")
        server = replace(server, persistence_s=_PERSISTENCE_S)
    total = sum(real.weight for real in server.real_servers)
    if server.quorum > total:
        values.remark(server.where, f"quorum {server.quorum} exceeds all weights: reduced to {total}")
        server = replace(server, quorum=total)
    if server.hysteresis >= server.quorum:
        least = max(server.quorum - 1, 0)
        if server.hysteresis > least:
            values.remark(
                server.where, f"hysteresis {server.hysteresis} is not below the quorum: reduced to {least}"
            )
        server = replace(server, hysteresis=least)
    return server


def read_group(statement: Statement, values: Values) -> VirtualServerGroup | None:
    """Read one `virtual_server_group`; None where it has no entries."""
    name = statement.arguments[0] if statement.arguments else ""
    entries, fwmarks = [], []
    for child in statement.block or ():
        if child.keyword == "fwmark" and child.arguments and child.arguments[0].isdigit():
            fwmarks.append(int(child.arguments[0]))
        elif len(child.words) > 1 and child.words[1].isdigit():
            entries.append((child.words[0], int(child.words[1])))
        else:
            values.remark(child.where, f"{child.text!r}: neither a firewall mark nor an address, skipped")
    if not entries and not fwmarks:
        values.remark(statement.where, f"virtual_server_group {name} has no entries: it is left out")
        return None
    return VirtualServerGroup(name, statement.where, tuple(entries), tuple(fwmarks))


def sync_daemon(statements: tuple[Statement, ...], values: Values) -> SyncDaemon | None:
    """`lvs_sync_daemon IF [inst NAME] [id N]`, also in its old form `IF NAME N`."""
    said = [s for s in statements if s.keyword == "lvs_sync_daemon"]
    if not said:
        return None
    if not said[0].arguments:
        values.remark(said[0].where, "lvs_sync_daemon requires an interface, ignored")
        return None
    interface, *words = said[0].arguments
    instance, sync_id = "", None
    position = 0
    while position < len(words):
        word = words[position]
        following = words[position + 1] if position + 1 < len(words) else ""
        if word == "inst":
            instance, position = following, position + 2
        elif word in ("id", "maxlen", "port", "ttl", "group"):
            if word == "id" and following.isdigit():
                sync_id = int(following)
            position += 2
        elif position == 0:
            instance, position = word, 1
        else:
            sync_id, position = (int(word) if word.isdigit() else sync_id), position + 1
    return SyncDaemon(interface, instance, sync_id)
