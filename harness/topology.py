"""A topology: an architecture as data. Segments, nodes and what runs on them; nothing is built here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.errors import UsageError, one_of

if TYPE_CHECKING:
    from harness.services.base import Service

Role = Literal["balancer", "member", "client", "router"]


@dataclass(frozen=True)
class Segment:
    """An Ethernet segment: one broadcast domain. `mtu` in bytes."""

    name: str
    mtu: int = 1500


@dataclass(frozen=True)
class Interface:
    """A node's interface on a segment, with its addresses in CIDR form."""

    name: str
    segment: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class NodeSpec:
    """A node: its interfaces, routes (destination CIDR to gateway), sysctls, and services in start order.

    `loopback` are addresses in CIDR form on `lo`, beside its own.

    Of an `opaque` one (an appliance) only what can be seen from outside is recorded: no configuration,
    no addresses or links of its own, no life of its services.

    `needs` are what its kernel must have, by the names of the modules (`ip_vs`, `sch_netem`); where the
    host's has not, `harness.kernel.ladder` gives it one of its own (`kernel`).
    """

    name: str
    role: Role
    interfaces: tuple[Interface, ...]
    routes: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)
    services: tuple[Service, ...] = ()
    opaque: bool = False
    loopback: tuple[str, ...] = ()
    kernel: Literal["host", "uml"] = "host"
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vip:
    """A virtual address, the port balanced behind it, and what is served there (`masters`, `routers`)."""

    address: str
    port: int
    service: str


@dataclass(frozen=True)
class ProbeSpec:
    """A client's view: from which node, to which address and port, asking for what.

    `certificate` are the names of the certificate that a good server shows, where not the testbed's own.
    `share` of the testbed's probe rate is what this client takes.  `patience_s` is how long its long-lived
    connection may stand still before it is given up (0: as long as an attempt may take).  A drill waits
    until every client that is `awaited` is served.  `ports` is how many source ports its new connections
    take in turn (0: as many as the kernel has), as those of a client behind a small NAT pool do.  By `udp`
    it is DNS servers that are asked, for their names (RFC 4892).  `upload` are the bytes of each request's
    body (0: a GET).
    """

    client: str
    address: str
    port: int
    server_name: str
    path: str = "/version"
    tls: bool = True
    certificate: tuple[str, ...] = ()
    share: float = 1.0
    patience_s: float = 0.0
    awaited: bool = True
    ports: int = 0
    protocol: Literal["tcp", "udp"] = "tcp"
    upload: int = 0


@dataclass(frozen=True)
class Topology:
    """Everything needed to build one architecture; `options` are what it was made with."""

    architecture: str
    options: Mapping[str, Any]
    segments: tuple[Segment, ...]
    nodes: tuple[NodeSpec, ...]
    vips: tuple[Vip, ...]
    probes: tuple[ProbeSpec, ...]

    def node(self, name: str) -> NodeSpec:
        """A node by name; raises UsageError naming the known ones."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise one_of("node", name, [node.name for node in self.nodes])

    def role(self, role: Role) -> list[NodeSpec]:
        """The nodes of a role, in the order of the topology."""
        return [node for node in self.nodes if node.role == role]

    def check(self) -> None:
        """Raise UsageError for a topology that cannot be built: names twice, unknown segments."""
        names = [node.name for node in self.nodes]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"the topology has two nodes named {name!r}")
        segments = [segment.name for segment in self.segments]
        for node in self.nodes:
            for interface in node.interfaces:
                if interface.segment not in segments:
                    raise one_of(f"segment of {node.name}:{interface.name}", interface.segment, segments)


@dataclass(frozen=True)
class Option:
    """One thing that can be chosen about an architecture; the default's type is the option's type.

    On the command line `advert_int` is `--advert-int`; `flag` is what it is called there where Python
    has that word for itself.  `choices`, where given, are all there are.
    """

    name: str
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
    flag: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """What it may be called, the name on the command line first."""
        return (self.flag, self.name) if self.flag else (self.name,)

    def parse(self, value: Any) -> Any:
        """A value given as text or of the option's type; raises UsageError that says what is allowed."""
        kind = type(self.default)
        if value is True and kind is not bool:
            raise UsageError(f"--{self.names[0].replace('_', '-')} needs a value: {_ARTICLE[kind]}")
        try:
            parsed = _truth(value) if kind is bool else kind(value)
        except ValueError:
            raise UsageError(f"{self.name} takes {_ARTICLE[kind]}, not {value!r}") from None
        if self.choices and parsed not in self.choices:
            raise one_of(self.name, str(value), [str(choice) for choice in self.choices])
        return parsed


_ARTICLE = {bool: "yes or no", int: "a whole number", float: "a number", str: "a word"}


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    truths = {
        "yes": True,
        "true": True,
        "1": True,
        "on": True,
        "no": False,
        "false": False,
        "0": False,
        "off": False,
    }
    if str(value).lower() not in truths:
        raise ValueError(value)
    return truths[str(value).lower()]
