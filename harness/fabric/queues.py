"""The kernel's own queueing on a port: rates by tbf, and delays by netem where the kernel has it.

Frames towards a node queue at the fabric's end of its link, frames from it at the node's own end.  Each
of the two has a root discipline, or none, as it was made; what is healed last restores that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from harness.errors import TestbedError
from harness.fabric.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, RouteSocket, attribute
from harness.fabric.rtnl import RTM_DELQDISC, RTM_NEWQDISC, traffic_control
from harness.fabric.wire import Shape

if TYPE_CHECKING:
    from harness.fabric.fabric import Port

Direction = Literal["in", "out"]
Run = Callable[["Port", Direction, Sequence[str]], str]
"""Runs a command where a port's queue of a direction is, given with `DEV` for the device."""

_LOOPBACK, _ROOT = 1, 0xFFFFFFFF
_TCA_KIND, _TCA_OPTIONS = 1, 2
# struct tc_netem_qopt: latency, limit, loss, gap, duplicate, jitter.
_NETEM_OPTIONS = bytes(24)
_NETEM_FRAMES = 100_000


def has_netem(route: RouteSocket) -> bool:
    """Whether the kernel of a socket's network namespace has netem, found out on its loopback."""
    body = traffic_control(_LOOPBACK, _ROOT)
    add = Request(
        RTM_NEWQDISC,
        NLM_F_CREATE | NLM_F_EXCL,
        body + attribute(_TCA_KIND, "netem") + attribute(_TCA_OPTIONS, _NETEM_OPTIONS),
        "put netem on the loopback",
    )
    try:
        route.send([add])
    except TestbedError:
        return False
    route.send([Request(RTM_DELQDISC, 0, body, "take netem off the loopback")])
    return True


def netem_words(shape: Shape) -> list[str]:
    """A shape in the words of tc-netem(8)."""
    words = ["limit", str(_NETEM_FRAMES)]
    if shape.reorder:
        # There, what is not reordered is what waits: the share that is sent at once passes the rest.
        return [*words, "delay", f"{shape.hold_ms:g}ms", "reorder", f"{100 - shape.reorder:g}%"]
    if shape.delay_ms or shape.jitter_ms:
        words += ["delay", f"{shape.delay_ms:g}ms"]
    if shape.jitter_ms:
        words.append(f"{shape.jitter_ms:g}ms")
    if shape.duplicate:
        words += ["duplicate", f"{shape.duplicate:g}%"]
    return words


def tbf_words(bits_per_s: float, mtu: int) -> list[str]:
    """A rate in the words of tc-tbf(8): a burst of 4 ms, a queue of 50 ms."""
    burst = max(mtu * 4, round(bits_per_s) // 8 // 250)
    return ["rate", f"{round(bits_per_s)}bit", "burst", str(burst), "latency", "50ms"]


@dataclass
class _Queue:
    netem: tuple[str, Shape] | None = None
    rates: dict[str, float] = field(default_factory=dict)
    made: bool = False


class Queues:
    """The root disciplines of all ports."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queues: dict[tuple[Port, Direction], _Queue] = {}

    def _queue(self, port: Port, direction: Direction) -> _Queue:
        return self._queues.setdefault((port, direction), _Queue())

    def set_rate(self, port: Port, direction: Direction, holder: str, bits_per_s: float) -> None:
        """Cap the rate of a direction; of several caps the lowest counts."""
        self._queue(port, direction).rates[holder] = bits_per_s
        self._apply(port, direction)

    def clear_rate(self, port: Port, direction: Direction, holder: str) -> None:
        """Lift a cap."""
        self._queue(port, direction).rates.pop(holder, None)
        self._apply(port, direction)

    def free(self, port: Port, direction: Direction) -> bool:
        """Whether netem can be had on a direction: it takes one shape at a time."""
        return self._queue(port, direction).netem is None

    def set_netem(self, port: Port, direction: Direction, holder: str, shape: Shape) -> None:
        """Have netem shape a direction."""
        self._queue(port, direction).netem = holder, shape
        self._apply(port, direction)

    def clear_netem(self, port: Port, direction: Direction, holder: str) -> bool:
        """Take netem away; False if this holder has none there."""
        queue = self._queue(port, direction)
        if queue.netem is None or queue.netem[0] != holder:
            return False
        queue.netem = None
        self._apply(port, direction)
        return True

    def reconnected(self, port: Port) -> None:
        """Queue as before on a link that was made anew."""
        for (of, direction), queue in self._queues.items():
            if of == port:
                queue.made = False
                self._apply(port, direction)

    def _apply(self, port: Port, direction: Direction) -> None:
        queue = self._queue(port, direction)
        parent = ["root"]
        if queue.made:
            self._tc(port, direction, "del", ["root"])
            queue.made = False
        if queue.netem is not None:
            shape = queue.netem[1]
            self._tc(port, direction, "add", ["root", "handle", "7:", "netem", *netem_words(shape)])
            queue.made, parent = True, ["parent", "7:1"]
        if queue.rates:
            words = tbf_words(min(queue.rates.values()), port.mtu)
            self._tc(port, direction, "add", [*parent, "handle", "8:", "tbf", *words])
            queue.made = True
        elif queue.netem is not None and queue.netem[1].jitter_ms:
            # In netem's own queue jitter would reorder (tc-netem(8)); in a plain one it does not.
            fifo = ["parent", "7:1", "handle", "8:", "pfifo", "limit", str(_NETEM_FRAMES)]
            self._tc(port, direction, "add", fifo)

    def _tc(self, port: Port, direction: Direction, verb: str, words: list[str]) -> None:
        self._run(port, direction, ["tc", "qdisc", verb, "dev", "DEV", *words])
