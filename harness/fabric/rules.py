"""Drop rules of the fabric: which frames may not pass from one port to another (nft(8), family bridge).

A rule is added and removed by its own handle; nothing is ever flushed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
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

Rule = tuple[str, str]
"""A rule's chain and handle."""


class Rules:
    """The drop rules of one fabric."""

    def __init__(self, hub: NetnsNode) -> None:
        self._hub = hub
        self._made = False

    def drop(self, match: str = "", *, source: Port | None = None, destination: Port | None = None) -> Rule:
        """Drop what matches: towards `destination`, or, without one, as it enters the segment at `source`.

        `match` is an nft expression (`meta l4proto 112`).  Returns the rule, for `remove`.
        """
        words = []
        if source is not None:
            words += ["iifname", _names(source)]
        if destination is not None:
            words += ["oifname", _names(destination)]
        return self._add("entry" if destination is None else "passage", [*words, *match.split()])

    def drop_between(self, pairs: Iterable[tuple[Port, Port]]) -> Rule:
        """Drop everything from the first to the second of each pair, all from the same instant."""
        elements = [
            f"{source} . {destination}"
            for first, second in pairs
            for source in _both(first)
            for destination in _both(second)
        ]
        return self._add("passage", ["iifname", ".", "oifname", "{", ", ".join(elements), "}"])

    def _add(self, chain: str, words: list[str]) -> Rule:
        if not self._made:
            self._hub.run(["nft", "-f", "-"], stdin=_SKELETON.encode())
            self._made = True
        # A partition of a large segment would not fit on a command line.
        text = " ".join(["add", "rule", *_TABLE, chain, *words, "counter", "drop"])
        said = self._hub.run(["nft", "--echo", "--handle", "-f", "-"], stdin=text.encode() + b"\n")
        found = re.search(r"# handle (\d+)", said)
        if found is None:
            raise TestbedError(f"nft told no handle for the rule it made: {said!r}")
        return chain, found[1]

    def remove(self, rule: Rule) -> None:
        """Remove one rule."""
        chain, handle = rule
        self._hub.run(["nft", "delete", "rule", *_TABLE, chain, "handle", handle])

    def exists(self, rule: Rule) -> bool:
        """Whether the kernel has a rule in force."""
        return self._listed(rule) is not None

    def dropped(self, rule: Rule) -> int:
        """How many frames a rule has dropped."""
        listed = self._listed(rule)
        if listed is None:
            raise TestbedError(f"the fabric has no rule {' '.join(rule)}")
        counted = re.search(r"counter packets (\d+)", listed)
        return int(counted[1]) if counted else 0

    def _listed(self, rule: Rule) -> str | None:
        chain, handle = rule
        listing = self._hub.run(["nft", "--handle", "list", "chain", *_TABLE, chain])
        # A long set is listed over several lines, the last of which has the counter and the handle.
        return next((line for line in listing.splitlines() if line.endswith(f"# handle {handle}")), None)


def _both(port: Port) -> tuple[str, str]:
    """A port's frames pass the bridge by its own port, or by that of a wire (`harness.fabric.wire`)."""
    return f'"{port.name}"', f'"{port.detour}"'


def _names(port: Port) -> str:
    return "{ " + ", ".join(_both(port)) + " }"
