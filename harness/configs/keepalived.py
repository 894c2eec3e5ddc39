"""Reader of keepalived.conf: what keepalived 2.3 makes of the text (keepalived.conf(5)).

Defaults, rounding and contradictions were checked against keepalived 2.3.3's vrrp_parser.c,
`vrrp_complete_instance` in vrrp.c and global_parser.c: an `advert_int` of VRRPv2 is rounded to whole
seconds (never to 0), one of VRRPv3 to centiseconds; `state MASTER` clears nopreempt and
preempt_delay; nopreempt clears preempt_delay; a tracked script must stand before the instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from harness.configs.ipvs_server import read_group, read_virtual_server, sync_daemon
from harness.configs.keepalived_instance import Known, read_instance, read_tracks
from harness.configs.keepalived_model import (
    OWNER_PRIORITY,
    GlobalDefs,
    KeepalivedConfig,
    SyncGroup,
    TrackProcess,
    VrrpInstance,
    VrrpScript,
)
from harness.configs.keepalived_tree import Statement, parse
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
from harness.configs.source import ReadIncluded, nothing_included

DEFAULT_PATH = "/etc/keepalived/keepalived.conf"
_SECOND_US = 1_000_000
_HOUR_US = 3600 * _SECOND_US
_LONG_US = 4_294_000_000


def read_keepalived(
    source: str,
    path: str = DEFAULT_PATH,
    *,
    config_id: str = "",
    read_included: ReadIncluded = nothing_included,
) -> KeepalivedConfig:
    """Read a keepalived.conf.

    `config_id` decides about `@id` lines (the host's name, unless keepalived runs with `-i`).
    Raises ConfigError, with file and line, where the text has no structure; what keepalived itself
    would ignore or alter becomes a remark.
    """
    tree = parse(source, path, config_id, read_included)
    values = Values()
    globals_ = _globals([s for s in tree if s.keyword == "global_defs"], values)
    known: Known = {}
    scripts: list[VrrpScript] = []
    processes: list[TrackProcess] = []
    instances: list[VrrpInstance] = []
    groups: list[SyncGroup] = []
    for statement in tree:
        if statement.keyword == "vrrp_script":
            scripts.append(_script(statement, values))
            known["script", scripts[-1].name] = scripts[-1]
        elif statement.keyword == "vrrp_track_process":
            processes.append(_process(statement, values))
            known["process", processes[-1].name] = processes[-1]
        elif statement.keyword == "vrrp_instance":
            instances.append(read_instance(statement, globals_, known, values))
        elif statement.keyword == "vrrp_sync_group":
            groups.append(_sync_group(statement, known, values))
    return KeepalivedConfig(
        path=path,
        globals=globals_,
        scripts=tuple(scripts),
        processes=tuple(processes),
        instances=tuple(_grouped(instances, groups, values)),
        sync_groups=tuple(groups),
        virtual_servers=tuple(_read(tree, "virtual_server", read_virtual_server, values)),
        virtual_server_groups=tuple(_read(tree, "virtual_server_group", read_group, values)),
        sync_daemon=sync_daemon(globals_.other, values),
        remarks=tuple(values.remarks),
        tree=tree,
    )


_READERS: dict[str, Reader] = {
    "router_id": text("router_id"),
    "script_user": text("script_user"),
    "enable_script_security": flag("enable_script_security"),
    "vrrp_version": number("vrrp_version", 2, 3),
    "vrrp_down_timer_adverts": number("down_timer_adverts", 1, 100),
    "vrrp_startup_delay": timer("startup_delay_us", 1000, _LONG_US),
    "vrrp_garp_interval": timer("garp_interval_us", 0, _LONG_US),
    "vrrp_garp_master_delay": whole_seconds("garp_master_delay_us"),
    "vrrp_garp_master_repeat": number("garp_master_repeat", 0, 2**31 - 1),
    "vrrp_garp_master_refresh": whole_seconds("garp_master_refresh_us"),
    "vrrp_garp_master_refresh_repeat": number("garp_master_refresh_repeat", 0, 2**31 - 1),
    "vrrp_garp_lower_prio_delay": whole_seconds("garp_lower_prio_delay_us"),
    "vrrp_garp_lower_prio_repeat": number("garp_lower_prio_repeat", 0, 2**31 - 1),
    "vrrp_min_garp": switch("minimal_garp"),
    "vrrp_strict": switch("strict"),
    "vrrp_lower_prio_no_advert": switch("lower_prio_no_advert"),
    "vrrp_higher_prio_send_advert": switch("higher_prio_send_advert"),
    "vrrp_skip_check_adv_addr": switch("skip_check_adv_addr"),
    "vrrp_check_unicast_src": switch("check_unicast_src"),
    "v3_checksum_as_v2": switch("v3_checksum_as_v2"),
}


_Read = TypeVar("_Read")


def _read(
    tree: tuple[Statement, ...],
    keyword: str,
    reader: Callable[[Statement, Values], _Read | None],
    values: Values,
) -> Iterator[_Read]:
    for statement in tree:
        if statement.keyword == keyword and (read := reader(statement, values)) is not None:
            yield read


def _globals(blocks: list[Statement], values: Values) -> GlobalDefs:
    statements = tuple(child for block in blocks for child in block.block or ())
    given, other = read_block(statements, _READERS, values)
    if given.pop("minimal_garp", False):
        given = {"garp_master_repeat": 1, "garp_master_refresh_repeat": 0, "garp_master_delay_us": 0, **given}
    given["garp_master_repeat"] = max(given.get("garp_master_repeat", 5), 1)
    given.setdefault("garp_lower_prio_repeat", given["garp_master_repeat"])
    given.setdefault("garp_lower_prio_delay_us", given.get("garp_master_delay_us", 5 * _SECOND_US))
    return GlobalDefs(**given, other=tuple(other))


def _name(statement: Statement, values: Values) -> str:
    if not statement.arguments:
        values.remark(statement.where, f"{statement.keyword} must have a name; the block is skipped")
        return ""
    return statement.arguments[0]


def _script(statement: Statement, values: Values) -> VrrpScript:
    name = _name(statement, values)
    given: dict[str, Any] = {}
    for child in statement.block or ():
        keyword = child.keyword
        if keyword == "script":
            given["command"] = child.text.partition("script")[2].strip().strip('"')
        elif keyword in ("interval", "timeout"):
            given[keyword + "_us"] = values.timer_us(child, _SECOND_US, 0, 1000 * _LONG_US, 3) or _SECOND_US
        elif keyword == "weight":
            given["weight"], reverse = values.weight(child.arguments, child.where, 253)
            given["reverse"] = bool(reverse)
        elif keyword in ("rise", "fall"):
            given[keyword] = values.number(child, 1, 1, 2**31 - 1)
        elif keyword == "user":
            given["user"] = values.word(child)
        elif keyword == "init_fail":
            given["init_fail"] = True
        else:
            values.remark(child.where, f"unknown keyword {keyword!r} in vrrp_script {name}")
    if "command" not in given:
        values.remark(statement.where, f"no script set for vrrp_script {name}: it is removed")
    given.setdefault("timeout_us", given.get("interval_us", _SECOND_US))
    return VrrpScript(**{"command": "", **given}, name=name, where=statement.where)


def _process(statement: Statement, values: Values) -> TrackProcess:
    given: dict[str, Any] = {"process": ""}
    for child in statement.block or ():
        if child.keyword == "process":
            given["process"] = " ".join(child.arguments)
        elif child.keyword == "weight":
            given["weight"], reverse = values.weight(child.arguments, child.where, 254)
            given["reverse"] = bool(reverse)
        elif child.keyword == "quorum":
            given["quorum"] = values.number(child, 1, 1, 65535)
        elif child.keyword in ("delay", "terminate_delay", "fork_delay"):
            delay_us = values.timer_us(child, 0, 1, _HOUR_US)
            if child.keyword != "fork_delay":
                given["terminate_delay_us"] = delay_us
            if child.keyword != "terminate_delay":
                given["fork_delay_us"] = delay_us
    return TrackProcess(**given, name=_name(statement, values), where=statement.where)


def _sync_group(statement: Statement, known: Known, values: Values) -> SyncGroup:
    members: list[str] = []
    other: list[Statement] = []
    for child in statement.block or ():
        if child.keyword == "group":
            members += [word for entry in child.block or () for word in entry.words]
        elif not child.keyword.startswith("track_"):
            other.append(child)
    tracks = read_tracks(statement, known, values)
    return SyncGroup(_name(statement, values), statement.where, tuple(members), tracks, tuple(other))


def _grouped(
    instances: list[VrrpInstance], groups: list[SyncGroup], values: Values
) -> Iterator[VrrpInstance]:
    """Instances with their group's tracks; in a group, the weight of an instance's own track counts as 0."""
    group_of = {member: group for group in groups for member in group.members}
    names = [instance.name for instance in instances]
    for where, label, member in ((g.where, g.name, m) for g in groups for m in g.members if m not in names):
        values.remark(where, f"sync group {label}: no vrrp_instance {member}, ignored")
    for instance in instances:
        own = instance.tracks
        if instance.priority == OWNER_PRIORITY:
            own = tuple(t for t in own if not t.weight)
        if (group := group_of.get(instance.name)) is None:
            yield replace(instance, tracks=own)
            continue
        weighted = [t.name for t in own if t.weight]
        if weighted and not any(s.keyword == "sync_group_tracking_weight" for s in group.other):
            what = f"the weight of {', '.join(weighted)} counts as 0 in sync group {group.name}"
            values.remark(instance.where, f"{what}: its failure is FAULT")
            own = tuple(replace(t, weight=0) for t in own)
        yield replace(instance, sync_group=group.name, tracks=own + group.tracks)
