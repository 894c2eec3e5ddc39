"""What a user's files mean: virtual addresses and who speaks for them, balanced ports, members."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from harness.configs.haproxy import HaproxyConfig, Proxy, read_haproxy
from harness.configs.haproxy_server import Server
from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import KeepalivedConfig, VirtualAddress, VrrpInstance
from harness.configs.nginx import NginxConfig, read_nginx
from harness.configs.source import ReadIncluded, included_from
from harness.errors import UsageError
from harness.lb.folder import MAIN, Folder, NodeFiles

_ANY = ("", "*", "0.0.0.0", "::")  # noqa: S104 -- words of a configuration
_BACKEND_IN_RULE = re.compile(r"^[\w.:-]+$")


@dataclass(frozen=True)
class Backend:
    """A member's port behind a balanced port: where connections are passed to, and where checks go."""

    name: str
    address: str
    port: int
    checks: tuple[int, ...] = ()
    tls: bool | None = None
    tls_checks: bool | None = None
    check_path: str = ""
    ca_file: str = ""


@dataclass(frozen=True)
class Front:
    """A balanced port of one balancer: `address` is "" where it listens on any."""

    node: str
    address: str
    port: int
    proxy: str
    mode: str
    backends: tuple[Backend, ...]
    server_name: str = ""
    ends_tls: bool = False


@dataclass(frozen=True)
class Speaker:
    """A balancer's VRRP instance, with the interface that it announces on."""

    node: str
    instance: VrrpInstance


@dataclass(frozen=True)
class Estate:
    """All balancers: their files and what these say. `notes` tell what is not drilled."""

    folder: Folder
    keepalived: dict[str, KeepalivedConfig]
    haproxy: dict[str, HaproxyConfig]
    nginx: dict[str, NginxConfig]
    fronts: tuple[Front, ...]
    notes: tuple[str, ...]

    @property
    def nodes(self) -> list[str]:
        """The balancers."""
        return [node.name for node in self.folder.nodes]

    @property
    def speakers(self) -> list[Speaker]:
        """Every instance of every balancer."""
        return [Speaker(n, i) for n, config in self.keepalived.items() for i in config.instances]

    def addresses(self) -> list[tuple[VirtualAddress, Speaker]]:
        """The virtual addresses, each with the first balancer that may have it."""
        found: dict[str, tuple[VirtualAddress, Speaker]] = {}
        for speaker in self.speakers:
            for address in speaker.instance.addresses:
                found.setdefault(address.address, (address, speaker))
        return list(found.values())


def read_estate(folder: Folder) -> Estate:
    """Read what vipdrill knows; raises ConfigError (file and line) and UsageError."""
    keepalived = {n.name: _keepalived(n) for n in folder.nodes if n.main("keepalived") is not None}
    haproxy = {
        n.name: read_haproxy(text, f"{n.name}:{MAIN['haproxy']}")
        for n in folder.nodes
        if (text := n.main("haproxy")) is not None
    }
    nginx = {n.name: _nginx(n) for n in folder.nodes if n.main("nginx") is not None}
    fronts = [front for node, config in haproxy.items() for front in _haproxy_fronts(node, config)]
    fronts += [front for node, config in nginx.items() for front in _nginx_fronts(node, config)]
    notes = [str(remark) for c in keepalived.values() for remark in c.remarks]
    notes += [str(remark) for h in haproxy.values() for remark in h.remarks]
    notes += [
        f"{node}: scripts run without enable_script_security, which keepalived logs as a security violation"
        for node, config in keepalived.items()
        if config.scripts and not config.globals.enable_script_security
    ]
    notes += [
        f"{node}: virtual_server blocks (IPVS) are not drilled"
        for node, config in keepalived.items()
        if config.virtual_servers
    ]
    notes += [
        f"{node}: nginx.conf balances nothing in a stream block, and http is not drilled"
        for node, config in nginx.items()
        if not config.servers
    ]
    if not keepalived:
        raise UsageError(
            f"no balancer in {folder.path} has a {MAIN['keepalived']}: without a virtual address that moves, "
            "there is no failover to be drilled"
        )
    return Estate(folder, keepalived, haproxy, nginx, tuple(fronts), tuple(notes))


def _keepalived(node: NodeFiles) -> KeepalivedConfig:
    main = MAIN["keepalived"]
    return read_keepalived(
        node.texts[main],
        f"{node.name}:{main}",
        config_id=node.name.partition(".")[0],
        read_included=_included(node),
    )


def _nginx(node: NodeFiles) -> NginxConfig:
    main = MAIN["nginx"]
    return read_nginx(node.texts[main], f"{node.name}:{main}", read_included=_included(node))


def _included(node: NodeFiles) -> ReadIncluded:
    """Resolve includes from the node's own files; what is said of them names the node too."""
    read, mark = included_from(node.texts), f"{node.name}:"

    def of_node(pattern: str, directory: str) -> list[tuple[str, str]]:
        return [(mark + path, text) for path, text in read(pattern, directory.removeprefix(mark))]

    return of_node


# -- HAProxy ----------------------------------------------------------------------------------------


def _haproxy_fronts(node: str, config: HaproxyConfig) -> Iterator[Front]:
    for proxy in config.proxies:
        servers = [*proxy.servers, *(s for name in _backends(proxy) for s in _servers(config, name))]
        backends = tuple(_backend(server) for server in servers)
        if not backends:
            continue
        for bind in proxy.binds:
            words = bind.split()
            for address, port in _listens(words[0]):
                yield Front(
                    node,
                    address,
                    port,
                    proxy.name,
                    proxy.mode,
                    backends,
                    _server_name(proxy),
                    ends_tls="ssl" in words[1:],
                )


def _backends(proxy: Proxy) -> list[str]:
    """The backends that a frontend may pass to; a name made of what a request says cannot be known."""
    named = [d.words[1] for d in proxy.section.all("use_backend") if len(d.words) > 1]
    return [name for name in [*named, proxy.default_backend] if name and _BACKEND_IN_RULE.match(name)]


def _servers(config: HaproxyConfig, name: str) -> tuple[Server, ...]:
    backend = config.proxy(name)
    return backend.servers if backend is not None else ()


def _backend(server: Server) -> Backend:
    check = server.check
    port = int(server.port) if server.port.isdigit() else 0
    checks = (int(check.port),) if check is not None and check.port.isdigit() else ()
    tls = True if "ssl" in server.parameters else None
    # A check in words (HTTP, by the proxy itself) tells whether TLS is spoken where it goes.
    told = check.tls if check is not None and check.kind == "http" else None
    words = check.request.split() if check is not None else []
    path = next((word for word in words if word.startswith("/")), "")
    verifies = server.parameters.get("verify", "") != "none"
    ca_file = server.parameters.get("ca-file", "") if verifies else ""
    return Backend(server.name, server.address, port, checks, tls, told, path, ca_file)


def _listens(bind: str) -> Iterator[tuple[str, int]]:
    """Where a `bind` listens (manual, section 4.2): `10.0.0.100:443,:80`; sockets of other kinds are none."""
    for part in bind.split(","):
        address, _, port = part.rpartition(":")
        address = re.sub(r"^(ipv4|ipv6|ipv4@|ipv6@)@?", "", address).strip("[]")
        if not port.isdigit() or "@" in address or "/" in address:
            continue
        yield ("" if address in _ANY else address), int(port)


def _server_name(proxy: Proxy) -> str:
    """A name that clients may ask for, as the first rule on SNI or Host has it."""
    for directive in proxy.section.directives:
        words = list(directive.words)
        if not re.search(r"req[_.]ssl_sni|ssl_fc_sni|hdr\(host\)|hdr_(end|dom)\(host\)", " ".join(words)):
            continue
        values = [w for w in words[2:] if re.fullmatch(r"[.\w-]*\.[A-Za-z][\w-]*", w) and "(" not in w]
        values = [v for v in values if not v.startswith(("req.", "req_", "ssl_fc"))]
        if values:
            return f"drill{values[0]}" if values[0].startswith(".") else values[0]
    return ""


# -- Nginx ------------------------------------------------------------------------------------------


def _nginx_fronts(node: str, config: NginxConfig) -> Iterator[Front]:
    for server in config.servers:
        groups = [group for name in server.upstreams if (group := config.upstream(name)) is not None]
        backends = tuple(
            Backend(f"{group.name}-{number}", s.address, int(s.port))
            for group in groups
            for number, s in enumerate(group.servers, 1)
            if s.port.isdigit()
        )
        for listen in server.listens if backends else ():
            address, _, port = listen.rpartition(":")
            address = address.strip("[]")
            if port.isdigit():
                yield Front(
                    node,
                    "" if address in _ANY else address,
                    int(port),
                    "nginx",
                    "tcp",
                    backends,
                )


def literal(address: str) -> bool:
    """Whether it is an address and not a name."""
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
