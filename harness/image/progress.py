"""Show a build's progress: one changing line on a terminal, one line a stage elsewhere."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Display:
    """A `Progress` that writes to `stream`; use it as a context manager, so that its line is ended."""

    def __init__(self, title: str, stream: TextIO = sys.stderr) -> None:
        self._title, self._stream = title, stream
        self._live = stream.isatty()
        self._started_s = time.monotonic()
        self._shown = ""

    def __call__(self, stage: str, percent: float) -> None:
        """Show that `stage` is going on and that `percent` of the whole is done."""
        if self._live:
            elapsed_s = time.monotonic() - self._started_s
            self._rewrite(f"{self._title}: {percent:3.0f} %  {stage}  ({elapsed_s:.0f} s)")
        elif stage != self._shown:
            self._shown = stage
            print(f"{self._title}: {percent:3.0f} %  {stage}", file=self._stream, flush=True)

    def _rewrite(self, line: str) -> None:
        if line != self._shown:
            self._shown = line
            self._stream.write(f"\r{line}\x1b[K")
            self._stream.flush()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        if not self._shown:
            return
        elapsed_s = time.monotonic() - self._started_s
        if kind is None:
            line = f"{self._title}: ready after {elapsed_s:.0f} s"
            self._stream.write(f"\r{line}\x1b[K\n" if self._live else f"{line}\n")
        elif self._live:
            self._stream.write("\n")
        self._stream.flush()
