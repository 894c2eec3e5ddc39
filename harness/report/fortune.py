"""One client's fortune on one target: when it began to lose requests and when it was answered again.

Works on results as they come in, though a lost request is known only when its time has run out: what was
due after it may have been answered, and reported, before.
"""

from __future__ import annotations

from collections import Counter, deque

from harness.timeline import Event

# So many answers in a row end a run of losses: with fewer, every third request lost would be many runs.
_STREAK = 5
_REMEMBERED = 2000


class Fortune:
    """Counts, and the run of losses that is open; times are when attempts were due (ns)."""

    def __init__(self) -> None:
        self.answered = 0
        self.causes: Counter[str] = Counter()
        self.run_lost = 0
        self.run_from_ns = 0
        self._last_loss_ns = 0
        self._streak = 0
        self._answers: deque[Event] = deque(maxlen=_REMEMBERED)

    @property
    def lost(self) -> int:
        """All losses so far."""
        return sum(self.causes.values())

    @property
    def losing(self) -> bool:
        """Whether a run of losses is open."""
        return self.run_lost > 0

    def take_loss(self, attempt: Event) -> bool:
        """Count a lost attempt; True if it begins a run of losses."""
        self.causes[attempt.result] += 1
        self._streak = 0
        begins = self.run_lost == 0
        if begins or attempt.t < self.run_from_ns:
            self.run_from_ns = attempt.t
        self._last_loss_ns = attempt.t if begins else max(self._last_loss_ns, attempt.t)
        self.run_lost += 1
        return begins

    def take_answer(self, attempt: Event) -> bool:
        """Count an answer; True if it ends the run of losses, whose figures stay until `close_run`."""
        self.answered += 1
        self._answers.append(attempt)
        if self.run_lost == 0 or attempt.t <= self._last_loss_ns:
            return False
        self._streak += 1
        return self._streak >= _STREAK

    def first_answer(self) -> Event | None:
        """The first answer due after the last loss."""
        later = (attempt for attempt in self._answers if attempt.t > self._last_loss_ns)
        return min(later, key=lambda attempt: attempt.t, default=None)

    def close_run(self) -> None:
        """Begin anew, with the totals kept."""
        self.run_lost = self._streak = 0
