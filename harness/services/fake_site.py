"""What a fake site answers: something behind a balancer of which nothing is known but address and port.

Every path is well, whatever a health check asks for.  Once shutdown has begun, the paths of health checks
(`config["health"]`) answer 503, while the rest is served on.
"""

from __future__ import annotations

from harness.services.fake_http import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.loop import Loop
    from harness.services.fake_core import Listener
    from harness.services.fake_http import Request

_MOST_BYTES = 16 << 20


class Site:
    """The endpoints."""

    def __init__(self, loop: Loop, node: str, config: dict[str, Any]) -> None:
        self._node = node
        self._health = frozenset(config.get("health", ()))
        self._stopping = False
        self._well = Answer(node, 200, b"ok\n")
        self._unready = Answer(node, 503, b"shutting down\n")

    def answer(self, request: Request, listener: Listener) -> Answer:
        """The answer to a request, the same on every listener."""
        if self._stopping and request.path in self._health:
            return self._unready
        if request.path == "/echo":
            count = request.value("bytes")
            return Answer(self._node, 200, b"x" * min(int(count) if count.isdigit() else 2, _MOST_BYTES))
        return self._well

    def shutdown_begins(self) -> None:
        """Health checks fail from now on; the rest stays."""
        self._stopping = True

    def end_streams(self) -> None:
        """There are none."""
