"""Where vipdrill keeps files that outlive a run.

Only a cache and the artifact folders do.  This module imports nothing beyond the path functions
of the standard library, because agents in a node import it and must start fast.

The cache may stay closed to everybody else (0700, like the home that holds it): a node's processes
enter an image through an overlay's root, so only the mounter, never a subordinate id, walks the
path to it.
"""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import UsageError

CURE = "set VIPDRILL_CACHE to a folder that can be written"


def cache_dir() -> Path:
    """What can be made again: `$VIPDRILL_CACHE`, else the user's cache directory / vipdrill."""
    if given := os.environ.get("VIPDRILL_CACHE"):
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    # A relative XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "vipdrill"


def image_dir() -> Path:
    """The node images, one directory each, named by their content address."""
    return cache_dir() / "images"


def make_private(directory: Path) -> Path:
    """Create `directory`, closed to other users, with its parents, and return it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        usable = os.access(directory, os.W_OK | os.X_OK)
    except OSError as error:
        raise UsageError(f"cannot create {directory} ({error.strerror}); {CURE}") from None
    if not usable:
        raise UsageError(f"{directory} belongs to another user; {CURE}")
    return directory
