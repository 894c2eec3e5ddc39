"""What incidents are told by beside verdicts: the courses of some attempts' packets."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from harness.drill import Drill
from harness.observe import packets
from harness.timeline import Event

_SHOWN = 5


def courses(drill: Drill, attempts: Iterable[Event]) -> list[list[str]]:
    """The packets of the first few attempts until each ended, out of the captures: `SYN from cl to lb1`."""
    folder = drill.testbed.artifacts / "captures"
    captured = {path.stem: list(packets.segments(path)) for path in sorted(folder.glob("*.pcap"))}
    return [
        [
            f"{packet['what']} from {packet['node']} to {packet.get('to', '?')}"
            for packet in packets.of_attempt(drill.testbed.recorder.timeline, attempt, captured)
            if packet["t"] <= attempt.end
        ]
        for attempt in islice(attempts, _SHOWN)
    ]
