"""Who announces a virtual router, advert by advert, and when that changes: for views, never for verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.timeline import Event

# Silence for longer than this many intervals means that a node has stopped (three make a backup act).
_SILENT_INTERVALS = 3.5
_CENTISECOND_NS = 10_000_000


@dataclass(frozen=True)
class Change:
    """A node begins to announce or leaves; `before` is the newest advert of anybody until then."""

    what: Literal["begins", "leaves"]
    advert: Event
    before: Event | None

    @property
    def silence_ns(self) -> int | None:
        """How long nobody had announced, in ns; None for the first advert of all."""
        return None if self.before is None else self.advert.t - self.before.t


def sender(advert: Event) -> str:
    """Whose advert it is: the node, or its address where no node of the testbed sent it."""
    return str(advert.node) if advert.node not in ("", "?", None) else str(advert.src)


class Announcers:
    """Fed with `vrrp` events in about the order of time."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], dict[str, Event]] = {}
        self._newest: dict[tuple[str, int], Event] = {}

    def take(self, advert: Event) -> Change | None:
        """Take an advert into account; tells whether its sender begins to announce, or leaves."""
        if advert.get("bad"):
            return None
        key, node = (advert.segment, advert.vrid), sender(advert)
        speakers, before = self._last.setdefault(key, {}), self._newest.get(key)
        if advert.priority == 0:
            speakers.pop(node, None)
            return Change("leaves", advert, before)
        previous = speakers.get(node)
        speakers[node] = self._newest[key] = advert
        if previous is not None and advert.t - previous.t <= silent_after_ns(previous):
            return None
        return Change("begins", advert, before)

    def routers(self) -> list[tuple[str, int]]:
        """The (segment, VRID) pairs seen so far."""
        return sorted(self._newest)

    def newest(self, router: tuple[str, int]) -> Event | None:
        """The last advert of a virtual router."""
        return self._newest.get(router)

    def present(self, router: tuple[str, int], now_ns: int) -> list[str]:
        """Who announces it now: neither silent for too long nor outranked by a later advert."""
        adverts = self._last.get(router, {}).values()
        return sorted(
            sender(advert)
            for advert in adverts
            if now_ns - advert.t <= silent_after_ns(advert)
            if not any(_gave_way(advert, other) for other in adverts)
        )


def _gave_way(advert: Event, other: Event) -> bool:
    """Whether a higher one has gone on announcing since, and this one has not."""
    quiet_ns = 1.5 * advert.interval_cs * _CENTISECOND_NS
    return bool(other.priority > advert.priority and other.t - advert.t > quiet_ns)


def silent_after_ns(advert: Event) -> int:
    """After how long without another advert its sender counts as silent."""
    return int(advert.interval_cs * _CENTISECOND_NS * _SILENT_INTERVALS)
