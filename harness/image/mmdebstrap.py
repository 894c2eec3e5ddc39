"""Make a Debian root filesystem with mmdebstrap(1), inside a cell, with progress and plain errors."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.errors import MissingCapability, TestbedError, UsageError, VipdrillError
from harness.image import archive, cell, confine
from harness.image.ids import IdMap
from harness.image.spec import Spec

Progress = Callable[[str, float], None]
"""Told what is being done, and how much of the whole is behind it (percent)."""

# mmdebstrap's own messages, what they mean, and the share of the time (percent) passed by then.
STAGES = (
    ("running apt-get update", "fetching the package lists", 1.0),
    ("downloading packages", "fetching the base system", 10.0),
    ("extracting archives", "unpacking the base system", 18.0),
    ("installing essential", "installing the base system", 32.0),
    ("installing remaining", "installing the balancers and tools", 54.0),
    ("cleaning package", "trimming", 98.0),
)
STEP = re.compile(r"(Get:\d+|Unpacking|Setting up) ")
TOTAL = re.compile(r"\d+ upgraded, (\d+) newly installed")

# In a user namespace no new sysfs can be mounted, and with a single id no devpts; no package's
# installation needs them.  Some versions of mmdebstrap insist on both.
MOUNT = """#!/bin/sh
[ "$1" = -t ] && case "$2" in sysfs | devpts) exit 0 ;; esac
exec /bin/mount "$@"
"""

FULL = "No space left on device|Disk quota exceeded"
UNREACHABLE = re.compile(
    r"(?:Temporary failure resolving|Could not resolve|Could not connect|Unable to connect|Cannot initiate"
    r"|Connection (?:refused|timed out|failed)|Network is unreachable).*"
)
NOT_FETCHED = re.compile(r"(?:Failed to fetch|Err:\d+) .*")


def bootstrap(spec: Spec, rootfs: Path, log: Path, ids: IdMap, lock: int, progress: Progress) -> None:
    """Fill `rootfs`, an empty directory, writing mmdebstrap's output to `log`.

    `lock` is a file descriptor held open until the last process of the build is gone.
    """
    if not shutil.which("mmdebstrap", path=confine.SYSTEM_PATH):
        raise MissingCapability(
            "mmdebstrap, which makes the node image, is not installed",
            "run ci/demo once, or: sudo apt-get install mmdebstrap uidmap debian-archive-keyring",
        )
    # Temporary files, ours and mmdebstrap's, stay in the build's own folder and are swept with it.
    scratch = rootfs.parent / "scratch"
    scratch.mkdir()
    environment = {**archive.environment(), "TMPDIR": str(scratch)}
    if ids.unshare:
        mount = scratch / "mount"
        mount.write_text(MOUNT)
        mount.chmod(0o755)
        environment["PATH"] = f"{scratch}:{confine.SYSTEM_PATH}"
    command = [
        "mmdebstrap",
        "--mode=root",
        "--verbose",
        "--skip=check/signed-by",
        f"--include={','.join(spec.packages)}",
        *spec.options,
        *archive.options(),
        spec.suite,
        str(rootfs),
        *archive.sources(spec.suite),
    ]
    running = confine.Cell(command, ids, lock, environment)
    try:
        with log.open("w") as record:
            print(*command, file=record)
            meter = Meter(progress)
            for line in running.stdout or ():
                record.write(line)
                meter.feed(line)
        running.wait()
    finally:
        status = running.end()
    if status != 0:
        raise explain(log.read_text(errors="replace"), status, spec, log)
    finish = ["sh", "-c", 'rm -rf "$2"; cd "$1"' + spec.finish, "finish", str(rootfs), str(scratch)]
    status, output = confine.run(finish, ids, lock)
    if status != 0:
        raise TestbedError(f"the node image could not be trimmed: {output.strip()}")


class Meter:
    """Turns mmdebstrap's verbose output into progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stage, self._start, self._end = "starting", 0.0, STAGES[0][2]
        self._done, self._total = 0, 0

    def feed(self, line: str) -> None:
        """Take one line of output."""
        if line.startswith("I: "):
            self._enter(line)
        elif found := TOTAL.search(line):
            # Each package is fetched, unpacked and set up.
            self._total = 3 * int(found[1])
        elif STEP.match(line):
            self._done += 1
            share = min(1.0, self._done / self._total) if self._total else 0.0
            self._progress(self._stage, self._start + share * (self._end - self._start))

    def _enter(self, line: str) -> None:
        ends = [start for _, _, start in STAGES[1:]] + [100.0]
        for (message, stage, start), end in zip(STAGES, ends, strict=True):
            if line.startswith(f"I: {message}"):
                self._stage, self._start, self._end, self._done = stage, start, end, 0
                self._progress(stage, start)


def disk_full(log: Path) -> UsageError:
    """The error for a disk that became full on the way."""
    cure = f"free 700 MB below {log.parent}, or set VIPDRILL_CACHE"
    return UsageError(f"the disk became full while the node image was built; {cure} (log: {log})")


def explain(output: str, status: int, spec: Spec, log: Path) -> VipdrillError:
    """One sentence for why mmdebstrap failed, and what to do about it."""
    if status == cell.CELL_FAILED:
        return confine.no_cell(output)
    if re.search(FULL, output):
        return disk_full(log)
    if found := re.search(r"Unable to locate package (\S+)", output):
        return UsageError(f"Debian {spec.suite} has no package {found[1]!r} (log: {log})")
    if re.search("NO_PUBKEY|Missing key|is not signed", output):
        cure = f"upgrade the package debian-archive-keyring (log: {log})"
        return MissingCapability(f"the signature of Debian {spec.suite} cannot be verified", cure)
    if found := UNREACHABLE.search(output) or NOT_FETCHED.search(output):
        cure = f"check the network, set http_proxy, or name a mirror by VIPDRILL_MIRROR (log: {log})"
        return MissingCapability(f"Debian's packages cannot be fetched ({found[0].strip()})", cure)
    errors = [line for line in output.splitlines() if line.startswith("E: ")] or output.splitlines()[-1:]
    return TestbedError(f"mmdebstrap failed with status {status}: {' '.join(errors[:1])} (log: {log})")
