"""A node's packet filter rules as a service: in force before it is ready, gone when it stops (iptables(8)).

Rules are written in iptables' words.  A kernel has them in nftables or in the older tables, and iptables
comes in a variant for either; which one does is tried when it starts.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.nodes.base import Node
    from harness.nodes.process import Process
    from harness.services.base import Context


@dataclass(frozen=True)
class Firewall:
    """These rules, each as `TABLE CHAIN WORDS...`: `nat POSTROUTING -o eth1 -j MASQUERADE`."""

    rules: tuple[str, ...]
    name: str = "firewall"

    ready_line = "rules are in force"

    @property
    def path(self) -> str:
        """Where its script lies."""
        return f"/etc/{self.name}.sh"

    def files(self) -> dict[str, str]:
        """The script that puts the rules into force and takes them away again."""
        tables = list(dict.fromkeys(rule.split()[0] for rule in self.rules))
        added = "".join(f'    "$program" --wait --table {_change(rule, "--append")}\n' for rule in self.rules)
        gone = "".join(f'    "$program" --wait --table {_change(rule, "--delete")}\n' for rule in self.rules)
        text = f"""#!/bin/bash
set -e
program=iptables-nft
for table in {" ".join(tables)}; do
    "$program" --wait --table $table --new-chain vipdrill 2>/dev/null || program=iptables-legacy
    "$program" --wait --table $table --delete-chain vipdrill 2>/dev/null || true
done
put() {{
{added}}}
take_away() {{
{gone}    exit 0
}}
put
trap take_away TERM
echo {self.ready_line}
while :; do
    sleep 3600 &
    wait $! || true
done
"""
        return {self.path: text}

    def validate(self, node: Node) -> None:
        """Its kernel judges the rules when they are put into force."""

    def start(self, node: Node, context: Context) -> Process:
        """Put the rules into force, then wait to be stopped."""
        return node.spawn(self.name, ["bash", self.path])

    def stop(self, process: Process) -> None:
        """SIGTERM: the rules are taken away."""
        process.signal(signal.SIGTERM)


def _change(rule: str, how: str) -> str:
    table, chain, words = rule.split(maxsplit=2)
    return f"{table} {how} {chain} {words}"
