"""A terminal for tests: a program in a session of its own, with somebody who types and reads."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence

_READ_BYTES = 65536
_PATIENCE_S = 60.0
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[()=>].?)")


class Terminal:
    """Runs a program on a pseudo-terminal of `rows` by `columns` as leader of its session."""

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], *, rows: int = 40, columns: int = 120
    ) -> None:
        self.output = b""
        """All that has been shown, with its escape sequences."""
        self._master, slave = os.openpty()
        self.resize(rows, columns)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            # As in a terminal's window, also where the tests themselves run under nohup(1).
            for number in (signal.SIGHUP, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1, 2):
                os.dup2(slave, fd)
            os.closerange(3, 256)
            os.execvpe(argv[0], list(argv), {**environment, "TERM": "xterm"})
        os.close(slave)

    @property
    def shown(self) -> str:
        """All that has been shown, as text."""
        return _ESCAPES.sub(b"", self.output).replace(b"\r", b"").decode(errors="replace")

    def type(self, keys: str) -> None:
        """Type; `\\x03` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait_for(self, text: str, *, timeout_s: float = _PATIENCE_S) -> None:
        """Wait until a text has been shown since the last wait for one."""
        deadline = time.monotonic() + timeout_s
        while text not in self.shown:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} was not shown within {timeout_s:g} s, but: {self.shown[-2000:]}"
            if select.select([self._master], [], [], left)[0]:
                assert self._read(), f"the program ended without {text!r}: {self.shown[-2000:]}"

    def forget(self) -> None:
        """Let `wait_for` look only at what comes from now on."""
        self.output = b""

    def _read(self) -> bool:
        try:
            data = os.read(self._master, _READ_BYTES)
        except OSError:  # nobody has the terminal open any more
            return False
        self.output += data
        return bool(data)

    @property
    def settings(self) -> list[object]:
        """The terminal's settings (termios(3))."""
        return termios.tcgetattr(self._master)

    def close(self) -> None:
        """Close the window: the kernel tells the session (SIGHUP), as when a connection breaks."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def end(self) -> int:
        """Read to the end; the program's exit code, or minus the signal."""
        while self._master >= 0 and self._read():
            pass
        self.close()
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        self.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
