"""What a keepalived.conf means: the values that keepalived 2.3 acts on, as frozen dataclasses.

Timers are integers in microseconds, the unit of keepalived's own arithmetic.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from harness.configs.ipvs_model import SyncDaemon, VirtualServer, VirtualServerGroup
from harness.configs.keepalived_tree import Statement
from harness.configs.source import Remark, Where

OWNER_PRIORITY = 255


@dataclass(frozen=True)
class GlobalDefs:
    """The part of `global_defs` that decides about VRRP; the rest is in `other`."""

    router_id: str = ""
    vrrp_version: int = 2
    strict: bool = False
    startup_delay_us: int = 0
    down_timer_adverts: int = 3
    garp_master_delay_us: int = 5_000_000
    garp_master_repeat: int = 5
    garp_master_refresh_us: int = 0
    garp_master_refresh_repeat: int = 1
    garp_lower_prio_delay_us: int = 5_000_000
    garp_lower_prio_repeat: int = 5
    garp_interval_us: int = 0
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    skip_check_adv_addr: bool = False
    check_unicast_src: bool = False
    v3_checksum_as_v2: bool = False
    script_user: str = ""
    enable_script_security: bool = False
    other: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class VrrpScript:
    """A periodic check; `weight` 0 takes the instance to FAULT when it fails."""

    name: str
    command: str
    where: Where
    interval_us: int = 1_000_000
    timeout_us: int = 1_000_000
    weight: int = 0
    reverse: bool = False
    rise: int = 1
    fall: int = 1
    init_fail: bool = False
    user: str = ""


@dataclass(frozen=True)
class TrackProcess:
    """A process that must run, seen by the kernel's process events."""

    name: str
    process: str
    where: Where
    weight: int = 0
    reverse: bool = False
    quorum: int = 1
    terminate_delay_us: int = 0
    fork_delay_us: int = 0


@dataclass(frozen=True)
class Tracked:
    """Something an instance tracks, with the weight in force for this instance."""

    kind: Literal["script", "process", "interface", "file", "bfd"]
    name: str
    weight: int = 0
    reverse: bool = False

    @property
    def healthy_share(self) -> int:
        """What it adds to the priority while all is well (a negative weight only counts when it fails)."""
        share = max(self.weight, 0)
        return -share if self.reverse else share


@dataclass(frozen=True)
class VirtualAddress:
    """An address that moves with the instance; `device` is empty where it is the instance's interface."""

    address: str
    prefix: int
    device: str = ""
    excluded: bool = False

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"

    @property
    def family(self) -> int:
        """4 or 6."""
        return ipaddress.ip_address(self.address).version


@dataclass(frozen=True)
class Authentication:
    """VRRPv2 authentication; `secret` holds the eight characters that count."""

    kind: Literal["PASS", "AH"]
    secret: str


@dataclass(frozen=True)
class VrrpInstance:
    """One VRRP instance, after keepalived's defaults, rounding and refusals.

    `addresses` holds those that are announced and, marked as excluded, those that are not.
    """

    name: str
    where: Where
    interface: str
    vrid: int
    priority: int
    version: int
    family: int
    advert_interval_us: int
    state: Literal["MASTER", "BACKUP"] = "BACKUP"
    nopreempt: bool = False
    preempt_delay_us: int = 0
    down_timer_adverts: int = 3
    addresses: tuple[VirtualAddress, ...] = ()
    source_address: str = ""
    unicast_peers: tuple[str, ...] = ()
    multicast_destination: str = ""
    authentication: Authentication | None = None
    tracks: tuple[Tracked, ...] = ()
    sync_group: str = ""
    strict: bool = False
    use_vmac: bool = False
    vmac_interface: str = ""
    vmac_xmit_base: bool = False
    dont_track_primary: bool = False
    timer_expired_backup: int = 0
    lower_prio_no_advert: bool = False
    higher_prio_send_advert: bool = False
    garp_master_delay_us: int = 5_000_000
    garp_master_repeat: int = 5
    garp_master_refresh_us: int = 0
    garp_master_refresh_repeat: int = 1
    garp_lower_prio_delay_us: int = 5_000_000
    garp_lower_prio_repeat: int = 5
    other: tuple[Statement, ...] = ()

    @property
    def healthy_priority(self) -> int:
        """The effective priority while everything it tracks is well: 1 to 254, or 255 for the owner."""
        if self.priority == OWNER_PRIORITY:
            return OWNER_PRIORITY
        return min(max(self.priority + sum(t.healthy_share for t in self.tracks), 1), OWNER_PRIORITY - 1)

    @property
    def advert_interval_s(self) -> float:
        """The advertisement interval in seconds."""
        return self.advert_interval_us / 1e6

    @property
    def unicast(self) -> bool:
        """Whether adverts go to listed peers; without peers keepalived falls back to multicast."""
        return bool(self.unicast_peers)


@dataclass(frozen=True)
class SyncGroup:
    """Instances that change state together."""

    name: str
    where: Where
    members: tuple[str, ...]
    tracks: tuple[Tracked, ...] = ()
    other: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class KeepalivedConfig:
    """A whole configuration; `tree` is all of it, `remarks` what keepalived does not do as written."""

    path: str
    globals: GlobalDefs
    scripts: tuple[VrrpScript, ...]
    processes: tuple[TrackProcess, ...]
    instances: tuple[VrrpInstance, ...]
    sync_groups: tuple[SyncGroup, ...]
    virtual_servers: tuple[VirtualServer, ...]
    virtual_server_groups: tuple[VirtualServerGroup, ...]
    remarks: tuple[Remark, ...]
    tree: tuple[Statement, ...]
    sync_daemon: SyncDaemon | None = None

    def instance(self, name: str) -> VrrpInstance | None:
        """An instance by name."""
        return next((i for i in self.instances if i.name == name), None)

    def script(self, name: str) -> VrrpScript | None:
        """A check script by name."""
        return next((s for s in self.scripts if s.name == name), None)

    def process(self, name: str) -> TrackProcess | None:
        """A tracked process by name."""
        return next((p for p in self.processes if p.name == name), None)
