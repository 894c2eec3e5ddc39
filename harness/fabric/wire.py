"""A userspace wire in place of a port: delays, jitters, duplicates and reorders frames without netem.

The wire's own bridge port, the detour, takes the place of the node's, and `wire_agent` carries frames
between the two.  Rules and silence of the port apply to its detour as they would to itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.fabric import rtnl

if TYPE_CHECKING:
    from harness.fabric.fabric import Fabric, Port
    from harness.recorder import Recorder

_DETOUR_INDEX, _TAP_INDEX = 20_000, 40_000
_ENDING_S = 10.0


@dataclass(frozen=True)
class Shape:
    """What happens to the frames of one direction: times in ms, shares in percent.

    Each is `delay_ms` late, give or take up to `jitter_ms`; `duplicate` percent arrive twice; `reorder`
    percent are held back `hold_ms` longer, so that later ones pass them.
    """

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    hold_ms: float = 0.0

    def for_agent(self) -> list[float]:
        """In the agent's units: ns, and shares of 1."""
        times = (self.delay_ms, self.jitter_ms, self.hold_ms)
        delay, jitter, hold = (round(ms * 1e6) for ms in times)
        return [delay, jitter, self.duplicate / 100, self.reorder / 100, hold]


class Wire:
    """A wire put in at a port, seated at once; `remove` takes it out."""

    def __init__(self, fabric: Fabric, recorder: Recorder, port: Port, seed: int) -> None:
        self._fabric, self._recorder, self._port = fabric, recorder, port
        self._shapes: set[str] = set()
        detour, tap = _DETOUR_INDEX + port.number, _TAP_INDEX + port.number
        name = f"v{port.number}"
        fabric.request(rtnl.veth_here(port.detour, detour, name, tap, port.mtu, f"wire {port}"))
        config = {
            "port": [port.name, port.index],
            "detour": [port.detour, detour],
            "tap": [name, tap],
            "bridge": fabric.segment_index(port.segment),
            "seed": seed + port.number,
        }
        self._detour = detour
        self._agent = fabric.hub.spawn_agent(f"wire-{port.name}", "harness.fabric.wire_agent", config)
        recorder.attach(self._agent)
        recorder.wait_ready(self._agent)
        self._seat(port)
        fabric.detours[port] = detour
        fabric.reconnected.append(self._seat)

    def _seat(self, port: Port) -> None:
        """Take the port's place, now and whenever its node was connected anew."""
        if port == self._port:
            in_bridge = not self._fabric.silent(port)
            self._recorder.ask(self._agent, do="seat", in_bridge=in_bridge)

    def set(self, holder: str, towards: Shape, away: Shape) -> None:
        """Add an impairment, by direction: `towards` the node and `away` from it."""
        self._shapes.add(holder)
        shapes = {"in": towards.for_agent(), "out": away.for_agent()}
        self._recorder.ask(self._agent, do="set", id=holder, **shapes)

    def clear(self, holder: str) -> None:
        """Remove an impairment."""
        self._shapes.discard(holder)
        self._recorder.ask(self._agent, do="clear", id=holder)

    @property
    def idle(self) -> bool:
        """Whether no impairment is left, so that it may be removed."""
        return not self._shapes

    def remove(self) -> None:
        """Take the wire out: what is under way is delivered first, at once."""
        fabric, recorder = self._fabric, self._recorder
        fabric.reconnected.remove(self._seat)
        recorder.ask(self._agent, do="leave", join=not fabric.silent(self._port))
        del fabric.detours[self._port]
        recorder.wait(lambda: self._agent.reap() is not None, _ENDING_S, f"the end of {self._agent}")
        recorder.detach(self._agent)
        fabric.request([rtnl.delete_link(self._detour, f"remove the wire of {self._port}")])
