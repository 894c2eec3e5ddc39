"""The labs of this user: a folder each, and a lock that is held for as long as the lab lives.

    labs/NAME/lock      flock(2), held by the lab's processes: who can take it has found a dead lab
    labs/NAME/lab.json  what the lab is
    labs/NAME/socket    where it listens; there once the lab is up
    labs/NAME/log       what its holder said

They stand in the cache and not in $XDG_RUNTIME_DIR, which is emptied when the user's last session ends:
a lab is to outlive that.  No process number is trusted, as it may be somebody else's by now.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import UsageError, one_of

LAB = "VIPDRILL_LAB"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NO_LAB = "no lab is up; `vipdrill up ARCHITECTURE` brings one up"


@dataclass(frozen=True)
class LabInfo:
    """What can be known of a lab without asking it; `nodes` gives role, interfaces and services by name."""

    name: str
    architecture: str
    artifacts: str
    started_s: float
    nodes: dict[str, dict[str, Any]]
    segments: list[str]

    @property
    def folder(self) -> Path:
        """Where its lock and socket are."""
        return labs_dir() / self.name

    def node(self, name: str) -> dict[str, Any]:
        """A node by name; raises UsageError naming the known ones."""
        if name not in self.nodes:
            raise one_of(f"node of the lab {self.name}", name, list(self.nodes))
        return self.nodes[name]

    @property
    def is_up(self) -> bool:
        """Whether it listens, rather than being built still."""
        return (self.folder / "socket").exists()


class Claim:
    """A name that is taken for a lab, for as long as `lock` or an inherited copy of it stays open."""

    def __init__(self, name: str, folder: Path, lock: int) -> None:
        self.name, self.folder, self.lock = name, folder, lock

    def publish(self, info: LabInfo) -> None:
        """Write down what the lab is."""
        part = self.folder / "lab.json.part"
        part.write_text(json.dumps(asdict(info)))
        os.replace(part, self.folder / "lab.json")

    def retire(self) -> None:
        """The lab is about to end and listens no more."""
        (self.folder / "socket").unlink(missing_ok=True)

    def abandon(self) -> None:
        """There is no lab of this name any more: remove its folder and free the name."""
        with _alone():
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self.lock)


def labs_dir() -> Path:
    """Where labs are registered, closed to other users."""
    return paths.cache_dir() / "labs"


def claim(name: str) -> Claim:
    """Take a name for a new lab; raises UsageError if a lab has it, or if it cannot be one."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a lab's name: letters, digits, dots, dashes, underscores, at most 64"
        )
    with _alone() as root:
        folder = root / name
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = _take(folder)
        if lock is None:
            raise UsageError(f"there is a lab {name} already; `vipdrill down {name}` ends it")
        for left in folder.iterdir():
            if left.name != "lock":
                left.unlink()
    return Claim(name, folder, lock)


def free_name(wanted: str) -> Claim:
    """Take a name for a new lab: as wanted, or with the first number behind it that is free."""
    labs = {info.name for info in running()}
    for number in range(1, 1000):
        name = wanted if number == 1 else f"{wanted}-{number}"
        if name in labs:
            continue
        with contextlib.suppress(UsageError):
            return claim(name)
    return claim(wanted)


def running() -> list[LabInfo]:
    """The labs that live, by name; what dead ones left is removed on the way."""
    if not labs_dir().is_dir():
        return []
    found = []
    with _alone() as root:
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            lock = _take(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
            elif (info := _read(folder)) is not None:
                found.append(info)
    return found


def choose(name: str | None) -> LabInfo:
    """The lab that is meant: by its name, by $VIPDRILL_LAB, or the only one that is up.

    Raises UsageError naming those there are.
    """
    labs = {info.name: info for info in running()}
    name = name or os.environ.get(LAB) or None
    if not labs:
        raise UsageError(f"there is no lab {name}; {NO_LAB}" if name else NO_LAB)
    if name is None:
        if len(labs) > 1:
            raise UsageError(
                f"{len(labs)} labs are up ({', '.join(labs)}): say which by --lab NAME, or by {LAB}"
            )
        return next(iter(labs.values()))
    if name not in labs:
        raise one_of("lab", name, list(labs))
    return labs[name]


@contextlib.contextmanager
def end_of(info: LabInfo) -> Iterator[None]:
    """A block in which the lab is told to end; afterwards wait until all of it is gone.

    The lock is inherited by the process outside of the lab's bubble, which ends after everything in it.
    """
    try:
        lock = os.open(info.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        yield
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(lock)
    running()


@contextlib.contextmanager
def _alone() -> Iterator[Path]:
    """The folder of all labs, to be changed by nobody else meanwhile."""
    root = paths.make_private(labs_dir())
    lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield root
    finally:
        os.close(lock)


def _take(folder: Path) -> int | None:
    """A lab's lock, if nobody holds it."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _read(folder: Path) -> LabInfo | None:
    try:
        return LabInfo(**json.loads((folder / "lab.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
