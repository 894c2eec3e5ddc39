"""One drill: steady state, a fault, what follows, healing, what follows that. Ends with a timeline.

Every step waits for events; the deadlines only bound how long a broken load balancer is watched.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness import faults
from harness.bounds import patience
from harness.bounds.bound import RESOLUTION_S
from harness.configs.haproxy import read_haproxy
from harness.configs.keepalived import read_keepalived
from harness.configs.nginx import read_nginx
from harness.errors import TestbedError, WaitExpired

if TYPE_CHECKING:
    from harness.faults.base import Fault
    from harness.plan import Step
    from harness.testbed import Testbed
    from harness.timeline import Event

PROXIES = ("haproxy", "nginx")
_STEADY_S = 30.0
_STREAK = 5
_BASELINE_S = 0.5
_TURN_S = 0.5
_TURNS = 6
# Faults under which nothing may be to decide, but whose cost is asked for: how long clients go on asking.
_FIGURES = (
    *("loss", "delay", "jitter", "duplicate", "reorder", "rate", "port-security", "garp-drop", "arp-spoof"),
    *("cpu-steal", "cpu-quota", "fds-exhausted", "conntrack-full", "backend-limit"),
)
_FIGURES_S = 2.0
_NS = 1_000_000_000
_ROUNDING = 1e-9
# Later than this a scenario's moment is told to be late: VRRP's timers resolve 10 ms.
_LATE_S = RESOLUTION_S


class NotSteady(TestbedError):
    """The load balancer never served steadily, so no fault was injected and nothing can be said of it."""


class Drill:
    """Runs faults on a built testbed; `seed` decides at which phase of an advertisement cycle.

    `phase` (0 to 1) says it outright, for the first fault.
    """

    def __init__(self, testbed: Testbed, seed: int | None = None, phase: float | None = None) -> None:
        self.testbed, self._phase = testbed, phase
        self._random = random.Random(testbed.seed if seed is None else seed)

    # -- how long things may take ------------------------------------------------------------------

    def _advert_s(self) -> float:
        """The longest advertisement interval in use, as the wire says it; 1 s before any was seen."""
        adverts = self.testbed.situation.last_advert.values()
        return max((advert.interval_cs / 100 for advert in adverts), default=1.0)

    def _down_s(self) -> float:
        """No less than any backup's down interval: three advertisements and a skew (RFC 9568 section 6.1)."""
        return 3 * self._advert_s() + max(1.0, self._advert_s())

    def _preempt_delay_s(self) -> float:
        """The longest preempt_delay of the configurations in force."""
        configs = self.testbed.recorder.timeline.of("config", service="keepalived")
        instances = [i for config in configs for i in read_keepalived(config.text, config.path).instances]
        return max((i.preempt_delay_us for i in instances), default=0) / 1e6

    def _streak_s(self) -> float:
        """How long the client that asks most seldom takes for as many answers as count as being served."""
        shares = [probe.share for probe in self.testbed.topology.probes]
        return _STREAK / (self.testbed.probe_rate * min(shares)) if shares else 0.0

    # -- steps -------------------------------------------------------------------------------------

    def steady(self, within_s: float | None = None) -> None:
        """Wait until every client is served and the owner has not changed for a while; take a baseline.

        Neighbours know where the owner is, too: what the standby passes on by mistake ends with the standby.
        `within_s` is for who knows from the configuration by when that must be so.  Raises NotSteady, which
        tells what was seen last.
        """
        patience_s = _STEADY_S + 4 * self._down_s() + self._streak_s() if within_s is None else within_s
        try:
            self._settle("before the fault", time.monotonic_ns(), patience_s, told=True)
        except WaitExpired as expired:
            raise NotSteady(f"no steady state: {expired}") from None
        self.testbed.recorder.emit("phase", name="steady")
        self.testbed.recorder.pass_time(time.monotonic_ns() + int(_BASELINE_S * _NS), "a baseline")

    def strike(self, what: str | Fault, *, at_once: bool = False, phase_s: float | None = None) -> Fault:
        """Inject a fault, given as `FAULT[:TARGET]` or made, at a random phase of the advertisement cycle.

        `phase_s` chooses it: so long after an advertisement.  `at_once` leaves it to chance, for a second
        fault on top of a first.
        """
        fault = faults.parse(what, self.testbed) if isinstance(what, str) else what
        situation, recorder = self.testbed.situation, self.testbed.recorder
        if situation.last_advert and not at_once:
            newest = self.next_adverts(1)
            if phase_s is None:
                phase, self._phase = self._phase, None
                phase_s = (self._random.random() if phase is None else phase) * self._advert_s()
            recorder.pass_time(newest.t + int(phase_s * _NS), "the phase of the advertisement cycle")
        recorder.emit("phase", name="fault")
        situation.forget_streaks()
        fault.inject()
        return fault

    def next_adverts(self, count: int) -> Event:
        """Wait until so many more advertisements have been on the wire; the last of them."""
        recorder, since = self.testbed.recorder, time.monotonic_ns()

        def seen() -> list[Event]:
            return recorder.timeline.of("vrrp", since=since)

        recorder.wait(lambda: len(seen()) >= count, (count + 1) * self._down_s(), f"{count} advertisements")
        return seen()[count - 1]

    def watch(self, seconds: float) -> None:
        """Take in what happens for so long, expecting nothing."""
        self.testbed.recorder.pass_time(time.monotonic_ns() + int(seconds * _NS))

    def aftermath(self, fault: Fault, until_ns: int | None = None) -> bool:
        """Watch until clients are served again and owners are stable; False if that does not come."""
        least_s = self._with_turns_s(self._decided_s(fault)[0])
        return self._follow(fault.injected_ns, "recovered", "after the fault", least_s, until_ns=until_ns)

    def heal(self, fault: Fault, until_ns: int | None = None) -> bool:
        """Heal, and watch until clients are served and owners are stable; False if that does not come."""
        recorder = self.testbed.recorder
        recorder.emit("phase", name="healing")
        fault.heal()
        # Who was to come back has come by two down intervals.
        least_s = self._with_turns_s(self._decided_s(fault)[1])
        return self._follow(time.monotonic_ns(), "healed", "after healing", least_s, 2.2, until_ns)

    def run(self, what: str, *, heal: bool = True, before_s: float = 0.0, after_s: float = 0.0) -> None:
        """The whole drill: `FAULT[:TARGET]`, then healing unless told otherwise.

        What happens by itself is watched for `before_s` before the fault, and for `after_s` before healing.
        """
        self.steady()
        self.watch(before_s)
        self.follow(what, heal=heal, after_s=after_s)

    def follow(self, what: str, *, heal: bool = True, after_s: float = 0.0) -> None:
        """The drill from the fault on, for who has been steady and did something of his own then."""
        fault = self.strike(what)
        self.aftermath(fault)
        self.watch(after_s)
        self.testbed.snapshot("after-fault")
        if heal:
            self.heal(fault)
        self.finish()

    def sweep(self, what: str, step_s: float) -> None:
        """The drill at every phase of the advertisement cycle, by this step, one after the other."""
        self.steady()
        for number in range(math.ceil(self._advert_s() / step_s - _ROUNDING)):
            fault = self.strike(what, phase_s=number * step_s)
            self.aftermath(fault)
            self.heal(fault)
        self.finish()

    def scenario(self, steps: Sequence[Step], watch_s: float) -> None:
        """Faults at moments of their own, counted from the steady state; all of it takes `watch_s`.

        A moment that has passed while another fault came or healed is made up for at once, and noted.
        """
        self.steady()
        began = time.monotonic_ns()
        end = began + int(watch_s * _NS)
        acting: dict[Step, Fault] = {}
        coming = moments(steps)
        for number, (at_s, step) in enumerate(coming):
            due = began + int(at_s * _NS)
            self.testbed.recorder.pass_time(due, "the scenario's next moment")
            next_ns = began + int(coming[number + 1][0] * _NS) if number + 1 < len(coming) else end
            doing = f"healing {step.fault}" if step in acting else step.fault
            self._note_late(doing, due)
            if step in acting:
                self.heal(acting[step], next_ns)
            else:
                acting[step] = self.strike(step.fault, at_once=True)
                self.aftermath(acting[step], next_ns)
        self.testbed.recorder.pass_time(end, "the scenario's end")
        self.testbed.snapshot("end")
        self.finish()

    def _note_late(self, doing: str, due_ns: int) -> None:
        late_s = (time.monotonic_ns() - due_ns) / _NS
        if late_s > _LATE_S:
            self.testbed.recorder.emit(
                "note", text=f"{doing} was due {late_s:.3f} s ago, while what came before it still took place"
            )

    def finish(self) -> None:
        """Let attempts that are under way end, so that none is cut off by the tear-down."""
        self.testbed.witnesses.stop_probes()
        self.testbed.tell_packets()
        self.testbed.witnesses.sync()
        self.testbed.recorder.emit("phase", name="done")

    def _turns_s(self) -> float:
        """Within how long every member has had its turn so often that one which is left out is missed."""
        return _TURNS * len(self.testbed.topology.role("member")) / self.testbed.probe_rate

    def _decided_s(self, fault: Fault) -> tuple[float, float]:
        """For how long the fault, and its healing, may not be over yet though nothing is to be seen."""
        acting_s, healing_s = self._checked_s(fault)
        return max(acting_s, _FIGURES_S if fault.name in _FIGURES else 0.0), healing_s

    def _with_turns_s(self, decided_s: float) -> float:
        """And some turns of a member after its checks, as only a turn shows whether it is sent a request."""
        return decided_s + max(_TURN_S, self._streak_s(), self._turns_s()) if decided_s else 0.0

    def _checked_s(self, fault: Fault) -> tuple[float, float]:
        """How long checks of the service that was hit may take, after the fault and after its healing."""
        if fault.name in ("reload", "restart", "drain"):
            return 0.0, 0.0
        script = fault.name in ("file-missing", "file-mode", "disk-full")
        if script or any(target.service in PROXIES for target in fault.targets):
            configs = [self._latest(node, "keepalived") for node in self._balancers]
            return patience.tracking_s(read_keepalived(text) for text in configs if text)
        members = {node.name for node in self.testbed.topology.role("member")}
        if any(target.node in members for target in fault.targets):
            active = [self._latest(node, "haproxy") for node in self._balancers]
            passive = [self._latest(node, "nginx") for node in self._balancers]
            directing = [self._latest(node, "keepalived") for node in self._balancers]
            waits = (
                patience.checks_s(read_haproxy(text) for text in active if text),
                patience.passive_s(read_nginx(text) for text in passive if text),
                patience.checkers_s(read_keepalived(text) for text in directing if text),
            )
            return max(gone for gone, _ in waits), max(back for _, back in waits)
        return 0.0, 0.0

    @property
    def _balancers(self) -> list[str]:
        return [node.name for node in self.testbed.topology.role("balancer")]

    def _latest(self, node: str, service: str) -> str:
        """The first file of a service as it was told last."""
        told = self.testbed.recorder.timeline.of("config", node=node, service=service)
        return next((event.text for event in reversed(told) if event.path == told[0].path), "")

    def _follow(
        self,
        since_ns: int,
        phase: str,
        when: str,
        least_s: float = 0.0,
        downs: float = 1.2,
        until_ns: int | None = None,
    ) -> bool:
        """Watch until all is settled, which is a phase; False if that never comes, or not until a moment."""
        patience_s = 3 * self._down_s() + self._preempt_delay_s() + 3.0 + least_s + self._streak_s()
        left_s = math.inf if until_ns is None else (until_ns - time.monotonic_ns()) / _NS
        try:
            self._settle(when, since_ns, max(min(patience_s, left_s), 0.0), least_s, downs)
        except WaitExpired as expired:
            if patience_s <= left_s:
                self.testbed.recorder.emit("note", text=str(expired))
            return False
        self.testbed.recorder.emit("phase", name=phase)
        return True

    def _settle(
        self,
        when: str,
        since_ns: int,
        timeout_s: float,
        least_s: float = 0.0,
        downs: float = 1.2,
        *,
        told: bool = False,
    ) -> None:
        """Wait until owners have been the same for so many down intervals, and clients are served.

        Where an owner does not change, no less than `least_s` is waited for that.  `told`: neighbours have
        to know where the owner is, too.
        """
        situation, recorder = self.testbed.situation, self.testbed.recorder
        preempt_delay_s = self._preempt_delay_s()

        def calm_at() -> int:
            last_change = max(situation.owner_since.values(), default=0)
            calm_s = downs * self._down_seen_s() + preempt_delay_s
            if last_change <= since_ns:
                calm_s = max(calm_s, least_s)
            return max(since_ns, last_change) + int(calm_s * _NS)

        def settled() -> bool:
            if self.testbed.expects_vrrp and not situation.owner_of:
                return False
            if told and situation.mistold():
                return False
            served = all(situation.streak.get(client, 0) >= _STREAK for client in self.testbed.awaited)
            return served and time.monotonic_ns() >= calm_at()

        awaited = f"{when}: clients served and owners stable for {self._calm_words(downs, least_s)}"
        recorder.wait(settled, timeout_s, awaited, situation.summary)

    def _calm_words(self, downs: float, least_s: float) -> str:
        calm_s, delay_s = downs * self._down_seen_s(), self._preempt_delay_s()
        words = f"{downs:g} down intervals" + (f" and preempt_delay {delay_s:g} s" if delay_s else "")
        if self.testbed.situation.last_advert:
            words += f" ({calm_s + delay_s:.1f} s)"
        return words + (
            f", or {least_s:.1f} s of checks without a change" if least_s > calm_s + delay_s else ""
        )

    def _down_seen_s(self) -> float:
        """A down interval of VRRP as the wire shows it, with the largest skew."""
        advert = next(iter(self.testbed.situation.last_advert.values()), None)
        skew_s = 1.0 if advert is not None and advert.version == 2 else self._advert_s()
        return 3 * self._advert_s() + skew_s


def moments(steps: Sequence[Step]) -> list[tuple[float, Step]]:
    """When (s) which step comes, and when it is healed; of the same moment, what is healed comes first."""
    coming = [(step.at_s, 1, step) for step in steps]
    healed = [(step.at_s + step.for_s, 0, step) for step in steps if step.for_s is not None]
    return [(at_s, step) for at_s, _, step in sorted([*coming, *healed], key=lambda moment: moment[:2])]
