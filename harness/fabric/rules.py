"""Drop rules of the fabric: which frames may not pass from one port to another (nft(8), family bridge).

A rule is added and removed by its own handle; nothing is ever flushed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from harness.errors import TestbedError

if TYPE_CHECKING:
    from harness.fabric.fabric import Port
    from harness.nodes.netns import NetnsNode

_TABLE = ("bridge", "vipdrill")
# What is dropped on entry was never on the segment; what is dropped on its way to a port was.
_SKELETON = """table bridge vipdrill {
    chain entry { type filter hook prerouting priority 0; }
    chain passage { type filter hook forward priority 0; }
}
"""


class Rules:
    """The drop rules of one fabric."""

    def __init__(self, hub: NetnsNode) -> None:
        self._hub = hub
        self._made = False

    def drop(
        self, match: str = "", *, source: Port | None = None, destination: Port | None = None
    ) -> tuple[str, str]:
        """Drop what matches: towards `destination`, or, without one, as it enters the segment at `source`.

        `match` is an nft expression (`ip protocol 112`).  Returns the rule, for `remove`.
        """
        if not self._made:
            self._hub.run(["nft", "-f", "-"], stdin=_SKELETON.encode())
            self._made = True
        chain = "entry" if destination is None else "passage"
        words = ["nft", "--echo", "--handle", "add", "rule", *_TABLE, chain]
        if source is not None:
            words += ["iifname", source.name]
        if destination is not None:
            words += ["oifname", destination.name]
        said = self._hub.run([*words, *match.split(), "counter", "drop"])
        found = re.search(r"# handle (\d+)", said)
        if found is None:
            raise TestbedError(f"nft told no handle for the rule it made: {said!r}")
        return chain, found[1]

    def remove(self, rule: tuple[str, str]) -> None:
        """Remove one rule."""
        chain, handle = rule
        self._hub.run(["nft", "delete", "rule", *_TABLE, chain, "handle", handle])

    def dropped(self, rule: tuple[str, str]) -> int:
        """How many frames a rule has dropped."""
        chain, handle = rule
        listing = self._hub.run(["nft", "--handle", "list", "chain", *_TABLE, chain])
        for line in listing.splitlines():
            if line.endswith(f"# handle {handle}"):
                counted = re.search(r"counter packets (\d+)", line)
                return int(counted[1]) if counted else 0
        raise TestbedError(f"the fabric has no rule {chain} {handle}")
