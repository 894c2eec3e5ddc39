"""The library that is a guest's clock (`clock.c`), compiled when it is first needed and kept in the cache.

clock/HASH.so    of the source and of how it is compiled; renamed into place, so it is whole or not there
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from harness import paths
from harness.errors import MissingCapability
from harness.image.kernel import MACHINES

_SOURCE = Path(__file__).with_name("clock.c")
_COMPILERS = ("cc", "gcc", "clang")
# Without the C library: it is loaded beside another than the one of the machine that compiled it.
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
    """The library, compiled now if need be. Raises MissingCapability where it cannot be had."""
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
    address = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:10]
    return paths.cache_dir() / "clock" / f"{address}.so"


def _compile(path: Path) -> None:
    paths.make_private(path.parent)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".building-") as workshop:
        made = Path(workshop, "clock.so")
        done = subprocess.run(
            [str(_compiler()), *_FLAGS, "-o", str(made), str(_SOURCE)],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise MissingCapability(
                f"{_compiler()} could not compile {_SOURCE}: {done.stderr.strip()[-500:]}",
                "install a working C compiler, or drill in real time",
            )
        made.rename(path)
