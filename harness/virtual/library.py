"""The libraries that make a guest, compiled when they are first needed and kept in the cache.

clock/HASH/clock.so    its clock (`clock.c`), for the guest's kernel
clock/HASH/eager.so    memory at once (`eager.c`), for programs of ours in it
clock/HASH/start.so    likewise the memory that they begin with, for those in nodes

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
from pathlib import Path

from harness import paths
from harness.errors import MissingCapability
from harness.image.kernel import MACHINES
from harness.virtual.init import EAGER, START

CLOCK = "clock.so"
_HERE = Path(__file__).parent
# Of each its source, and what it is compiled with.
_SOURCES = {
    CLOCK: (_HERE / "clock.c", ""),
    EAGER: (_HERE / "eager.c", "-DLOCKED=(MCL_CURRENT|MCL_FUTURE)"),
    START: (_HERE / "eager.c", "-DLOCKED=MCL_CURRENT"),
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
    made_of = [source.read_bytes() + meaning.encode() for source, meaning in _SOURCES.values()]
    address = hashlib.sha256(b"".join(made_of) + " ".join(_FLAGS).encode()).hexdigest()[:10]
    return paths.cache_dir() / "clock" / address


def _compile(path: Path) -> None:
    paths.make_private(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as workshop:
        made = Path(workshop, "libraries")
        made.mkdir()
        for name, (source, meaning) in _SOURCES.items():
            _compile_one(source, meaning, made / name)
        try:
            made.rename(path)
        except OSError as error:
            # Somebody else was as quick.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _compile_one(source: Path, meaning: str, made: Path) -> None:
    done = subprocess.run(
        [str(_compiler()), *_FLAGS, *meaning.split(), "-o", str(made), str(source)],
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
