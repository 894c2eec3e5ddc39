"""What a node's kernel and balancer say of themselves at one moment, as text for the artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from harness.errors import TestbedError
from harness.kernel import namespaces
from harness.nodes.base import Node

_TIMEOUT_S = 5.0
# With what each reads.
_COMMANDS = (
    (("ip", "-batch", "-"), b"address\nroute\nneigh\n"),
    (("ss", "-Htn", "state", "connected"), b""),
)
# A file that a service or the kernel keeps while it runs, and what to ask then.
_IF_THERE = {
    "/run/haproxy.sock": ("sh", "-c", "echo 'show servers state' | socat -t 1 - UNIX:/run/haproxy.sock"),
    "/proc/net/ip_vs": ("ipvsadm", "--list", "--numeric", "--stats", "--exact"),
    "/proc/net/ip_vs_conn": ("ipvsadm", "--list", "--numeric", "--connection"),
}


def snapshot(nodes: Mapping[str, Node], folder: Path) -> None:
    """Write `NODE.txt` into the folder for every node that can be asked."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        name: namespaces.submit_plain(partial(_state_of, node))
        for name, node in nodes.items()
        if node.alive and not node.frozen
    }
    for name, answer in asked.items():
        (folder / f"{name}.txt").write_text(answer.result())


def _state_of(node: Node) -> str:
    parts = []
    try:
        commands = [*_COMMANDS, *((ask, b"") for path, ask in _IF_THERE.items() if node.exists(path))]
        for command, read in commands:
            done = node.status(command, timeout_s=_TIMEOUT_S, stdin=read)
            asked = ", ".join(read.decode().split())
            parts.append(f"# {' '.join(command)} {asked}".rstrip() + f"\n{done.stdout}{done.stderr}")
    except TestbedError as error:
        parts.append(f"# {error}\n")
    return "\n".join(parts)
