"""What the daemons need of a node: programs that keepalived runs, files that HAProxy may open.

keepalived says little when one is missing: it drops the script, or takes its failure for the service's.
"""

from __future__ import annotations

import os
import resource
import shlex
from collections.abc import Iterator
from pathlib import Path

from harness.configs.haproxy import HaproxyConfig
from harness.configs.keepalived_model import KeepalivedConfig
from harness.configs.keepalived_tree import Statement
from harness.errors import MissingCapability, UsageError
from harness.lb.folder import NodeFiles
from harness.nodes.command import PATH

_OWN_FILES = 100
KILLALL = "/usr/bin/killall"
_STAND_IN = """#!/bin/sh
# Stands in for killall(1), which the node image lacks: signal the processes of a name.
case $1 in -*) signal=$1; shift ;; *) signal=-TERM ;; esac
exec pkill "$signal" -x "$@"
"""


def stand_ins(node: NodeFiles, rootfs: Path) -> dict[str, str]:
    """Programs that are so usual in check scripts that the node gets them, where neither side has them."""
    wanted = any("killall" in text for text in node.texts.values())
    there = KILLALL in node.texts or _in_image(KILLALL, rootfs)
    return {KILLALL: _STAND_IN} if wanted and not there else {}


def check_programs(node: NodeFiles, config: KeepalivedConfig, known: set[str], rootfs: Path) -> None:
    """Raise UsageError for a program that is nowhere; `known` are the paths that the node gets."""

    def there(path: str) -> bool:
        return path in known or _in_image(path, rootfs)

    for where, command in _commands(config):
        try:
            program = next(iter(shlex.split(command)), "")
        except ValueError:
            continue  # keepalived's own syntax check has better words for it
        places = [program] if "/" in program else [f"{folder}/{program}" for folder in PATH.split(":")]
        found = next((place for place in places if there(place)), None)
        if program and found is None:
            raise UsageError(
                f"{where}: {program} is neither in {node.name}/ nor in the node image; "
                f"put it (or what shall stand in for it) to {node.name}/"
                f"{places[0].lstrip('/') if '/' in program else f'usr/local/bin/{program}'}"
            )
        text = node.texts.get(found or "", "")
        interpreter = text.partition("\n")[0][2:].split()[:1] if text.startswith("#!") else []
        if interpreter and not there(interpreter[0]):
            raise UsageError(
                f"{node.name}:{found}: its interpreter {interpreter[0]} is not in the node image; put "
                "something in its place that the image can run (a shell script, say)"
            )


def check_files(config: HaproxyConfig) -> None:
    """Raise MissingCapability where HAProxy would want more open files than this machine lets anybody have.

    It takes two for each of `maxconn` connections, and refuses to start without (strict-limits, manual 3.1).
    """
    lines = [
        line for section in config.sections if section.kind == "global" for line in section.all("maxconn")
    ]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if not lines or most == resource.RLIM_INFINITY:
        return
    wanted = int(lines[-1].words[1]) if len(lines[-1].words) > 1 and lines[-1].words[1].isdigit() else 0
    if 2 * wanted + _OWN_FILES > most:
        raise MissingCapability(
            f"{lines[-1].where}: maxconn {wanted} takes {2 * wanted} open files, this machine allows {most}",
            "raise its hard limit (ulimit -Hn), or drill with a smaller maxconn",
        )


def _commands(config: KeepalivedConfig) -> Iterator[tuple[str, str]]:
    for script in config.scripts:
        yield str(script.where), script.command
    for statement in _all(config.tree):
        if statement.keyword.startswith("notify") and statement.arguments:
            # `notify_stop "/path with arguments" USER GROUP`: the quotes are gone, the path comes first.
            yield str(statement.where), statement.arguments[0]


def _all(tree: tuple[Statement, ...]) -> Iterator[Statement]:
    for statement in tree:
        yield statement
        yield from _all(statement.block or ())


def _in_image(path: str, rootfs: Path) -> bool:
    return os.path.lexists(rootfs / path.lstrip("/"))
