"""A real browser for the pages: headless Chromium, driven over a pipe by the Chrome DevTools Protocol.

Standard library only.  https://chromedevtools.github.io/devtools-protocol: commands and answers are JSON
objects, ended by a NUL byte, on descriptors 3 and 4 (`--remote-debugging-pipe`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)
_PATIENCE_S = 60.0
_LAUNCH = (
    "import os, sys; [os.dup2(int(e), n) for n, e in zip((3, 4), sys.argv[1:])]; "
    "os.execvp(sys.argv[3], sys.argv[3:])"
)


def chromium() -> str | None:
    """Where a Chromium is, if one is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One open page. `errors` are what it said on its console, `requests` the addresses it asked for."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self.session = browser, session
        self.errors: list[str] = []
        self.requests: list[str] = []

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; gives its answer."""
        return self._browser.do(method, parameters, self.session)

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and wait until it has loaded."""
        self.errors.clear()
        self.requests.clear()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")
        self.do("Page.navigate", url="about:blank")
        self.do("Page.navigate", url=f"{path.as_uri()}{fragment}")
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def ask(self, expression: str) -> Any:
        """The value of an expression in the page."""
        answer = self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true, frame by frame of the page itself."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.ask(f"new Promise(r => requestAnimationFrame(() => r(!!({expression}))))"):
            if time.monotonic() > deadline:
                raise AssertionError(f"the page never got to {expression}")

    def mouse(self, kind: str, x: float, y: float, count: int = 1) -> None:
        """Move, press or release the left button: `mouseMoved`, `mousePressed`, `mouseReleased`."""
        down = 0 if kind == "mouseReleased" else 1
        button = "none" if kind == "mouseMoved" else "left"
        self.do(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=down, clickCount=count
        )

    def click(self, x: float, y: float, count: int = 1) -> None:
        """A click, or with `count` 2 a double click."""
        self.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for number in range(1, count + 1):
            self.mouse("mousePressed", x, y, number)
            self.mouse("mouseReleased", x, y, number)

    def take(self, method: str, parameters: dict[str, Any]) -> None:
        """An event of the page."""
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description") or details["text"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(arg.get("value")) for arg in parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])


class Browser:
    """A running Chromium with a profile of its own."""

    def __init__(self, program: str, profile: Path) -> None:
        down, commands = os.pipe()
        answers, up = os.pipe()
        # Out of the way of 3 and 4, which is where `_LAUNCH` puts them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (down, up)]
        argv = [sys.executable, "-c", _LAUNCH, *map(str, ends), program, *_FLAGS]
        with (profile.parent / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*argv, f"--user-data-dir={profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=ends,
            )
        for end in (down, up, *ends):
            os.close(end)
        self._commands, self._answers = commands, answers
        self._partial = b""
        self._number = 0
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        """A new, empty page."""
        target = self.do("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.do("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        self._pages[session] = Page(self, session)
        return self._pages[session]

    def do(self, method: str, parameters: dict[str, Any], session: str = "") -> dict[str, Any]:
        """One command; events that come meanwhile go to their pages."""
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next(method)
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                return dict(message["result"])
            if message.get("sessionId") in self._pages and "method" in message:
                self._pages[message["sessionId"]].take(message["method"], message["params"])

    def _next(self, awaited: str) -> dict[str, Any]:
        while b"\0" not in self._partial:
            if not select.select([self._answers], [], [], _PATIENCE_S)[0]:
                raise AssertionError(f"Chromium did not answer to {awaited} within {_PATIENCE_S:g} s")
            data = os.read(self._answers, 1 << 20)
            if not data:
                raise AssertionError(f"Chromium ended while {awaited} was awaited")
            self._partial += data
        line, _, self._partial = self._partial.partition(b"\0")
        return dict(json.loads(line))

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            os.write(self._commands, b'{"id":0,"method":"Browser.close"}\0')
        try:
            self._process.wait(_PATIENCE_S / 6)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)


@contextlib.contextmanager
def running(program: str, folder: Path) -> Iterator[Browser]:
    """A browser for as long as the block lasts; its profile goes into `folder`."""
    profile = folder / "profile"
    profile.mkdir()
    browser = Browser(program, profile)
    try:
        yield browser
    finally:
        browser.close()
