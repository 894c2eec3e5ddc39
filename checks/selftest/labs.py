"""Labs for tests: brought up by the command, in a cache of their own, gone afterwards whatever happened."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from typer.testing import CliRunner

from checks.patience import SOON_S
from checks.selftest.terminals import Terminal
from harness import cli, paths
from harness.errors import VipdrillError
from harness.lab import down, registry
from harness.lab.client import Client

COMMAND = [sys.executable, "-m", "harness"]
_SHARED = ("images", "pki")
_OF_THEIR_OWN = ("up", "exec", "shell", "pcap")


def next_line(stream: IO[str] | None, words: str = "") -> str:
    """The next line of a command's output that has these words in it; no more is taken from the stream."""
    assert stream is not None
    deadline = time.monotonic() + SOON_S
    said = b""
    while not (said.endswith(b"\n") and words.encode() in said.splitlines()[-1]):
        left = max(0.0, deadline - time.monotonic())
        assert select.select([stream.fileno()], [], [], left)[0], f"no line with {words!r}: {said!r}"
        character = os.read(stream.fileno(), 1)
        assert character, f"ended without a line with {words!r}: {said!r}"
        said += character
    return said.splitlines()[-1].decode()


class Labs:
    """A user with labs of their own; the node images are those of the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"
        self.cache.mkdir()
        for name in _SHARED:
            (self.cache / name).symlink_to(paths.cache_dir() / name)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("VIPDRILL_")}
        self.environment |= {
            "VIPDRILL_CACHE": str(self.cache),
            "VIPDRILL_ARTIFACTS": str(folder / "artifacts"),
        }
        self._terminals: list[Terminal] = []

    def run(
        self, *words: str, stdin: str | None = None, timeout_s: float = SOON_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of vipdrill to its end; one that needs no streams of its own in this very process."""
        if words[0] not in _OF_THEIR_OWN:
            return self._run_here(words)
        return subprocess.run(
            [*COMMAND, *words],
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def _run_here(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """A process for each of many commands would cost more than all they do."""
        with self.seen_from_here():
            result = CliRunner().invoke(cli.app, list(words))
        error, code = "", result.exit_code
        if isinstance(result.exception, VipdrillError):
            error, code = f"vipdrill: {result.exception}", result.exception.exit_code
        elif result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return subprocess.CompletedProcess(list(words), code, result.output, error)

    def does(self, *words: str, stdin: str | None = None) -> str:
        """Run a command that must succeed; its standard output."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str, code: int = 2) -> str:
        """Run a command that must fail with a sentence; the sentence."""
        done = self.run(*words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr

    def start(self, *words: str, stdin: int | None = None) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [*COMMAND, *words],
            env=self.environment,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def terminal(self, *words: str, argv: Sequence[str] = ()) -> Terminal:
        """Start a command on a terminal."""
        self._terminals.append(Terminal(list(argv) or [*COMMAND, *words], self.environment))
        return self._terminals[-1]

    def up(self, name: str, *options: str) -> None:
        """Bring a lab up."""
        self.does("up", "vip-l7", "--name", name, "--advert-int", "0.1", "--quiet", *options)

    @contextmanager
    def seen_from_here(self) -> Iterator[None]:
        """A block in which this very process sees these labs as its own."""
        before = os.environ.get("VIPDRILL_CACHE")
        os.environ["VIPDRILL_CACHE"] = self.environment["VIPDRILL_CACHE"]
        try:
            yield
        finally:
            if before is None:
                del os.environ["VIPDRILL_CACHE"]
            else:
                os.environ["VIPDRILL_CACHE"] = before

    @contextmanager
    def client(self, name: str) -> Iterator[Client]:
        """A connection to a lab."""
        with self.seen_from_here(), Client(registry.choose(name)) as client:
            yield client

    def end(self) -> None:
        """Kill all that is up still."""
        for terminal in self._terminals:
            terminal.kill()
        with self.seen_from_here():
            for info in registry.running():
                try:
                    down.kill(info)
                except VipdrillError:  # it has gone by itself
                    pass
