"""The store of finished node images: found by content address, built once, shared by all runs.

    images/KEY/rootfs      the root filesystem, never written to after it is finished
    images/KEY/image.json  what it is, written last
    images/KEY.log         mmdebstrap's output
    images/.building-KEY   a build going on, or what an interrupted one left
    images/.lock-KEY       flock(2): exclusive for who builds or removes, shared for who uses

A build is renamed into place when it is complete, so an image is there wholly or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import paths, world
from harness.errors import UsageError, one_of
from harness.image import confine
from harness.image.ids import IdMap, id_map
from harness.image.mmdebstrap import Progress, bootstrap, disk_full
from harness.image.spec import Spec

BUILDING, LOCK = ".building-", ".lock-"
# A trixie build needs 450 MB at its peak.
NEEDED_BYTES = 700_000_000

Bootstrap = Callable[[Spec, Path, Path, IdMap, int, Progress], None]


@dataclass(frozen=True)
class ImageInfo:
    """A finished image; `packages` are the versions of all that is installed, `created_s` Unix time."""

    key: str
    suite: str
    path: Path
    size_bytes: int
    created_s: float
    packages: dict[str, str]
    ids: str
    """Whose ids its files have: see `IdMap.label`."""


def find(spec: Spec) -> Path | None:
    """The image's directory, which has the tree in `rootfs`; None if it is not built for this user's ids."""
    info = _read(paths.image_dir() / spec.key)
    # A guest in virtual time has ids of its own; whoever started it has seen to the image.
    return info.path if info and (world.virtual() or info.ids == id_map().label) else None


def ensure(spec: Spec, progress: Progress) -> Path:
    """The image's directory, built now if it is not there."""
    return find(spec) or build(spec, progress)


def list_images() -> list[ImageInfo]:
    """The finished images, newest first; what interrupted builds left is swept on the way."""
    root = paths.image_dir()
    if not root.is_dir():
        return []
    _sweep(root, id_map())
    found = (_read(path) for path in root.iterdir() if not path.name.startswith("."))
    return sorted((info for info in found if info), key=lambda info: -info.created_s)


def build(spec: Spec, progress: Progress, make: Bootstrap = bootstrap) -> Path:
    """Build the image, or wait for the one who is building it; returns its directory."""
    root, ids = paths.make_private(paths.image_dir()), id_map()
    _sweep(root, ids)
    with _locked(root, spec.key, lambda: progress("waiting for another build of this image", 0.0)) as lock:
        if ready := find(spec):
            return ready
        _require_space(root)
        workshop, image = root / f"{BUILDING}{spec.key}", root / spec.key
        _delete(image, ids, lock)
        _delete(workshop, ids, lock)
        workshop.mkdir(mode=0o755)
        rootfs = workshop / "rootfs"
        rootfs.mkdir(mode=0o755)
        log = root / f"{spec.key}.log"
        try:
            make(spec, rootfs, log, ids, lock, progress)
            _write_manifest(spec, workshop, ids, lock)
            workshop.rename(image)
        except BaseException as error:
            _delete(workshop, ids, lock)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(log) from None
            raise
        return image


def remove(key: str) -> None:
    """Delete an image; UsageError if there is none of that name or a run is using it."""
    root = paths.image_dir()
    known = [info.key for info in list_images()]
    if key not in known:
        raise one_of("image", key, known or ["(none)"])
    with contextlib.ExitStack() as stack:
        try:
            lock = stack.enter_context(_locked(root, key, wait=None))
        except BlockingIOError:
            raise UsageError(f"image {key} is in use by a running vipdrill; remove it after that") from None
        workshop = root / f"{BUILDING}{key}"
        (root / key).rename(workshop)
        _delete(workshop, id_map(), lock)
        (root / f"{key}.log").unlink(missing_ok=True)


def hold(image: Path) -> int:
    """Keep an image from being removed as long as the returned file descriptor is open."""
    lock = os.open(image.parent / f"{LOCK}{image.name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not (image / "image.json").exists():
        os.close(lock)
        raise UsageError(f"image {image.name} has just been removed; start again")
    return lock


@contextlib.contextmanager
def _locked(root: Path, key: str, wait: Callable[[], None] | None) -> Iterator[int]:
    """Hold the image's lock exclusively; BlockingIOError if it is taken and `wait` is None.

    The lock is passed on to the cells, so it outlives this process until they are gone.
    """
    lock = os.open(root / f"{LOCK}{key}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait is None:
                raise
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _sweep(root: Path, ids: IdMap) -> None:
    """Delete what interrupted builds left, but nothing that anybody is working on."""
    for leftover in root.glob(f"{BUILDING}*"):
        key = leftover.name.removeprefix(BUILDING)
        with contextlib.suppress(BlockingIOError), _locked(root, key, wait=None) as lock:
            _delete(leftover, ids, lock)


def _delete(tree: Path, ids: IdMap, lock: int) -> None:
    """Delete a tree whose files may belong to subordinate ids."""
    if not tree.exists():
        return
    if not ids.unshare or not (tree / "rootfs").exists():
        shutil.rmtree(tree)
        return
    status, output = confine.run(["rm", "-rf", str(tree)], ids, lock)
    if status != 0:
        reason = output.strip().splitlines()[-1:]
        raise UsageError(f"cannot delete {tree}, do it as root ({' '.join(reason)})")


def _require_space(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        raise UsageError(
            f"a node image needs {NEEDED_BYTES // 10**6} MB below {root}, where {free // 10**6} MB are free;"
            " free some, or set VIPDRILL_CACHE to a folder on another disk"
        )


def _write_manifest(spec: Spec, workshop: Path, ids: IdMap, lock: int) -> None:
    """Record what the finished tree is; its presence makes the directory an image."""
    status, output = confine.run(["du", "-s", "--block-size=1", str(workshop / "rootfs")], ids, lock)
    manifest = {
        "suite": spec.suite,
        "requested": sorted(spec.packages),
        "size_bytes": int(output.split()[0]) if status == 0 else 0,
        "created_s": time.time(),
        "ids": ids.label,
        "packages": installed_packages(workshop / "rootfs"),
    }
    (workshop / "image.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def installed_packages(rootfs: Path) -> dict[str, str]:
    """Names and versions, from the tree's dpkg status file."""
    try:
        text = (rootfs / "var/lib/dpkg/status").read_text(errors="replace")
    except OSError:
        return {}
    versions: dict[str, str] = {}
    for paragraph in text.split("\n\n"):
        lines = (line for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        fields = dict(line.split(": ", 1) for line in lines)
        if "Package" in fields and fields.get("Status", "").endswith(" installed"):
            versions[fields["Package"]] = fields.get("Version", "")
    return versions


def _read(image: Path) -> ImageInfo | None:
    try:
        manifest = json.loads((image / "image.json").read_text())
    except (OSError, ValueError):
        return None
    return ImageInfo(
        key=image.name,
        suite=manifest["suite"],
        path=image,
        size_bytes=manifest["size_bytes"],
        created_s=manifest["created_s"],
        packages=manifest["packages"],
        ids=manifest["ids"],
    )
