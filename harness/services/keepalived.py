"""keepalived, from typed parameters or from the user's own file. See keepalived(8), keepalived.conf(5)."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import ConfigRejected

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context

CONFIG = "/etc/keepalived/keepalived.conf"


@dataclass(frozen=True)
class Keepalived:
    """keepalived with this text as its configuration, and other files that it needs (scripts)."""

    text: str
    extra: Mapping[str, str] = field(default_factory=dict)
    name: str = "keepalived"

    # It reports nothing to a service manager that is not its parent; its log tells when its state machines
    # start, which is when the first backup timer does.  An instance that a failed script keeps in FAULT
    # from the start says nothing of a state.
    ready_line = r"(?i)entering (BACKUP|MASTER|FAULT) state|VRRP_Script\(\S+\) failed"
    reload_line = "Reload complete"

    def files(self) -> dict[str, str]:
        """Its configuration, and what that refers to."""
        return {CONFIG: self.text, **self.extra}

    def validate(self, node: Node) -> None:
        """`keepalived -t`: raises ConfigRejected with its message, which names the line."""
        done = node.status(["keepalived", "--config-test", "--log-console", "-f", CONFIG])
        if not done.ok:
            raise ConfigRejected(node.name, self.name, CONFIG, done.stderr or done.stdout)

    def start(self, node: Node, context: Context) -> Process:
        """Start in the foreground, logging in detail to its log file."""
        command = ["keepalived", "--dont-fork", "--log-console", "--log-detail", "-f", CONFIG]
        return node.spawn(self.name, command)

    def stop(self, process: Process) -> None:
        """SIGTERM: it gives its addresses up and says so with a priority-0 advertisement."""
        process.signal(signal.SIGTERM)

    def reload(self, process: Process) -> None:
        """SIGHUP: it reads its configuration again and keeps what has not changed."""
        process.signal(signal.SIGHUP)


@dataclass(frozen=True)
class VrrpInstance:
    """The parameters of one VRRP instance; `advert_int_s` in seconds, `addresses` in CIDR form."""

    name: str
    interface: str
    vrid: int
    priority: int
    advert_int_s: float
    addresses: tuple[str, ...]
    state: str = "BACKUP"
    nopreempt: bool = False
    preempt_delay_s: float = 0
    unicast_source: str = ""
    unicast_peers: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    def render(self) -> str:
        """The instance as a block of keepalived.conf."""
        lines = [
            f"state {self.state}",
            f"interface {self.interface}",
            f"virtual_router_id {self.vrid}",
            f"priority {self.priority}",
            f"advert_int {self.advert_int_s:g}",
        ]
        if self.nopreempt:
            lines.append("nopreempt")
        if self.preempt_delay_s:
            lines.append(f"preempt_delay {self.preempt_delay_s:g}")
        if self.unicast_source:
            lines.append(f"unicast_src_ip {self.unicast_source}")
        if self.unicast_peers:
            lines += ["unicast_peer {", *(f"    {peer}" for peer in self.unicast_peers), "}"]
        lines += self.extra
        lines += ["virtual_ipaddress {", *(f"    {address}" for address in self.addresses), "}"]
        return f"vrrp_instance {self.name} {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"


def render(
    instances: tuple[VrrpInstance, ...],
    *,
    version: int = 3,
    globals_: tuple[str, ...] = (),
    blocks: tuple[str, ...] = (),
) -> str:
    """A whole keepalived.conf: `globals_` are lines of global_defs, `blocks` come before the instances."""
    lines = [f"vrrp_version {version}", *globals_]
    head = "global_defs {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
    return "\n".join([head, *blocks, *(instance.render() for instance in instances)])
