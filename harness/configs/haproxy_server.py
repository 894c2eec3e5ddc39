"""The `server` lines of a haproxy.cfg: parameters after all defaults, and the health check in force."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.configs.haproxy_lines import Directive, Section, duration_ms
from harness.configs.source import ConfigError, Remark, Where

CheckKind = Literal["connect", "http", "script", "ssl-hello", "other"]

# Server parameters that take a value (manual, section 5.2); the others are flags.
_VALUED = """
    addr agent-addr agent-inter agent-port agent-send alpn ca-file check-alpn check-proto check-sni
    check-via-socks4-proto ciphers ciphersuites client-sigalgs cookie crl-file crt curves error-limit fall
    fastinter downinter guid hash-key id init-addr init-state inter log-bufsize log-proto max-reuse maxconn
    maxqueue minconn namespace npn observe on-error on-marked-down on-marked-up pool-conn-name pool-low-conn
    pool-max-conn pool-purge-delay port proto proxy-v2-options redir resolve-net resolve-opts resolve-prefer
    resolvers rise shard sigalgs slowstart sni socks4 source ssl-max-ver ssl-min-ver tcp-ut track usesrc
    verify verifyhost weight ws interface set-proxy-v2-tlv-fmt
"""
_WITH_VALUE = frozenset(_VALUED.split())


@dataclass(frozen=True)
class Check:
    """A health check with its arithmetic, all in milliseconds.

    After the n-th of `fall` failures in a row the server is DOWN, after `rise` successes UP.  The next
    check starts this long after the end of the last one (check.c): `inter_ms` while fully UP,
    `downinter_ms` while fully DOWN, `fastinter_ms` in between.  `connect_limit_ms` bounds the
    connection, `answer_limit_ms` the answer after it; without `timeout check` it is None, and `inter`
    bounds the two together.
    """

    kind: CheckKind
    inter_ms: int
    fastinter_ms: int
    downinter_ms: int
    rise: int
    fall: int
    connect_limit_ms: int
    answer_limit_ms: int | None
    port: str = ""
    tls: bool = False
    request: str = ""
    observe: str = ""
    on_error: str = "fail-check"
    error_limit: int = 10

    @property
    def silence_limit_ms(self) -> int:
        """How long a check of a server takes that accepts the connection and never answers.

        A `timeout check` that is shorter than what bounds the connection has no effect: once connected,
        tcpcheck_eval_connect (tcpcheck.c) brings the task's expiry forward, but does not queue it anew, and
        wake_expired_tasks (task.c) looks at a task when its old expiry has come.
        """
        return max(self.connect_limit_ms, self.answer_limit_ms or 0)


@dataclass(frozen=True)
class CheckOptions:
    """What a section says of the checks of all its servers."""

    options: Mapping[str, tuple[str, ...]]
    http_check: Sequence[Directive]
    timeouts_ms: Mapping[str, int]


@dataclass(frozen=True)
class Server:
    """One server; `parameters` are all its words by name, defaults included (flags hold nothing)."""

    name: str
    proxy: str
    address: str
    port: str
    where: Where
    check: Check | None
    weight: int
    backup: bool
    disabled: bool
    shutdown_sessions_when_down: bool
    slowstart_ms: int
    parameters: Mapping[str, str]


def read_servers(
    section: Section,
    inherited: Sequence[Directive],
    checks: CheckOptions,
    remarks: list[Remark],
) -> tuple[Server, ...]:
    """The servers of a section; a `default-server` counts for the lines below it."""
    defaults: dict[str, str] = {}
    for line in inherited:
        defaults.update(_parameters(line.arguments))
    servers: list[Server] = []
    for line in section.directives:
        if line.keyword == "default-server":
            defaults = _overlaid(defaults, _parameters(line.arguments))
        elif line.keyword in ("server", "server-template"):
            for name, target, words in _named(line):
                parameters = _overlaid(defaults, _parameters(words))
                check = _check(parameters, checks, line.where)
                servers.append(
                    _server(
                        name,
                        target,
                        proxy=section.name,
                        where=line.where,
                        check=check,
                        parameters=parameters,
                    )
                )
                if check is None and "check" not in parameters and {"inter", "fall"} & set(parameters):
                    remarks.append(Remark(line.where, f"server {name} has check timers but no `check`"))
    return tuple(servers)


def _named(line: Directive) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, target and parameters of each server that the line stands for."""
    words = line.arguments
    if line.keyword == "server":
        if len(words) < 2:
            raise ConfigError(line.where, "a server needs a name and an address")
        return [(words[0], words[1], words[2:])]
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)", words[1]) if len(words) > 2 else None
    if match is None:
        raise ConfigError(line.where, "a server-template needs a prefix, a number or range, and an address")
    first, last = int(match.group(1) or 1), int(match.group(2))
    return [(f"{words[0]}{n}", words[2], words[3:]) for n in range(first, last + 1)]


def _parameters(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        if words[at] in _WITH_VALUE and at + 1 < len(words):
            found[words[at]] = words[at + 1]
            at += 2
        else:
            found[words[at]] = ""
            at += 1
    return found


def _overlaid(defaults: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """`given` over `defaults`; `no-check` and its like take the flag away."""
    merged = {**defaults, **given}
    for name in given:
        if name.startswith("no-"):
            merged.pop(name[3:], None)
        else:
            merged.pop(f"no-{name}", None)
    return merged


def _server(
    name: str,
    target: str,
    *,
    proxy: str,
    where: Where,
    check: Check | None,
    parameters: Mapping[str, str],
) -> Server:
    address, colon, port = target.rpartition(":")
    if not colon or target.endswith("]"):
        address, port = target, ""
    return Server(
        name=name,
        proxy=proxy,
        address=address.strip("[]"),
        port=port,
        where=where,
        check=check,
        weight=_count(parameters, "weight", 1, where),
        backup="backup" in parameters,
        disabled="disabled" in parameters,
        shutdown_sessions_when_down=parameters.get("on-marked-down") == "shutdown-sessions",
        slowstart_ms=_time(parameters, "slowstart", 0, where),
        parameters=parameters,
    )


def _check(parameters: Mapping[str, str], section: CheckOptions, where: Where) -> Check | None:
    if "check" not in parameters:
        return None
    inter_ms = _time(parameters, "inter", 2000, where)
    answer_limit_ms = section.timeouts_ms.get("check")
    connect_limit_ms = inter_ms
    if answer_limit_ms is not None:
        connect_limit_ms = min(inter_ms, section.timeouts_ms.get("connect", inter_ms))
    return Check(
        kind=_kind(section.options),
        inter_ms=inter_ms,
        fastinter_ms=_time(parameters, "fastinter", 0, where) or inter_ms,
        downinter_ms=_time(parameters, "downinter", 0, where) or inter_ms,
        rise=_count(parameters, "rise", 2, where),
        fall=_count(parameters, "fall", 3, where),
        connect_limit_ms=connect_limit_ms,
        answer_limit_ms=answer_limit_ms,
        port=parameters.get("port", ""),
        tls="check-ssl" in parameters or ("ssl" in parameters and "port" not in parameters),
        request=_request(section.options, section.http_check),
        observe=parameters.get("observe", ""),
        on_error=parameters.get("on-error", "fail-check"),
        error_limit=_count(parameters, "error-limit", 10, where),
    )


def _kind(options: Mapping[str, tuple[str, ...]]) -> CheckKind:
    if "httpchk" in options:
        return "http"
    if "tcp-check" in options or "external-check" in options:
        return "script"
    if "ssl-hello-chk" in options:
        return "ssl-hello"
    return "other" if any(name.endswith(("-check", "chk")) for name in options) else "connect"


def _request(options: Mapping[str, tuple[str, ...]], http_check: Sequence[Directive]) -> str:
    """The method and path that an HTTP check asks for; `OPTIONS /` by default."""
    if "httpchk" not in options:
        return ""
    words = options["httpchk"]
    method, uri = ("OPTIONS", "/") if not words else ("OPTIONS", words[0])
    if len(words) > 1:
        method, uri = words[0], words[1]
    for directive in http_check:
        given = directive.words
        if given[1:2] == ("send",):
            pairs = dict(zip(given[2::2], given[3::2], strict=False))
            method, uri = pairs.get("meth", method), pairs.get("uri", uri)
    return f"{method} {uri}"


def _time(parameters: Mapping[str, str], name: str, default: int, where: Where) -> int:
    return duration_ms(parameters[name], where) if name in parameters else default


def _count(parameters: Mapping[str, str], name: str, default: int, where: Where) -> int:
    text = parameters.get(name, str(default))
    if not text.isdigit():
        raise ConfigError(where, f"{name} {text!r} is not a whole number")
    return int(text)
