"""What the IPVS blocks of a keepalived.conf mean: virtual servers, real servers and their checkers.

Values are those that keepalived 2.3 acts on, with what a checker takes over from its real server and
that one from its virtual server.  Timers are integers in microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.configs.keepalived_tree import Statement
from harness.configs.source import Where

Forwarding = Literal["NAT", "DR", "TUN"]
CheckerKind = Literal["tcp", "http", "ssl", "misc", "other"]
WELL = ((200, 299),)
"""The HTTP statuses that a checker takes for well where it names none."""


@dataclass(frozen=True)
class SyncDaemon:
    """`lvs_sync_daemon`: connections are told to the other director on `interface`.

    With an `instance`, the node tells while that VRRP instance is MASTER and listens otherwise; without
    one it does both all the time.
    """

    interface: str
    instance: str = ""
    sync_id: int | None = None


@dataclass(frozen=True)
class CheckedUrl:
    """A page that an HTTP_GET or SSL_GET asks for; `digest` is the MD5 of its body, where that counts."""

    path: str
    digest: str = ""
    statuses: tuple[tuple[int, int], ...] = WELL
    virtualhost: str = ""

    def takes(self, status: int) -> bool:
        """Whether an answer with this status is a good one."""
        return any(low <= status <= high for low, high in self.statuses)


@dataclass(frozen=True)
class Checker:
    """One health check of one real server; `keyword` is its name in the file.

    `address` and `port` are what it connects to, `script` what a MISC_CHECK runs; with `dynamic` the
    script's exit status from 2 on sets the weight to so much less two.
    """

    kind: CheckerKind
    keyword: str
    where: Where
    delay_loop_us: int = 60_000_000
    retry: int = 1
    delay_before_retry_us: int = 1_000_000
    connect_timeout_us: int = 5_000_000
    warmup_us: int = 60_000_000
    alpha: bool = False
    address: str = ""
    port: int = 0
    urls: tuple[CheckedUrl, ...] = ()
    fast_recovery: bool = False
    script: str = ""
    script_timeout_us: int = 60_000_000
    dynamic: bool = False


@dataclass(frozen=True)
class RealServer:
    """A member of a virtual server; with `inhibit_on_failure` a failed one stays there with weight 0."""

    address: str
    port: int
    where: Where
    weight: int = 1
    forwarding: Forwarding = "NAT"
    inhibit_on_failure: bool = False
    alpha: bool = False
    upper_threshold: int = 0
    lower_threshold: int = 0
    checkers: tuple[Checker, ...] = ()


@dataclass(frozen=True)
class SorryServer:
    """Who serves while there is no quorum; `inhibit`: there all the time, with weight 0 until then."""

    address: str
    port: int
    forwarding: Forwarding = "NAT"
    inhibit: bool = False


@dataclass(frozen=True)
class VirtualServer:
    """A balanced port, or a `group` of them, or a firewall mark; `persistence_s` 0 is none.

    `flags` are those of the scheduler (`mh-port`, `sh-fallback`).
    """

    where: Where
    address: str = ""
    port: int = 0
    fwmark: int = 0
    group: str = ""
    protocol: str = "UDP"
    scheduler: str = "wlc"
    flags: tuple[str, ...] = ()
    forwarding: Forwarding = "NAT"
    delay_loop_us: int = 60_000_000
    persistence_s: int = 0
    persistence_granularity: str = ""
    quorum: int = 1
    hysteresis: int = 0
    alpha: bool = False
    omega: bool = False
    ha_suspend: bool = False
    virtualhost: str = ""
    sorry_server: SorryServer | None = None
    real_servers: tuple[RealServer, ...] = ()
    other: tuple[Statement, ...] = field(default=())

    def real_server(self, address: str) -> RealServer | None:
        """A real server by its address."""
        return next((server for server in self.real_servers if server.address == address), None)


@dataclass(frozen=True)
class VirtualServerGroup:
    """Ports that are balanced alike: `entries` are (address, port), `fwmarks` firewall marks.

    An address may be a range (`10.0.0.100-110`), as it stands.
    """

    name: str
    where: Where
    entries: tuple[tuple[str, int], ...] = ()
    fwmarks: tuple[int, ...] = ()
