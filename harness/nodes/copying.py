"""Files and whole folders between the engine's side and a node, for every kind of node alike."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from harness.errors import UsageError


class _Files(Protocol):
    name: str

    def read(self, path: str) -> bytes: ...
    def write(self, path: str, data: bytes | str, mode: int = 0o644) -> None: ...
    def exists(self, path: str) -> bool: ...
    def listdir(self, path: str) -> list[str]: ...


class Copying:
    """The verbs, made of a node's own for single files."""

    def copy_in(self: _Files, source: Path, path: str) -> None:
        """Put a file, or a folder with all that is in it, at a path of the node, with its permissions.

        Raises UsageError where there is no such file.
        """
        if not source.exists():
            raise UsageError(f"there is no {source} to copy to {self.name}:{path}")
        if source.is_file():
            self.write(path, source.read_bytes(), source.stat().st_mode & 0o777)
            return
        for file in sorted(source.rglob("*")):
            if file.is_file():
                below = file.relative_to(source).as_posix()
                self.write(f"{path.rstrip('/')}/{below}", file.read_bytes(), file.stat().st_mode & 0o777)

    def copy_out(self: _Files, path: str, destination: Path) -> None:
        """Fetch a file, or a folder with all that is in it, from the node.

        Raises UsageError where there is no such file, and for what is in the way at the destination.
        """
        if not self.exists(path):
            raise UsageError(f"there is no {path} on {self.name}")
        waiting = [(path, destination)]
        for source, target in waiting:
            try:
                names = self.listdir(source)
            except NotADirectoryError:
                _put(target, self.read(source))
            except FileNotFoundError:  # a link to nowhere, or gone since
                continue
            else:
                waiting += [(f"{source.rstrip('/')}/{name}", target / name) for name in names]


def _put(target: Path, data: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror})") from None
