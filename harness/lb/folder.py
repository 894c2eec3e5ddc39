"""The files of a user's balancers: a folder for each node, laid out below it as on the node's own disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError
from harness.services import haproxy, keepalived, nginx

SETTINGS = "vipdrill.yaml"
MAIN = {"keepalived": keepalived.CONFIG, "haproxy": haproxy.CONFIG, "nginx": nginx.CONFIG}
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LARGEST_BYTES = 1 << 20
_MOST_FILES = 2000


@dataclass(frozen=True)
class NodeFiles:
    """A balancer's files: text by path in the node. `left_out` tells which are not taken along, and why."""

    name: str
    texts: dict[str, str]
    left_out: tuple[str, ...] = ()

    def main(self, service: str) -> str | None:
        """The text of a service's main file, or None where it does not run here."""
        return self.texts.get(MAIN[service])

    def services(self) -> list[str]:
        """The services that have a main file."""
        return [service for service, path in MAIN.items() if path in self.texts]


@dataclass(frozen=True)
class Folder:
    """All of it: the nodes in the order of their names, and the text of vipdrill.yaml, if there is one."""

    path: Path
    nodes: tuple[NodeFiles, ...]
    settings: str | None = None
    notes: tuple[str, ...] = field(default=())


def read_folder(path: Path) -> Folder:
    """Read the folder of `--lb`; raises UsageError that shows how it is to be laid out."""
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}; {_layout(path)}")
    nodes, notes = [], []
    for place in sorted(entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."):
        node = _node(place)
        if not node.services():
            notes.append(f"{place.name}/ holds no configuration that vipdrill knows, so it is no balancer")
            continue
        if not _HOST_NAME.fullmatch(place.name):
            raise UsageError(f"{place.name!r} is no name of a host; a node's folder is called as the node is")
        if len({"haproxy", "nginx"} & set(node.services())) > 1:
            raise UsageError(f"{place.name} has a haproxy.cfg and an nginx.conf: leave the one that balances")
        nodes.append(node)
        notes += [f"{place.name}: {text}" for text in node.left_out]
    if not nodes:
        raise UsageError(f"{path} holds no balancer; {_layout(path)}")
    settings = path / SETTINGS
    return Folder(path, tuple(nodes), _text(settings) if settings.exists() else None, tuple(notes))


def _layout(path: Path) -> str:
    known = ", ".join(main for main in MAIN.values())
    return f"it takes a folder for each node, as {path / 'lb1'}{MAIN['keepalived']} (known files: {known})"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as text: {error}") from None


def _node(place: Path) -> NodeFiles:
    texts: dict[str, str] = {}
    left_out: list[str] = []
    for folder, folders, names in os.walk(place, followlinks=False):
        folders.sort()
        for name in sorted(names):
            file = Path(folder, name)
            path = "/" + str(file.relative_to(place))
            if not file.is_file():
                left_out.append(f"{path} is left out: it is no file here")
            elif file.stat().st_size > _LARGEST_BYTES:
                left_out.append(f"{path} is left out: it is larger than {_LARGEST_BYTES >> 20} MiB")
            elif path in MAIN.values():
                texts[path] = _text(file)
            else:
                try:
                    texts[path] = file.read_text(encoding="utf-8")
                except (OSError, ValueError):
                    left_out.append(f"{path} is left out: it cannot be read as text")
        if len(texts) > _MOST_FILES:
            raise UsageError(
                f"{place} holds more than {_MOST_FILES} files: give what the balancer needs only"
            )
    return NodeFiles(place.name, texts, tuple(left_out))
