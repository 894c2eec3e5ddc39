"""Reader of nginx.conf, as far as its stream module balances: listeners, upstreams, passive checks.

Semantics and defaults from nginx.org/en/docs/stream: ngx_stream_upstream_module (server, max_fails,
fail_timeout) and ngx_stream_proxy_module (proxy_connect_timeout, proxy_timeout, proxy_next_upstream).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.configs.nginx_tree import Block, duration_ms, read_tree
from harness.configs.source import ConfigError, ReadIncluded, Where, nothing_included

DEFAULT_PATH = "/etc/nginx/nginx.conf"
_METHODS = ("least_conn", "hash", "random", "least_time")


@dataclass(frozen=True)
class UpstreamServer:
    """A server of an upstream group; after `max_fails` failed connections within `fail_timeout_ms` it is
    left out for as long (0: never)."""

    address: str
    port: str
    where: Where
    weight: int = 1
    max_fails: int = 1
    fail_timeout_ms: int = 10_000
    backup: bool = False
    down: bool = False


@dataclass(frozen=True)
class Upstream:
    """A group of servers; `method` is `round-robin` or the directive that chooses another."""

    name: str
    method: str
    servers: tuple[UpstreamServer, ...]
    shared: bool


@dataclass(frozen=True)
class StreamServer:
    """One `server` of the stream module: where it listens and to which groups it may pass."""

    where: Where
    listens: tuple[str, ...]
    upstreams: tuple[str, ...]
    connect_timeout_ms: int
    idle_timeout_ms: int
    next_upstream: bool
    next_upstream_tries: int
    next_upstream_timeout_ms: int

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports it listens on; a socket in the file system (`unix:`) has none."""
        return tuple(port for listen in self.listens for port in _ports(listen))


@dataclass(frozen=True)
class NginxConfig:
    """The stream part of a configuration; `workers` is None for `auto`."""

    path: str
    servers: tuple[StreamServer, ...]
    upstreams: tuple[Upstream, ...]
    workers: int | None

    def upstream(self, name: str) -> Upstream | None:
        """An upstream group by name."""
        return next((u for u in self.upstreams if u.name == name), None)


def read_nginx(
    text: str, path: str = DEFAULT_PATH, *, read_included: ReadIncluded = nothing_included
) -> NginxConfig:
    """Read an nginx.conf; raises ConfigError, with file and line, where it cannot be read."""
    tree = read_tree(text, path, read_included)
    streams = [block for block in tree if block.name == "stream"]
    maps = {
        block.words[2]: block for stream in streams for block in stream.named("map") if len(block.words) > 2
    }
    upstreams = [_upstream(block) for stream in streams for block in stream.named("upstream")]
    servers = [
        _server(block, stream, maps, {u.name for u in upstreams})
        for stream in streams
        for block in stream.named("server")
    ]
    # A target that names no group is a group of its own.
    known = {u.name for u in upstreams}
    literal = dict.fromkeys(t for server in servers for t in server.upstreams if t not in known)
    single = [Upstream(t, "round-robin", (_target(t, s.where),), False) for t in literal for s in servers[:1]]
    workers = next((block.words[1] for block in tree if block.name == "worker_processes"), "1")
    return NginxConfig(
        path,
        tuple(servers),
        (*upstreams, *single),
        int(workers) if workers.isdigit() else None,
    )


def _ports(listen: str) -> range:
    """`443`, `10.0.0.100:443`, `[::]:7000-7005`."""
    first, _, last = listen.rpartition(":")[2].partition("-")
    if listen.startswith("unix:") or not first.isdigit() or not (last or first).isdigit():
        return range(0)
    return range(int(first), int(last or first) + 1)


def _upstream(block: Block) -> Upstream:
    if len(block.words) < 2:
        raise ConfigError(block.where, "an upstream needs a name")
    method = next((child.name for child in block.children if child.name in _METHODS), "round-robin")
    servers = tuple(_upstream_server(child) for child in block.named("server"))
    return Upstream(block.words[1], method, servers, any(block.named("zone")))


def _upstream_server(line: Block) -> UpstreamServer:
    if len(line.words) < 2:
        raise ConfigError(line.where, "a server needs an address")
    given = dict(word.partition("=")[::2] for word in line.words[2:])
    base = _target(line.words[1], line.where)
    return UpstreamServer(
        base.address,
        base.port,
        line.where,
        weight=_count(given.get("weight", "1"), line.where),
        max_fails=_count(given.get("max_fails", "1"), line.where),
        fail_timeout_ms=duration_ms(given.get("fail_timeout", "10s"), line.where),
        backup="backup" in given,
        down="down" in given,
    )


def _target(text: str, where: Where) -> UpstreamServer:
    address, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        address, port = text, ""
    return UpstreamServer(address.strip("[]"), port, where)


def _server(block: Block, stream: Block, maps: dict[str, Block], groups: set[str]) -> StreamServer:
    listens = tuple(child.words[1] for child in block.named("listen") if len(child.words) > 1)
    passed = next((child.words[1] for child in block.named("proxy_pass") if len(child.words) > 1), "")
    return StreamServer(
        where=block.where,
        listens=listens,
        upstreams=tuple(dict.fromkeys(_targets(passed, maps, groups))),
        connect_timeout_ms=_time(block, stream, "proxy_connect_timeout", "60s"),
        idle_timeout_ms=_time(block, stream, "proxy_timeout", "10m"),
        next_upstream=_value(block, stream, "proxy_next_upstream", "on") == "on",
        next_upstream_tries=_count(_value(block, stream, "proxy_next_upstream_tries", "0"), block.where),
        next_upstream_timeout_ms=_time(block, stream, "proxy_next_upstream_timeout", "0"),
    )


def _targets(passed: str, maps: dict[str, Block], groups: set[str]) -> Iterator[str]:
    """The groups that a `proxy_pass` may mean: itself, or what a map makes of a variable."""
    if not passed.startswith("$"):
        if passed:
            yield passed
        return
    if passed in maps:
        for line in maps[passed].children:
            if len(line.words) > 1 and line.words[1] in groups:
                yield line.words[1]


def _value(block: Block, outer: Block, name: str, default: str) -> str:
    for place in (block, outer):
        for line in place.named(name):
            if len(line.words) > 1:
                return line.words[1]
    return default


def _time(block: Block, outer: Block, name: str, default: str) -> int:
    return duration_ms(_value(block, outer, name, default), block.where)


def _count(text: str, where: Where) -> int:
    if not text.isdigit():
        raise ConfigError(where, f"{text!r} is not a whole number")
    return int(text)
