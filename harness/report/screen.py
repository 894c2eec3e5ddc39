"""The live display's content: who owns the VIP, how the clients fare, what the fault does, what happened."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import groupby

from harness.report.announcers import sender
from harness.report.fortune import Fortune
from harness.report.happenings import NOTABLE, Happening, Narrator, Stream
from harness.report.lines import TONE_STYLE, Glyphs, Line
from harness.timeline import Event

_BIN_NS = 250_000_000
_BINS = 24
_STORY_LINES = 8
_STORY_KEPT = 64
_FAULT_STATE = {"inject": "acts", "effective": "acts", "heal": "is being healed", "healed": "is healed"}


class Screen:
    """Collects what the display shows and lays it out as lines; draws nothing itself."""

    def __init__(self, narrator: Narrator, glyphs: Glyphs) -> None:
        self._narrator, self._glyphs = narrator, glyphs
        self._story: deque[Happening] = deque(maxlen=_STORY_KEPT)
        self._bins: dict[Stream, dict[int, list[int]]] = defaultdict(dict)
        self._began_ns: int | None = None
        self._title = "building the testbed"
        self._vip_of: dict[int, str] = {}
        self._fault: tuple[str, str, int] | None = None
        self._inject_ns: int | None = None

    def take(self, event: Event) -> None:
        """Take an event into account."""
        if self._began_ns is None:
            self._began_ns = event.t
        if event.kind == "probe":
            self._probe(event)
        elif event.kind == "vrrp":
            self._vip_of.setdefault(event.vrid, ", ".join(event.addresses[:2]))
        elif event.kind == "fault":
            if event.state == "inject" and self._inject_ns is None:
                self._inject_ns = event.t
            acts_since = self._inject_ns if event.state == "effective" and self._inject_ns else event.t
            self._fault = (f"{event.fault} of {event.target}", event.state, acts_since)
        elif event.kind == "run":
            self._title = f"{event.architecture} {self._glyphs.dot} seed {event.seed}"

    def _probe(self, event: Event) -> None:
        bins = self._bins[event.client, event.stream, event.target]
        counts = bins.setdefault(event.t // _BIN_NS, [0, 0])
        counts[event.result != "ok"] += 1
        if len(bins) > 2 * _BINS:
            for old in sorted(bins)[:_BINS]:
                del bins[old]

    def tell(self, happening: Happening) -> None:
        """Add to the story."""
        if happening.weight >= NOTABLE:
            self._story.append(happening)

    # -- layout --------------------------------------------------------------------------------

    def lines(self, now_ns: int, width: int, height: int) -> list[Line]:
        """The display at a moment, within so many columns and lines."""
        lines = [self._head(now_ns), *self._owners(now_ns), *self._clients(now_ns, width), self._now(now_ns)]
        room = min(_STORY_LINES, height - len(lines) - 2)
        if room > 0 and self._story:
            lines.append([])
            lines += [self._happening(h) for h in sorted(self._story, key=lambda h: h.t)[-room:]]
        return [_cut(line, width) for line in lines]

    def _head(self, now_ns: int) -> Line:
        began_ns = now_ns if self._began_ns is None else self._began_ns
        seconds = max(now_ns - began_ns, 0) / 1e9
        return [(self._title, "bold"), (f"   {self._narrator.phase}, {seconds:.1f} s since the start", "dim")]

    def _owners(self, now_ns: int) -> list[Line]:
        announcers = self._narrator.announcers
        lines: list[Line] = []
        for router in announcers.routers():
            newest = announcers.newest(router)
            if newest is None:
                continue
            owners = announcers.present(router, now_ns)
            age_s = max(now_ns - newest.t, 0) / 1e9
            vip: Line = [(f"VIP {self._vip_of.get(router[1], '')}  ", "")]
            advert = f"advert {age_s:.2f} s ago, every {newest.interval_cs / 100:.2f} s"
            if not owners:
                lines.append([*vip, ("nobody", "bold red"), (f"  last {sender(newest)}, {advert}", "dim")])
            elif len(owners) > 1:
                lines.append([*vip, (" AND ".join(owners), "bold red"), (f"  {advert}", "dim")])
            else:
                priority = f", priority {newest.priority}"
                lines.append([*vip, (owners[0], "bold green"), (f"{priority}, {advert}", "dim")])
        return lines or [[("VIP  nobody has announced it yet", "dim")]]

    def _clients(self, now_ns: int, width: int) -> list[Line]:
        lines: list[Line] = []
        for stream, fortune in sorted(self._narrator.fortunes.items(), key=_new_before_long):
            client, kind, _ = stream
            name = f"{client} (long)" if kind == "long" else client
            count = f"{name:<10} {fortune.answered:>7,} answered "
            lost = (f"{fortune.lost:>6,} lost  ", "bold red" if fortune.losing else _lost_style(fortune))
            lines.append([(count, ""), lost, *self._spark(stream, now_ns, width - len(count) - 14)])
        return lines

    def _spark(self, stream: Stream, now_ns: int, room: int) -> Line:
        """The share of answered attempts over the last seconds, oldest first."""
        bins, last = self._bins[stream], now_ns // _BIN_NS
        shown = max(min(room, _BINS), 0)
        signs = [self._bar(bins.get(number)) for number in range(last - shown + 1, last + 1)]
        return [
            ("".join(sign for sign, _ in group), style)
            for style, group in groupby(signs, key=lambda pair: pair[1])
        ]

    def _bar(self, counts: list[int] | None) -> tuple[str, str]:
        if not counts:
            return " ", ""
        answered, lost = counts
        bars = self._glyphs.bars
        return bars[answered * (len(bars) - 1) // (answered + lost)], "red" if lost else "green"

    def _now(self, now_ns: int) -> Line:
        if self._fault is None:
            return [("no fault yet", "dim")]
        what, state, since_ns = self._fault
        style = "bold magenta" if state in ("inject", "effective") else ""
        seconds = max(now_ns - since_ns, 0) / 1e9
        return [(f"{what} {_FAULT_STATE.get(state, state)}", style), (f" since {seconds:.1f} s", "dim")]

    def _happening(self, happening: Happening) -> Line:
        origin_ns = self._inject_ns if self._inject_ns is not None else (self._began_ns or 0)
        style = TONE_STYLE[happening.tone]
        when = f"{(happening.t - origin_ns) / 1e9:+9.3f} {self._glyphs.tone[happening.tone]} "
        return [
            (when, style),
            (f"{happening.node} " if happening.node else "", "bold"),
            (happening.text, style),
        ]


def _new_before_long(item: tuple[Stream, Fortune]) -> tuple[str, str, bool]:
    client, kind, target = item[0]
    return client, target, kind == "long"


def _lost_style(fortune: Fortune) -> str:
    return "red" if fortune.lost else "dim"


def _cut(line: Line, width: int) -> Line:
    """The line without what does not fit, so that nothing ever wraps."""
    kept: Line = []
    for text, style in line:
        kept.append((text[:width], style))
        width -= len(text)
        if width <= 0:
            break
    return kept
