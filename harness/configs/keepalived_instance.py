"""One `vrrp_instance` block: from its statements to the values that keepalived acts on."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from harness.configs.keepalived_model import (
    OWNER_PRIORITY,
    Authentication,
    GlobalDefs,
    Tracked,
    TrackProcess,
    VirtualAddress,
    VrrpInstance,
    VrrpScript,
)
from harness.configs.keepalived_tree import Statement
from harness.configs.keepalived_values import (
    Reader,
    Values,
    flag,
    number,
    read_block,
    switch,
    text,
    timer,
    whole_seconds,
)
from harness.configs.source import ConfigError

_SECOND_US, _CENTISECOND_US = 1_000_000, 10_000
_DEFAULT_PRIORITY = 100
_TRACKS: dict[str, tuple[Literal["script", "process", "interface", "file", "bfd"], int]] = {
    "track_script": ("script", 253),
    "track_process": ("process", 254),
    "track_interface": ("interface", 253),
    "track_file": ("file", 254),
    "track_bfd": ("bfd", 253),
}

Known = dict[tuple[str, str], VrrpScript | TrackProcess]


def read_instance(statement: Statement, globals_: GlobalDefs, known: Known, values: Values) -> VrrpInstance:
    """Read one `vrrp_instance`; `known` holds the scripts and processes that stand before it.

    Raises ConfigError where keepalived would refuse to run: no name, no virtual_router_id, or
    neither interface nor unicast source.
    """
    if not statement.arguments:
        raise ConfigError(statement.where, "vrrp_instance must have a name")
    name = statement.arguments[0]
    given, other = read_block(statement.block or (), _READERS, values)
    if "vrid" not in given:
        raise ConfigError(statement.where, f"vrrp_instance {name}: the virtual_router_id must be set")
    if "interface" not in given and "source_address" not in given:
        raise ConfigError(statement.where, f"vrrp_instance {name}: it has no interface")
    addresses: tuple[VirtualAddress, ...] = given.get("addresses", ())
    announced = [a for a in addresses if not a.excluded]
    families = {a.family for a in announced}
    if len(families) > 1:
        raise ConfigError(statement.where, f"vrrp_instance {name}: IPv4 and IPv6 in one virtual_ipaddress")
    family = families.pop() if families else 4
    version = given.get("version") or (3 if family == 6 else globals_.vrrp_version)
    state = given.get("state") or ("MASTER" if given.get("priority") == OWNER_PRIORITY else "BACKUP")
    defaults: dict[str, Any] = {
        "interface": "",
        "priority": OWNER_PRIORITY if state == "MASTER" else _DEFAULT_PRIORITY,
        "down_timer_adverts": globals_.down_timer_adverts,
        "strict": globals_.strict,
        "garp_master_delay_us": globals_.garp_master_delay_us,
        "garp_master_repeat": globals_.garp_master_repeat,
        "garp_master_refresh_us": globals_.garp_master_refresh_us,
        "garp_master_refresh_repeat": globals_.garp_master_refresh_repeat,
    }
    asked_us = given.pop("asked_interval_us", _SECOND_US)
    instance = VrrpInstance(
        **{
            **defaults,
            **given,
            "name": name,
            "where": statement.where,
            "version": version,
            "family": family,
            "state": state,
            "advert_interval_us": _advert_interval(asked_us, version, statement, values),
            "tracks": read_tracks(statement, known, values),
            "other": tuple(s for s in other if s.keyword not in _TRACKS),
        }
    )
    return _contradictions(_inherited(instance, given, globals_), statement, values)


def _state(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    state = values.word(statement, "BACKUP")
    if state not in ("MASTER", "BACKUP"):
        values.remark(statement.where, f"unknown state {state!r}: BACKUP is taken")
        return {"state": "BACKUP"}
    if state == "BACKUP" and given.get("state") == "MASTER":
        values.remark(statement.where, "state was set to MASTER before: BACKUP is ignored")
        return {}
    return {"state": state}


def _vmac(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    names = [w for w in statement.arguments if ":" not in w and w != "name"]
    return {"use_vmac": True, "vmac_interface": names[0] if names else ""}


def _addresses(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    found: list[VirtualAddress] = []
    for entry in statement.block or ():
        host, _, prefix_text = entry.keyword.partition("/")
        try:
            address = ipaddress.ip_address(host)
            prefix = int(prefix_text) if prefix_text else address.max_prefixlen
            ipaddress.ip_interface(f"{address}/{prefix}")
        except ValueError:
            values.remark(entry.where, f"{entry.keyword!r} is not an address, ignored")
            continue
        words = entry.words
        device = words[words.index("dev") + 1] if "dev" in words[:-1] else ""
        excluded = statement.keyword == "virtual_ipaddress_excluded"
        found.append(VirtualAddress(str(address), prefix, device, excluded))
    return {"addresses": (*given.get("addresses", ()), *found)}


def _peers(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    return {"unicast_peers": tuple(entry.keyword for entry in statement.block or ())}


def _authentication(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    kind = next((values.word(s) for s in statement.children("auth_type")), "")
    secret = next((values.word(s) for s in statement.children("auth_pass")), "")
    if kind not in ("PASS", "AH"):
        values.remark(statement.where, f"unknown authentication type {kind!r}, ignored")
        return {}
    if not secret:
        values.remark(statement.where, "authentication without auth_pass, ignored")
        return {}
    if len(secret) > 8:
        values.remark(statement.where, "only the first 8 characters of auth_pass count")
    return {"authentication": Authentication("AH" if kind == "AH" else "PASS", secret[:8])}


def _timer_expired(statement: Statement, given: Mapping[str, Any], values: Values) -> dict[str, Any]:
    highest = values.number(statement, 254, 1, 254) if statement.arguments else 254
    return {"timer_expired_backup": highest}


_READERS: dict[str, Reader] = {
    "state": _state,
    "interface": text("interface"),
    "virtual_router_id": number("vrid", 1, 255),
    "priority": number("priority", 1, 255),
    "version": number("version", 2, 3),
    "advert_int": timer("asked_interval_us", _CENTISECOND_US, 255 * _SECOND_US),
    "nopreempt": flag("nopreempt"),
    "preempt": flag("nopreempt", False),
    "preempt_delay": timer("preempt_delay_us", 0, 1000 * _SECOND_US),
    "down_timer_adverts": number("down_timer_adverts", 1, 100),
    "timer_expired_backup": _timer_expired,
    "thread_timer_expired": _timer_expired,
    "virtual_ipaddress": _addresses,
    "virtual_ipaddress_excluded": _addresses,
    "mcast_src_ip": text("source_address"),
    "unicast_src_ip": text("source_address"),
    "mcast_dst_ip": text("multicast_destination"),
    "unicast_peer": _peers,
    "authentication": _authentication,
    "use_vmac": _vmac,
    "vmac_xmit_base": flag("vmac_xmit_base"),
    "dont_track_primary": flag("dont_track_primary"),
    "strict_mode": switch("strict"),
    "lower_prio_no_advert": switch("lower_prio_no_advert"),
    "higher_prio_send_advert": switch("higher_prio_send_advert"),
    "garp_master_delay": whole_seconds("garp_master_delay_us"),
    "garp_master_repeat": number("garp_master_repeat", 0, 2**31 - 1),
    "garp_master_refresh": whole_seconds("garp_master_refresh_us"),
    "garp_master_refresh_repeat": number("garp_master_refresh_repeat", 0, 2**31 - 1),
    "garp_lower_prio_delay": whole_seconds("garp_lower_prio_delay_us"),
    "garp_lower_prio_repeat": number("garp_lower_prio_repeat", 0, 2**31 - 1),
}


def read_tracks(statement: Statement, known: Known, values: Values) -> tuple[Tracked, ...]:
    """The `track_…` blocks of an instance or a sync group."""
    tracks: list[Tracked] = []
    for child in statement.block or ():
        if child.keyword not in _TRACKS:
            continue
        kind, limit = _TRACKS[child.keyword]
        for entry in child.block or ():
            source = known.get((kind, entry.keyword))
            if kind in ("script", "process") and source is None:
                values.remark(
                    entry.where, f"{kind} {entry.keyword} is not defined above this line: it is not tracked"
                )
                continue
            weight, reverse = (source.weight, source.reverse) if source else (0, False)
            if entry.arguments[:1] == ("weight",):
                weight, direction = values.weight(entry.arguments[1:], entry.where, limit)
                reverse = reverse if direction is None else direction
            tracks.append(Tracked(kind, entry.keyword, weight, reverse))
    return tuple(tracks)


def _advert_interval(asked_us: int, version: int, statement: Statement, values: Values) -> int:
    """Rounded half up to whole seconds (VRRPv2) or centiseconds (VRRPv3), and never to nothing."""
    unit_us, highest = (_SECOND_US, 255) if version == 2 else (_CENTISECOND_US, 4095)
    units = min(max((asked_us + unit_us // 2) // unit_us, 1), highest)
    if units * unit_us != asked_us:
        values.remark(
            statement.where,
            f"advert_int {asked_us / 1e6:g} s is not possible with VRRPv{version}: "
            f"{units * unit_us / 1e6:g} s is used",
        )
    return units * unit_us


def _inherited(instance: VrrpInstance, given: dict[str, Any], globals_: GlobalDefs) -> VrrpInstance:
    """Options that follow the global ones, unless strict mode decides them."""
    strict = instance.strict
    inherited: dict[str, Any] = {
        "garp_lower_prio_repeat": 0 if strict else globals_.garp_lower_prio_repeat,
        "garp_lower_prio_delay_us": 0 if strict else globals_.garp_lower_prio_delay_us,
        "lower_prio_no_advert": strict or globals_.lower_prio_no_advert,
        "higher_prio_send_advert": not strict and globals_.higher_prio_send_advert,
    }
    return replace(
        instance,
        garp_master_repeat=max(instance.garp_master_repeat, 1),
        **{field: value for field, value in inherited.items() if strict or field not in given},
    )


def _contradictions(instance: VrrpInstance, statement: Statement, values: Values) -> VrrpInstance:
    """What keepalived clears because something else is set."""

    def cleared(what: str, why: str) -> None:
        values.remark(statement.where, f"vrrp_instance {instance.name}: {what} is cleared, as {why}")

    owner = instance.priority == OWNER_PRIORITY
    if instance.strict and (instance.state == "MASTER") != owner:
        cleared(f"state {instance.state}", "strict mode ties MASTER to priority 255")
        instance = replace(instance, state="MASTER" if owner else "BACKUP")
    if instance.nopreempt and (owner or instance.state == "MASTER"):
        cleared("nopreempt", "the priority is 255" if owner else "the initial state is MASTER")
        instance = replace(instance, nopreempt=False)
    if instance.preempt_delay_us and (instance.state == "MASTER" or instance.nopreempt or instance.strict):
        why = "nopreempt is set" if instance.nopreempt else "strict mode is on"
        cleared("preempt_delay", "the initial state is MASTER" if instance.state == "MASTER" else why)
        instance = replace(instance, preempt_delay_us=0)
    if instance.strict and instance.down_timer_adverts != 3:
        cleared("down_timer_adverts", "strict mode is on")
        instance = replace(instance, down_timer_adverts=3)
    if instance.authentication and (instance.version == 3 or instance.strict):
        cleared("authentication", "strict mode is on" if instance.strict else "VRRPv3 has none")
        instance = replace(instance, authentication=None)
    if instance.timer_expired_backup and not instance.nopreempt:
        cleared("timer_expired_backup", "it needs nopreempt")
        instance = replace(instance, timer_expired_backup=0)
    return instance
