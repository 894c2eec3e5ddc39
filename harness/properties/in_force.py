"""The configurations of a run as they were in force at a given moment.

A `config` event supersedes the earlier ones of the same file from its own time on (a reload tells them
anew).  What a node was first given is in force from the beginning.
"""

from __future__ import annotations

from harness.configs.haproxy import HaproxyConfig, read_haproxy
from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import KeepalivedConfig
from harness.configs.nginx import NginxConfig, read_nginx
from harness.configs.source import included_from
from harness.timeline import Timeline

PROXIES = ("haproxy", "nginx")


def files_at(timeline: Timeline, node: str, service: str, t_ns: int | None = None) -> dict[str, str]:
    """A service's files, by path, as they were at a moment (by default at the start)."""
    files: dict[str, str] = {}
    for event in timeline.of("config", node=node, service=service):
        if event.path not in files or (t_ns is not None and event.t <= t_ns):
            files[event.path] = event.text
    return files


def keepalived_at(timeline: Timeline, node: str, t_ns: int | None = None) -> KeepalivedConfig | None:
    """keepalived's configuration at a moment, or None where it has none."""
    files = files_at(timeline, node, "keepalived", t_ns)
    if not files:
        return None
    main = next((path for path in files if path.endswith("keepalived.conf")), next(iter(files)))
    config_id = node.partition(".")[0]
    return read_keepalived(files[main], main, config_id=config_id, read_included=included_from(files))


def haproxy_at(timeline: Timeline, node: str, t_ns: int | None = None) -> HaproxyConfig | None:
    """HAProxy's configuration at a moment, or None where it has none."""
    files = files_at(timeline, node, "haproxy", t_ns)
    main = next((path for path in files if path.endswith(".cfg")), None)
    return None if main is None else read_haproxy(files[main], main)


def nginx_at(timeline: Timeline, node: str, t_ns: int | None = None) -> NginxConfig | None:
    """Nginx's configuration at a moment, or None where it has none."""
    files = files_at(timeline, node, "nginx", t_ns)
    main = next((path for path in files if path.endswith("nginx.conf")), None)
    return None if main is None else read_nginx(files[main], main, read_included=included_from(files))


def proxy_of(timeline: Timeline, node: str) -> str | None:
    """Which proxy a node runs, or None."""
    found = {event.service for event in timeline.of("config", node=node)}
    return next((name for name in PROXIES if name in found), None)
