"""Resources that run out: descriptors, room on a disk, entries of the connection table."""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.process import DEFAULT_SERVICE
from harness.faults.target import Target

if TYPE_CHECKING:
    from harness.testbed import Testbed


@dataclass
class _Limits:
    """One process's own soft limit, and those that faults put on it."""

    own: int
    put: dict[str, int] = field(default_factory=dict)


_Key = tuple[int, str]
_ENDED = (FileNotFoundError, ProcessLookupError)
"""What comes of asking the kernel about a process that has ended."""
_limits: WeakKeyDictionary[Testbed, dict[_Key, _Limits]] = WeakKeyDictionary()
_covers: WeakKeyDictionary[Testbed, dict[tuple[int, str], list[str]]] = WeakKeyDictionary()


class DescriptorsOut(Fault):
    """A service can open only so many more descriptors (EMFILE beyond); what is open stays open."""

    name = "fds-exhausted"
    default_service: ClassVar[dict[str, str]] = {**DEFAULT_SERVICE, "balancer": "haproxy"}
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("left", 0, "how many more each of its processes can open", low=0, high=1_000_000),
    )
    ends_with_node = True

    def _known(self) -> dict[_Key, _Limits]:
        return _limits.setdefault(self.testbed, {})

    def _pids(self, target: Target) -> list[int]:
        process = self.testbed.process(target.node, target.service)
        if not process.ours:
            raise UsageError(f"the fault {self.name} cannot reach {target}, which is on a kernel of its own")
        return process.tree()

    def _prepare(self, targets: list[Target]) -> None:
        for target in targets:
            self._pids(target)

    def _act(self, target: Target) -> None:
        for pid in self._pids(target):
            try:
                self._limit(pid)
            except _ENDED:  # such as a check script
                continue

    def _limit(self, pid: int) -> None:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        limits = self._known().setdefault(_key(pid), _Limits(soft))
        limits.put[self.id] = min(soft, _limit_leaving(pid, self.values["left"]))
        _enforce(pid, limits)

    def _verify(self, target: Target) -> None:
        for pid in self._pids(target):
            limits = self._known().get(_key(pid))
            if limits is None or self.id not in limits.put:  # it came since, with its parent's limit
                continue
            try:
                soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            except _ENDED:
                continue
            if soft > limits.put[self.id]:
                raise self._fails(f"process {pid} may still open more")

    def _heal(self, target: Target) -> None:
        for (pid, started), limits in list(self._known().items()):
            if limits.put.pop(self.id, None) is not None and _key(pid) == (pid, started):
                try:
                    _enforce(pid, limits)
                except _ENDED:
                    continue


def _limit_leaving(pid: int, left: int) -> int:
    """The limit under which `left` more can be opened: numbers of descriptors are below it (getrlimit(2))."""
    taken = {int(name) for name in _listdir(f"/proc/{pid}/fd")}
    limit = 0
    while limit in taken or left > 0:
        left -= limit not in taken
        limit += 1
    return limit


def _listdir(path: str) -> list[str]:
    return [entry.name for entry in Path(path).iterdir()]


def _enforce(pid: int, limits: _Limits) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    soft = min([limits.own, *limits.put.values()])
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def _key(pid: int) -> _Key:
    """A process beyond doubt: its number and when it was started (proc(5)); ("" if it has ended)."""
    try:
        return pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except _ENDED:
        return pid, ""


_FILL = """set -e
mkdir /run/$ID
mount -t tmpfs -o mode=0700 vipdrill-$ID /run/$ID
cp -a "$AT/." /run/$ID/
used=$(df -k --output=used /run/$ID | tail -1)
[ $((used + LEFT)) -gt 0 ] || { head -c 4096 /dev/zero > /run/$ID/.full; used=4; }
mount -o remount,size=$((used + LEFT))k /run/$ID
mount --bind /run/$ID "$AT"
umount /run/$ID
rmdir /run/$ID
"""


class DiskFull(Fault):
    """A folder's disk has no room left (ENOSPC); what was there can still be read.

    A small tmpfs with a copy of the folder lies over it until it is healed; what was written there is
    then gone.  Files that were open before stay as they are.
    """

    name = "disk-full"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("path", "", "the folder", required=True),
        Parameter("left_kb", 0, "how much room is left, in KiB (whole pages of 4)", low=0, high=1 << 20),
    )
    ends_with_node = True

    def _prepare(self, targets: list[Target]) -> None:
        for target in targets:
            if not self.testbed.node(target.node).status(["test", "-d", self.values["path"]]).ok:
                raise UsageError(f"{target.node} has no folder {self.values['path']!r}")

    def _act(self, target: Target) -> None:
        head = f"ID={self.id} AT={_quoted(self.values['path'])} LEFT={self.values['left_kb'] // 4 * 4}\n"
        self.testbed.node(target.node).run(["/bin/sh"], stdin=(head + _FILL).encode())

    def _mounted(self, target: Target) -> bool:
        mounts = self.testbed.node(target.node).run(["cat", "/proc/mounts"])
        return f"vipdrill-{self.id} " in mounts

    def _verify(self, target: Target) -> None:
        if not self._mounted(target):
            raise self._fails(f"nothing is mounted over {self.values['path']}")
        self._covers(target).append(self.id)

    def _covers(self, target: Target) -> list[str]:
        """The faults whose file systems lie over this folder, the uppermost last."""
        node = self.testbed.node(target.node)
        return _covers.setdefault(self.testbed, {}).setdefault((node.init_pid, self.values["path"]), [])

    def _heal(self, target: Target) -> None:
        # One that another lies on top of goes when that one does.
        self.holds.take(("uncovered", self.id), self.id)
        covers = self._covers(target)
        while covers and self.holds.held(("uncovered", covers[-1])):
            self.testbed.node(target.node).run(["umount", "--lazy", self.values["path"]])
            covers.pop()


def _quoted(path: str) -> str:
    if not re.fullmatch(r"/[\w./@+=-]*", path):
        raise UsageError(f"path of the fault {DiskFull.name} takes an absolute path, not {path!r}")
    return path


_TABLE = """table inet %(table)s {
    chain room {
        ct count over %(entries)d counter drop
    }
    chain incoming {
        type filter hook prerouting priority 0;
        ct status & confirmed == 0 tcp flags & (syn | ack) == syn goto room
        ct status & confirmed == 0 meta l4proto { udp, icmp, icmpv6 } goto room
    }
    chain outgoing {
        type filter hook output priority 0;
        ct status & confirmed == 0 tcp flags & (syn | ack) == syn goto room
        ct status & confirmed == 0 meta l4proto { udp, icmp, icmpv6 } goto room
    }
}
"""


class ConntrackFull(Fault):
    """The host tracks only so many connections; packets of further new ones are dropped without a word.

    Done by counting in a table of its own (nft, `ct count`), as the kernel's nf_conntrack_max is one for
    all hosts: connections that are closed do not count, in the kernel's table they do for their timeouts.
    """

    name = "conntrack-full"
    real_only = "the kernel of virtual time (Debian's User-Mode Linux) has nftables for bridges only"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("entries", 10, "how many connections there is room for", low=0, high=1_000_000),
    )
    ends_with_node = True

    @property
    def _table(self) -> str:
        return self.id.replace("-", "_")

    def _act(self, target: Target) -> None:
        self.how = "nft"
        text = _TABLE % {"table": self._table, "entries": self.values["entries"]}
        self.testbed.node(target.node).run(["nft", "-f", "-"], stdin=text.encode())

    def _verify(self, target: Target) -> None:
        self.testbed.node(target.node).run(["nft", "list", "table", "inet", self._table])

    def _heal(self, target: Target) -> None:
        self.testbed.node(target.node).run(["nft", "delete", "table", "inet", self._table])
