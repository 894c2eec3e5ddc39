"""What the command line and the pytest plugin share: the image, seeds, artifact folders."""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness import paths
from harness.errors import MissingCapability, UsageError
from harness.image import kernel as kernels
from harness.image import store
from harness.image.progress import Display
from harness.image.spec import ImageSpec, Spec

if TYPE_CHECKING:
    from harness.kernel.ladder import Choice
    from harness.testbed import Testbed

ARTIFACTS = "VIPDRILL_ARTIFACTS"
# Images that this process keeps in place, as long as it lives.
_held: set[Path] = set()
_NAMED_VERSIONS = ("keepalived", "haproxy", "nginx-light", "bird2", "tcpdump")


@dataclass(frozen=True)
class Image:
    """A node image in use: its root filesystem and the versions that matter to a verdict."""

    key: str
    rootfs: Path
    versions: dict[str, str]


@dataclass(frozen=True)
class Kernel:
    """A kernel image in use: its root filesystem and the release of the kernel in it."""

    key: str
    rootfs: Path
    release: str


def image(suite: str, *, build: bool = True) -> Image:
    """The node image of a Debian release, built first if need be; stays in place while this process lives.

    Raises MissingCapability if it is not there and may not be built now.
    """
    found = _have(ImageSpec(suite), suite, build=build)
    packages = store.installed_packages(found / "rootfs")
    versions = {name: packages[name] for name in _NAMED_VERSIONS if name in packages}
    versions["kernel"] = os.uname().release
    return Image(found.name, found / "rootfs", versions)


def kernel(*, build: bool = True) -> Kernel:
    """The kernel for nodes that have their own, built first if need be; stays in place as an image does.

    Raises MissingCapability if it is not there and may not be built now, or cannot run on this machine.
    """
    found = _have(kernels.KernelSpec(), "kernel", build=build)
    return Kernel(found.name, found / "rootfs", kernels.release(found / "rootfs"))


def _have(spec: Spec, name: str, *, build: bool) -> Path:
    found = store.find(spec)
    if found is None:
        if not build:
            raise MissingCapability(f"there is no {name} image", f"run `vipdrill image build {name}`")
        with Display(f"{spec.title} {spec.key}") as progress:
            found = store.build(spec, progress)
    if found not in _held:
        store.hold(found)
        _held.add(found)
    return found


def versions(image: Image, kernel: Kernel | None) -> dict[str, str]:
    """What a run was made with, by name."""
    return {**image.versions, **({"own kernel": kernel.release} if kernel else {})}


def assemble(
    choice: Choice,
    image: Image,
    kernel: Kernel | None,
    folder: Path,
    *,
    seed: int,
    rate: float,
    capture: bool = True,
) -> Testbed:
    """A testbed to be built, of a topology whose nodes have their kernels; artifacts go to `folder`.

    `rate` is each client's new connections a second, `kernel` for nodes that have their own.
    """
    from harness.testbed import Testbed

    return Testbed(
        choice.topology,
        image.rootfs,
        folder,
        seed=seed,
        versions=versions(image, kernel),
        capture=capture,
        probe_rate=rate,
        kernel=kernel.rootfs if kernel else None,
    )


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


def check_free(folder: Path) -> None:
    """Raise UsageError where a folder holds something already: a report is never mixed with another."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is no folder"
        raise UsageError(f"--report: {folder} {what}; name a new folder, or remove it")


def folder(exactly: Path | None, root: Path, name: str) -> Path:
    """The folder for a drill's artifacts: exactly this one, or a new one below `root`."""
    if exactly is None:
        return new_folder(root, name)
    check_free(exactly)
    try:
        exactly.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--report: cannot create {exactly} ({error.strerror})") from None
    return exactly.absolute()


def pki_ready() -> None:
    """Make the testbed's certificates now, outside of any measurement."""
    from harness.pki import ensure_pki

    ensure_pki(paths.cache_dir() / "pki")
