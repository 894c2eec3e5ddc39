"""keepalived's virtual servers from typed parameters, rendered as blocks of keepalived.conf(5)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

CheckKind = Literal["TCP_CHECK", "HTTP_GET", "SSL_GET", "MISC_CHECK"]
Method = Literal["NAT", "DR", "TUN"]


@dataclass(frozen=True)
class Check:
    """A health check: what it connects to (`port` 0: the server's own), which page, or which script.

    `name` is the host that the page is asked of, by Host and, with TLS, by SNI; `digest` the MD5 of the
    body that is well; a `script` is given the server's address and port.
    """

    kind: CheckKind
    connect_timeout_s: float = 0
    port: int = 0
    path: str = ""
    name: str = ""
    digest: str = ""
    script: str = ""
    script_timeout_s: int = 0
    dynamic: bool = False
    fast_recovery: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class RealServer:
    """A member: `checks` of its own, `weight` its share."""

    address: str
    port: int
    weight: int = 1
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Timing:
    """How often members are checked and how soon one is given up, in seconds and counts."""

    delay_loop_s: float
    retry: int
    delay_before_retry_s: float
    warmup_s: float = 0


@dataclass(frozen=True)
class VirtualServer:
    """A balanced port with its members; `extra` are more lines of the block."""

    address: str
    port: int
    servers: tuple[RealServer, ...]
    method: Method
    scheduler: str
    timing: Timing
    flags: tuple[str, ...] = ()
    quorum: int = 1
    hysteresis: int = 0
    alpha: bool = False
    omega: bool = False
    inhibit_on_failure: bool = False
    persistence_s: int = 0
    sorry: tuple[str, int] | None = None
    protocol: Literal["TCP", "UDP"] = "TCP"
    extra: tuple[str, ...] = ()

    def render(self) -> str:
        """The virtual server as a block of keepalived.conf."""
        timing = self.timing
        lines = [
            f"protocol {self.protocol}",
            f"lvs_sched {self.scheduler}",
            *self.flags,
            f"lvs_method {self.method}",
            f"delay_loop {timing.delay_loop_s:g}",
            *([f"retry {timing.retry}"] if timing.retry else []),
            f"delay_before_retry {timing.delay_before_retry_s:g}",
            f"warmup {timing.warmup_s:g}",
        ]
        lines += [f"persistence_timeout {self.persistence_s}"] if self.persistence_s else []
        lines += [word for word in ("alpha", "omega", "inhibit_on_failure") if getattr(self, word)]
        lines += [f"quorum {self.quorum}"] if self.quorum != 1 else []
        lines += [f"hysteresis {self.hysteresis}"] if self.hysteresis else []
        lines += [f"sorry_server {self.sorry[0]} {self.sorry[1]}"] if self.sorry else []
        lines += self.extra
        for server in self.servers:
            lines += _block(f"real_server {server.address} {server.port}", _real(server, timing))
        return "\n".join(_block(f"virtual_server {self.address} {self.port}", lines)) + "\n"


def _real(server: RealServer, timing: Timing) -> Iterator[str]:
    yield f"weight {server.weight}"
    for check in server.checks:
        yield from _block(check.kind, _check(check, server, timing))


def _check(check: Check, server: RealServer, timing: Timing) -> Iterator[str]:
    if not timing.retry:
        # Only a checker can be told not to retry.
        yield "retry 0"
    if check.kind == "MISC_CHECK":
        yield f'misc_path "{check.script} {server.address} {check.port or server.port}"'
        if check.script_timeout_s:
            yield f"misc_timeout {check.script_timeout_s}"
        if check.dynamic:
            yield "misc_dynamic"
    else:
        yield f"connect_timeout {check.connect_timeout_s:g}"
        if check.port:
            yield f"connect_port {check.port}"
    if check.kind in ("HTTP_GET", "SSL_GET"):
        yield from ["fast_recovery"] if check.fast_recovery else []
        yield from ["enable_sni"] if check.name and check.kind == "SSL_GET" else []
        yield from _block("url", _url(check))
    yield from check.extra


def _url(check: Check) -> Iterator[str]:
    yield f"path {check.path}"
    yield "status_code 200"
    yield from [f"digest {check.digest}"] if check.digest else []
    yield from [f"virtualhost {check.name}"] if check.name else []


def _block(head: str, lines: Iterable[str]) -> list[str]:
    return [f"{head} {{", *(f"    {line}" for line in lines), "}"]
