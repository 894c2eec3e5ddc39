"""HAProxy's runtime API (management guide, section 9.3), asked over the stats socket of its configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.configs.haproxy import HaproxyConfig
from harness.errors import TestbedError

if TYPE_CHECKING:
    from harness.nodes.base import Node

# Columns of `show servers state`, version 1 (management guide, section 9.3).
_BACKEND, _SERVER, _OPERATIONAL, _ADMINISTRATIVE = 1, 3, 5, 6
FORCED_DRAIN = 0x08
"""Bit of a server's administrative state: an administrator put it into drain."""


def admin_socket(config: HaproxyConfig) -> str:
    """The path of the first stats socket with `level admin`, or '' where the configuration has none."""
    for section in config.sections:
        if section.kind != "global":
            continue
        for line in section.directives:
            words = list(line.words)
            if words[:2] == ["stats", "socket"] and "level admin" in " ".join(words[3:]):
                path = words[2].removeprefix("unix@")
                if path.startswith("/"):
                    return path
    return ""


def ask(node: Node, path: str, command: str) -> str:
    """Send one command; its answer. Raises TestbedError where nobody answers."""
    done = node.status(["socat", "-t", "2", "-", f"UNIX-CONNECT:{path}"], stdin=command.encode() + b"\n")
    if not done.ok:
        raise TestbedError(f"{node.name}: {path} does not answer {command!r}: {done.stderr.strip()}")
    return done.stdout.strip()


def server_states(answer: str) -> dict[tuple[str, str], tuple[int, int]]:
    """`show servers state` as (backend, server) to (operational, administrative) state."""
    states: dict[tuple[str, str], tuple[int, int]] = {}
    for line in answer.splitlines():
        words = line.split()
        if len(words) > _ADMINISTRATIVE and words[0].isdigit():
            states[words[_BACKEND], words[_SERVER]] = int(words[_OPERATIONAL]), int(words[_ADMINISTRATIVE])
    return states
