"""The libraries that make a guest, compiled when they are first needed and kept in the cache.

clock/HASH/clock.so    its clock (`clock.c`), for the guest's kernel
clock/HASH/eager.so    memory at once (`eager.c`), for the programs in it
clock/HASH/glance.so   the time without a system call (`glance.c`), for programs of ours
clock/HASH/frugal.so   likewise, for those of nodes: they get no more memory at once than they begin with

HASH is of the sources and of how they are compiled; the folder is renamed into place, so it is whole or not
there.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness import paths, world
from harness.errors import MissingCapability
from harness.image.kernel import MACHINES

CLOCK = "clock.so"
EAGER, GLANCE, FRUGAL = (os.path.basename(path) for path in (world.EAGER, world.GLANCE, world.FRUGAL))
_HERE = Path(__file__).parent
_HEADER = _HERE / "page.h"
# Of each its source, and what that is compiled with.
_SOURCES = {
    CLOCK: (_HERE / "clock.c", ()),
    EAGER: (_HERE / "eager.c", ()),
    GLANCE: (_HERE / "glance.c", (f'-DCLOCK_DEVICE="{world.CLOCK}"',)),
    FRUGAL: (_HERE / "glance.c", (f'-DCLOCK_DEVICE="{world.CLOCK}"', "-DFRUGAL")),
}
_COMPILERS = ("cc", "gcc", "clang")
# Without the C library: they are loaded beside another than the one of the machine that compiled it.
_FLAGS = (
    "-O2",
    "-fPIC",
    "-shared",
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-Wall",
    "-Wextra",
)


def lacks() -> tuple[str, str] | None:
    """What this machine lacks for the virtual world, and the cure; None if nothing."""
    machine = os.uname().machine
    if machine not in MACHINES:
        return (
            f"there is no User-Mode Linux for processors of the kind {machine}",
            f"drill in real time, or on one of: {', '.join(MACHINES)}",
        )
    if not _path().exists() and _compiler() is None:
        return (
            "there is no C compiler to build the clock of virtual time with",
            "install gcc (or clang), or drill in real time",
        )
    return None


def ensure() -> Path:
    """The folder of the libraries, compiled now if need be; raises MissingCapability where that cannot be."""
    missing = lacks()
    if missing is not None:
        raise MissingCapability(*missing)
    path = _path()
    if not path.exists():
        _compile(path)
    return path


def _compiler() -> str | None:
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def _path() -> Path:
    made_of = [source.read_bytes() for source in (_HEADER, *(source for source, _ in _SOURCES.values()))]
    how = " ".join([*_FLAGS, *(flag for _, flags in _SOURCES.values() for flag in flags)])
    address = hashlib.sha256(b"".join(made_of) + how.encode()).hexdigest()[:10]
    return paths.cache_dir() / "clock" / address


def _compile(path: Path) -> None:
    paths.make_private(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as workshop:
        made = Path(workshop, "libraries")
        made.mkdir()
        for name, (source, flags) in _SOURCES.items():
            _compile_one(source, flags, made / name)
        try:
            made.rename(path)
        except OSError as error:
            # Somebody else was as quick.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _compile_one(source: Path, flags: Iterable[str], made: Path) -> None:
    done = subprocess.run(
        [str(_compiler()), *_FLAGS, *flags, "-o", str(made), str(source)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        raise MissingCapability(
            f"{_compiler()} could not compile {source}: {done.stderr.strip()[-500:]}",
            "install a working C compiler, or drill in real time",
        )
