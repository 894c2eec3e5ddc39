"""What the command line and the pytest plugin share: the image, seeds, artifact folders."""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.errors import MissingCapability, UsageError
from harness.image import store
from harness.image.progress import Display
from harness.image.spec import ImageSpec

ARTIFACTS = "VIPDRILL_ARTIFACTS"
_NAMED_VERSIONS = ("keepalived", "haproxy", "nginx-light", "bird2", "tcpdump")


@dataclass(frozen=True)
class Image:
    """A node image in use: its root filesystem and the versions that matter to a verdict."""

    key: str
    rootfs: Path
    versions: dict[str, str]


def image(suite: str, *, build: bool = True) -> Image:
    """The node image of a Debian release, built first if need be; stays in place while this process lives.

    Raises MissingCapability if it is not there and may not be built now.
    """
    spec = ImageSpec(suite)
    found = store.find(spec)
    if found is None:
        if not build:
            raise MissingCapability(f"there is no {suite} image", f"run `vipdrill image build {suite}`")
        with Display(f"node image {spec.key}") as progress:
            found = store.build(spec, progress)
    store.hold(found)
    packages = store.installed_packages(found / "rootfs")
    versions = {name: packages[name] for name in _NAMED_VERSIONS if name in packages}
    versions["kernel"] = os.uname().release
    return Image(found.name, found / "rootfs", versions)


def new_seed() -> int:
    """A seed that nobody chose; small enough to be read out on the phone."""
    return secrets.randbelow(1_000_000)


def artifacts_root(given: str | None) -> Path:
    """The folder for this run's artifacts: what was given, `$VIPDRILL_ARTIFACTS`, or `.vipdrill` here."""
    return Path(given or os.environ.get(ARTIFACTS) or ".vipdrill").absolute()


def new_folder(root: Path, name: str) -> Path:
    """A new, empty folder below `root`, named by the time first; raises UsageError if it cannot be made."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:100]
    for attempt in range(1000):
        folder = root / (f"{stamp}-{safe}" + (f"-{attempt}" if attempt else ""))
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"cannot create the artifact folder {folder} ({error.strerror}); "
                f"set {ARTIFACTS} to a folder that can be written"
            ) from None
        return folder
    raise UsageError(f"no free name for an artifact folder below {root}")


def pki_ready() -> None:
    """Make the testbed's certificates now, outside of any measurement."""
    from harness.pki import ensure_pki

    ensure_pki(paths.cache_dir() / "pki")
