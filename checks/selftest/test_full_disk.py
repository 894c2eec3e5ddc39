"""A disk that fills up during a run: one sentence, exit code 2, and what was written before is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from checks.patience import ENDS_S

# In a mount namespace of its own, so that no other test sees the small disk.
_ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size} small "$1" && shift && "$@"; status=$?
find "$SMALL" -name timeline.jsonl -size +0 -print; exit $status
"""


def run_on_a_small_disk(folder: Path, size: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`vipdrill run` with its artifacts in `folder`, where only so much fits."""
    command = [sys.executable, "-m", "harness", "run", "vip-l7", "--fault", "kill", "--quiet", *options]
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", _ON_A_SMALL_DISK.format(size=size), "sh", str(folder), *command],
        env={**os.environ, "SMALL": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_S,
    )


@pytest.mark.parametrize("size", ["64k", "200k"])
def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, size: str) -> None:
    done = run_on_a_small_disk(tmp_path, size, "--artifacts", str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device; free some room there, or choose another folder" in done.stderr
    assert size == "64k" or "timeline.jsonl" in done.stdout


def test_a_result_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    small, roomy = tmp_path / "small", tmp_path / "roomy"
    small.mkdir()
    done = run_on_a_small_disk(
        small, "4k", "--artifacts", str(roomy), "--rate", "20", "--json", str(small / "out.json")
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert list(small.iterdir()) == []
    assert list(roomy.glob("*/result.json"))
