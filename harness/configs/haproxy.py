"""Reader of haproxy.cfg: for every server, the health check that HAProxy 3.0 really does.

Semantics from HAProxy's configuration manual (sections 2.5, 4.2, 5.2) and, where it is silent, from
3.0's check.c and tcpcheck.c: see `Check`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.configs.haproxy_lines import Directive, Section, duration_ms, parse
from harness.configs.haproxy_server import Check, CheckOptions, Server, read_servers
from harness.configs.source import ConfigError, Remark, Where

__all__ = ["Check", "HaproxyConfig", "Proxy", "Server", "read_haproxy"]

DEFAULT_PATH = "/etc/haproxy/haproxy.cfg"


@dataclass(frozen=True)
class Proxy:
    """A frontend, backend or listen section, with what it takes over from its defaults.

    `timeouts_ms` by name (`connect`, `server`, `check`, …); a timeout that is not set is absent.
    """

    name: str
    kind: Literal["frontend", "backend", "listen"]
    where: Where
    mode: str
    binds: tuple[str, ...]
    balance: str
    timeouts_ms: Mapping[str, int]
    options: tuple[str, ...]
    default_backend: str
    servers: tuple[Server, ...]
    section: Section

    def server(self, name: str) -> Server | None:
        """A server by name."""
        return next((s for s in self.servers if s.name == name), None)


@dataclass(frozen=True)
class HaproxyConfig:
    """A whole configuration; `sections` is all of it."""

    path: str
    proxies: tuple[Proxy, ...]
    spread_checks_percent: int
    hard_stop_after_ms: int | None
    remarks: tuple[Remark, ...]
    sections: tuple[Section, ...]

    def proxy(self, name: str) -> Proxy | None:
        """A frontend, backend or listen section by name."""
        return next((p for p in self.proxies if p.name == name), None)

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers of all proxies."""
        return tuple(server for proxy in self.proxies for server in proxy.servers)


def read_haproxy(
    text: str, path: str = DEFAULT_PATH, environment: Mapping[str, str] | None = None
) -> HaproxyConfig:
    """Read a haproxy.cfg; raises ConfigError, with file and line, where it cannot be read."""
    sections = parse(text, path, environment)
    remarks: list[Remark] = []
    proxies: list[Proxy] = []
    latest: Section | None = None
    named: dict[str, Section] = {}
    for section in sections:
        base = _base(section, latest, named)
        if section.kind == "defaults":
            merged = _merge(base, section) if "from" in section.arguments else section
            latest = merged
            if section.name:
                named[section.name] = merged
        elif section.kind in ("frontend", "backend", "listen"):
            proxies.append(_proxy(section, base, remarks))
    global_ = [s for s in sections if s.kind == "global"]
    spread = [d for s in global_ for d in s.all("spread-checks")]
    stop = [d for s in global_ for d in s.all("hard-stop-after")]
    return HaproxyConfig(
        path=path,
        proxies=tuple(proxies),
        spread_checks_percent=_percent(spread[-1]) if spread else 0,
        hard_stop_after_ms=duration_ms(_value(stop[-1], ""), stop[-1].where) if stop else None,
        remarks=tuple(remarks),
        sections=sections,
    )


def _base(section: Section, latest: Section | None, named: Mapping[str, Section]) -> Section | None:
    if "from" not in section.arguments:
        return latest
    name = section.arguments[section.arguments.index("from") + 1 :][:1]
    if not name or name[0] not in named:
        raise ConfigError(section.where, f"{section.kind} {section.name}: no defaults section {name}")
    return named[name[0]]


def _merge(base: Section | None, section: Section) -> Section:
    directives = (base.directives if base else ()) + section.directives
    return Section(section.kind, section.arguments, section.where, directives)


def _proxy(section: Section, base: Section | None, remarks: list[Remark]) -> Proxy:
    if not section.name:
        raise ConfigError(section.where, f"{section.kind} must have a name")
    whole = _merge(base, section)
    timeouts = {
        d.arguments[0]: duration_ms(d.arguments[1], d.where)
        for d in whole.all("timeout")
        if len(d.arguments) >= 2
    }
    options = _options(whole)
    kind: Literal["frontend", "backend", "listen"] = section.kind  # type: ignore[assignment]
    servers: tuple[Server, ...] = ()
    if kind != "frontend":
        defaults = [d for d in (base.directives if base else ()) if d.keyword == "default-server"]
        servers = read_servers(
            section, defaults, CheckOptions(options, whole.all("http-check"), timeouts), remarks
        )
    default_backend = whole.last("default_backend")
    return Proxy(
        name=section.name,
        kind=kind,
        where=section.where,
        mode=_value(whole.last("mode"), "tcp"),
        binds=tuple(" ".join(d.arguments) for d in section.all("bind")),
        balance=" ".join(d.arguments) if (d := whole.last("balance")) else "roundrobin",
        timeouts_ms=timeouts,
        options=tuple(options),
        default_backend=_value(default_backend, ""),
        servers=servers,
        section=section,
    )


def _value(directive: Directive | None, default: str) -> str:
    return directive.arguments[0] if directive and directive.arguments else default


def _percent(directive: Directive) -> int:
    """A number as HAProxy reads it here (atol): what follows its digits does not count."""
    text = _value(directive, "")
    if not text:
        raise ConfigError(directive.where, f"{directive.keyword} needs a number")
    return int(re.sub("[^0-9].*", "", text) or 0)


def _options(section: Section) -> dict[str, tuple[str, ...]]:
    """The options in force by name, with their arguments; `no option` takes one away."""
    options: dict[str, tuple[str, ...]] = {}
    for directive in section.directives:
        words = directive.words
        if words[0] == "option" and len(words) > 1:
            if words[1] in CHECK_OPTIONS:
                for other in CHECK_OPTIONS:
                    options.pop(other, None)
            options[words[1]] = words[2:]
        elif words[:2] == ("no", "option") and len(words) > 2:
            options.pop(words[2], None)
    return options


# Of the options that choose the kind of check, the last one counts.
CHECK_OPTIONS = (
    *("httpchk", "tcp-check", "ssl-hello-chk", "ldap-check", "mysql-check", "pgsql-check", "redis-check"),
    *("smtpchk", "spop-check", "external-check"),
)
