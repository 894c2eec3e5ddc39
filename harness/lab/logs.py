"""What the services of a lab say: their logs, whole or as they grow (inotify(7))."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path

from harness.errors import UsageError, one_of
from harness.kernel import syscalls as sc
from harness.lab.registry import LabInfo

_READ_BYTES = 1 << 16


class Log:
    """One service's log; what is read of it comes in whole lines, named unless it is the only one."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.path = name, path
        self._offset = 0
        self._rest = b""

    def read(self) -> list[str]:
        """The lines that have been added since the last call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def rest(self) -> list[str]:
        """What stands at the end without a line's end; what is added to it later is a line by itself."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []


def find(info: LabInfo, place: str) -> list[Log]:
    """The logs of all services, of a node's (`lb1`), or of one (`lb1/haproxy`); raises UsageError."""
    node, _, service = place.partition("/")
    nodes = [node] if node else list(info.nodes)
    found = []
    for name in nodes:
        services: list[str] = info.node(name)["services"]
        if service and service not in services:
            raise one_of(f"service on {name}", service, services)
        folder = Path(info.artifacts) / "logs" / name
        found += [Log(f"{name}/{s}", folder / f"{s}.log") for s in services if service in ("", s)]
    if not found:
        raise UsageError(f"{node} runs no service, so it has no log")
    return found


def show(logs: list[Log], tail: int | None, say: Callable[[str], None]) -> None:
    """Say what is in the logs, or the last lines of each."""
    for log in logs:
        lines = [*log.read(), *log.rest()]
        for line in lines if tail is None else lines[-tail:] if tail else []:
            say(_named(log, line, logs))


def follow(logs: list[Log], end: int, say: Callable[[str], None]) -> None:
    """Say what comes until the descriptor `end` can be read, which is when the lab ends."""
    poll = select.poll()
    poll.register(end, select.POLLIN)
    by_notice = {sc.inotify_modified(str(log.path)): log for log in logs if log.path.exists()}
    for fd in by_notice:
        poll.register(fd, select.POLLIN)
    try:
        ended = False
        while not ended:
            for log in by_notice.values():
                for line in log.read():
                    say(_named(log, line, logs))
            ready = [fd for fd, _ in poll.poll()]
            ended = end in ready
            for fd in ready:
                if fd in by_notice:
                    os.read(fd, _READ_BYTES)
        # The end may be seen together with the last words, or before them.
        for log in logs:
            for line in [*log.read(), *log.rest()]:
                say(_named(log, line, logs))
    finally:
        for fd in by_notice:
            os.close(fd)


def _named(log: Log, line: str, among: list[Log]) -> str:
    return line if len(among) == 1 else f"{log.name}: {line}"
