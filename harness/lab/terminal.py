"""A command in a node on the user's own streams, or, where those are a terminal, on one of its own.

Streams are handed to the lab as they are, so nothing is copied on the way.  A terminal cannot be: its
session is here, and Ctrl-C is to reach the command there.  So the command gets a pseudo-terminal (pty(7))
and this process stands between the two, with the user's terminal in raw mode: every key goes through.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from harness.lab.client import Client, checked

_READ_BYTES = 1 << 16
_PASSED_ON = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def run(client: Client, node: str, argv: Sequence[str], *, output: int = 1, terminal: bool = True) -> int:
    """Run a command in a node to its end, `output` its standard output; its exit code as a shell counts.

    Without `terminal` it gets none, even if the user's streams are one.
    """
    if terminal and output == 1 and os.isatty(0) and os.isatty(1):
        return _with_terminal(client, node, argv)
    with _signals_passed_on(client) as started:
        client.ask("exec", fds=(0, output, 2), node=node, argv=list(argv))
        started()
        while (message := client.read()) is not None:
            if "exited" in checked(message):
                return _exit_code(message["exited"])
    raise client.gone()


def _exit_code(status: int) -> int:
    return status if status >= 0 else 128 - status


@contextmanager
def _signals_passed_on(client: Client) -> Iterator[Callable[[], None]]:
    """What would end this process is for the command: how that ends, this does.

    What comes before the command has started waits for that, which the block tells by the call it is given.
    """
    early: list[int] = []
    running = False

    def started() -> None:
        nonlocal running
        running = True
        while early:
            pass_on(early.pop(0), None)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not running:
            early.append(number)
            return
        try:
            client.send({"signal": number})
        except OSError:  # the lab is gone, which the next read tells
            pass

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _with_terminal(client: Client, node: str, argv: Sequence[str]) -> int:
    master, slave = os.openpty()
    try:
        settings = termios.tcgetattr(0)
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        _copy_size(master)
        kind = os.environ.get("TERM") or "dumb"
        client.ask("exec", fds=(slave,), node=node, argv=list(argv), terminal=kind)
        os.close(slave)
        slave = -1
        with _raw(settings), _resized(master), _ending():
            status = _Between(client, master).run()
    finally:
        for fd in (master, slave):
            if fd >= 0:
                os.close(fd)
    if status is None:
        raise client.gone()
    return _exit_code(status)


def _copy_size(master: int) -> None:
    """Give the pseudo-terminal the size of the user's."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))


@contextmanager
def _raw(settings: list[object]) -> Iterator[None]:
    tty.setraw(0, termios.TCSADRAIN)
    try:
        yield
    finally:
        try:
            termios.tcsetattr(0, termios.TCSADRAIN, settings)  # type: ignore[arg-type]
        except termios.error:  # the window was closed, and the terminal is gone with it
            pass


@contextmanager
def _resized(master: int) -> Iterator[None]:
    before = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(master))
    try:
        _copy_size(master)
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _ending() -> Iterator[None]:
    """Being told to end, leave the terminal as it was found; the command then loses its own."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Between:
    """Carries keys to the command's terminal and its output to the user's, until the command has ended."""

    def __init__(self, client: Client, master: int) -> None:
        self._client, self._master = client, master
        os.set_blocking(master, False)
        self._keys = bytearray()
        self._hung_up = False

    def run(self) -> int | None:
        """Its status, or None if the lab has ended instead."""
        while True:
            ready = self._wait()
            if self._master in ready:
                self._output(ready[self._master])
            if 0 in ready:
                self._typed()
            self._type()
            if self._client.pending or self._client.fileno() in ready:
                message = self._client.read()
                if message is None or "exited" in checked(message):
                    while self._copy():
                        pass
                    return None if message is None else int(message["exited"])

    def _wait(self) -> dict[int, int]:
        """What is ready; keys are read only while those before them are through."""
        poll = select.poll()
        poll.register(self._client.fileno(), select.POLLIN)
        if not self._keys:
            poll.register(0, select.POLLIN)
        if not self._hung_up:
            poll.register(self._master, select.POLLIN | (select.POLLOUT if self._keys else 0))
        return dict(poll.poll(0 if self._client.pending else None))

    def _output(self, mask: int) -> None:
        if mask & select.POLLIN:
            self._copy()
        elif mask & (select.POLLHUP | select.POLLERR):
            self._hung_up = True

    def _copy(self) -> bool:
        """Show what there is to show; False when that was nothing."""
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # nobody has the other side open any more
                raise
            return False
        shown = 0
        while shown < len(data):
            shown += os.write(1, data[shown:])
        return bool(data)

    def _typed(self) -> None:
        try:
            data = os.read(0, _READ_BYTES)
        except OSError:
            data = b""
        if not data:  # the user's terminal is gone
            sys.exit(128 + signal.SIGHUP)
        self._keys += data

    def _type(self) -> None:
        """Pass on the keys that the command's terminal has room for."""
        try:
            while self._keys:
                del self._keys[: os.write(self._master, self._keys)]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._keys.clear()
