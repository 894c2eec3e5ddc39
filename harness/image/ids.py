"""Which user and group ids a build may give to files.

Root uses them all.  An ordinary user, or a root without the power to mount, enters a user
namespace in which root is the user itself and ids 1 to 65535 are its subordinate ids (subuid(5),
newuidmap(1)).  Without subordinate ids there is only one id, everything belongs to it, and changes
of owner are answered but not made (`fakeids`).
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Debian uses ids up to 65534 (nobody), see Debian Policy section 9.2.
NEEDED = 65536

CAP_SYS_ADMIN = 21  # linux/capability.h

Entry = tuple[int, int, int]


@dataclass(frozen=True)
class IdMap:
    """Lines of uid_map and gid_map (user_namespaces(7)): first id inside, first outside, count."""

    uids: tuple[Entry, ...]
    gids: tuple[Entry, ...]
    unshare: bool
    """Whether a user namespace has to be made for it."""

    @property
    def complete(self) -> bool:
        """Whether a Debian system's files can be owned as their packages want it."""
        return sum(count for _, _, count in self.uids) >= NEEDED

    @property
    def label(self) -> str:
        """The map as text: two images whose labels differ have files of different owners."""
        return ",".join(":".join(map(str, entry)) for entry in _clip(self.uids))


def id_map() -> IdMap:
    """The best map that this process can have: all ids, subordinate ids, or its own id only."""
    if os.geteuid() == 0 and _capable():
        return IdMap(_read_map("/proc/self/uid_map"), _read_map("/proc/self/gid_map"), unshare=False)
    uid, gid = os.geteuid(), os.getegid()
    if shutil.which("newuidmap") and shutil.which("newgidmap"):
        names = {str(uid), *_names(uid)}
        uids, gids = _subordinate("/etc/subuid", names), _subordinate("/etc/subgid", names)
        if uids and gids:
            return IdMap(((0, uid, 1), *uids), ((0, gid, 1), *gids), unshare=True)
    return IdMap(((0, uid, 1),), ((0, gid, 1),), unshare=True)


def _capable() -> bool:
    """Whether this process has CAP_SYS_ADMIN, without which root can make no namespace either."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return bool(int(value, 16) >> CAP_SYS_ADMIN & 1)
    return False


def _clip(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The part of the map that a Debian system uses."""
    for inside, outside, count in entries:
        if inside < NEEDED:
            yield inside, outside, min(count, NEEDED - inside)


def _read_map(path: str) -> tuple[Entry, ...]:
    entries = []
    for line in Path(path).read_text().splitlines():
        inside, outside, count = line.split()
        entries.append((int(inside), int(outside), int(count)))
    return tuple(entries)


def _names(uid: int) -> list[str]:
    try:
        return [pwd.getpwuid(uid).pw_name]
    except KeyError:
        return []


def _subordinate(path: str, names: set[str]) -> tuple[Entry, ...]:
    """Map lines for ids 1 to 65535 from a file of `name:first:count`; none if it has too few."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return ()
    entries: list[Entry] = []
    inside = 1
    for line in lines:
        name, _, numbers = line.strip().partition(":")
        first, _, count = numbers.partition(":")
        if name in names and first.isdigit() and count.isdigit() and inside < NEEDED:
            used = min(int(count), NEEDED - inside)
            entries.append((inside, int(first), used))
            inside += used
    return tuple(entries) if inside == NEEDED else ()
