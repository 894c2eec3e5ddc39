"""How long a drill must watch before the arithmetic of the configurations in force has run its course."""

from __future__ import annotations

from collections.abc import Iterable

from harness.bounds import checkers, nginx
from harness.bounds.checkers import Noticing
from harness.bounds.haproxy import Illness, removal, return_to_service
from harness.bounds.tracking import detection, regained, trackings
from harness.bounds.vrrp import Speaker
from harness.configs.haproxy import HaproxyConfig
from harness.configs.keepalived_model import KeepalivedConfig
from harness.configs.nginx import NginxConfig

# The illness that takes a check longest to find.
_SLOWEST: Illness = "hang"
_SILENT: Illness = "black-hole"


def tracking_s(configs: Iterable[KeepalivedConfig]) -> tuple[float, float]:
    """Until keepalived must have noticed the end of a service, and until it must have taken the VIP back."""
    noticed, back = 0.0, 0.0
    for config in configs:
        for instance in config.instances:
            tracked = trackings(instance, config)
            bounds = [detection(tracking, hung=True) for tracking in tracked]
            noticed = max([noticed, *(bound.high for bound in bounds if bound is not None)])
            speaker = Speaker.of("", instance, config)
            return_bound = regained(tracked, speaker, speaker)
            back = max(back, 0.0 if return_bound is None else return_bound.high)
    return noticed, back


def passive_s(configs: Iterable[NginxConfig]) -> tuple[float, float]:
    """Until Nginx must have left a member out that is ill, and until it must have asked it again."""
    gone, back = 0.0, 0.0
    for config in configs:
        longest = max((server.connect_timeout_ms for server in config.servers), default=0) / 1000
        for server in (server for group in config.upstreams for server in group.servers):
            gone = max(gone, longest + 1.0)
            back = max(back, nginx.return_to_service(server, longest, 1.0).high)
    return gone, back


def checkers_s(configs: Iterable[KeepalivedConfig]) -> tuple[float, float]:
    """Until keepalived must have taken an ill real server out, and until it must have taken it back."""
    gone, back = 0.0, 0.0
    for config in configs:
        servers = [server for virtual in config.virtual_servers for server in virtual.real_servers]
        for noticing in (
            Noticing(checker, illness, max(len(checker.urls), 1))
            for server in servers
            for checker in server.checkers
            for illness in (_SLOWEST, _SILENT)
        ):
            bound, again = checkers.removal(noticing), checkers.return_to_service(noticing)
            gone = max(gone, 0.0 if bound is None else bound.high)
            back = max(back, 0.0 if again is None else again.high)
    return gone, back


def checks_s(configs: Iterable[HaproxyConfig]) -> tuple[float, float]:
    """Until HAProxy must have removed a member that is ill, and until it must have taken it back."""
    gone, back = 0.0, 0.0
    for config in configs:
        for server in config.servers:
            if server.check is None:
                continue
            spread = config.spread_checks_percent
            bounds = [removal(server.check, _SLOWEST, spread), removal(server.check, "black-hole", spread)]
            gone = max([gone, *(bound.high for bound in bounds if bound is not None)])
            returns = [
                return_to_service(server.check, illness, spread) for illness in (_SLOWEST, "black-hole")
            ]
            back = max([back, *(bound.high for bound in returns if bound is not None)])
    return gone, back
