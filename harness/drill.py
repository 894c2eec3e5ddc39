"""One drill: steady state, a fault, what follows, healing, what follows that. Ends with a timeline.

Every step waits for events; the deadlines only bound how long a broken load balancer is watched.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from harness import faults
from harness.bounds import patience
from harness.configs.haproxy import read_haproxy
from harness.configs.keepalived import read_keepalived
from harness.configs.nginx import read_nginx
from harness.errors import TestbedError, WaitExpired

if TYPE_CHECKING:
    from harness.faults.base import Fault
    from harness.testbed import Testbed
    from harness.timeline import Event

PROXIES = ("haproxy", "nginx")
_STEADY_S = 30.0
_STREAK = 5
_BASELINE_S = 0.5
_TURN_S = 0.5
_NS = 1_000_000_000


class NotSteady(TestbedError):
    """The load balancer never served steadily, so no fault was injected and nothing can be said of it."""


class Drill:
    """Runs faults on a built testbed; `seed` decides at which phase of an advertisement cycle."""

    def __init__(self, testbed: Testbed, seed: int | None = None) -> None:
        self.testbed = testbed
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

    # -- steps -------------------------------------------------------------------------------------

    def steady(self) -> None:
        """Wait until every client is served and the owner has not changed for a while; take a baseline.

        Raises NotSteady, which tells what was seen last.
        """
        try:
            self._settle("before the fault", time.monotonic_ns(), _STEADY_S + 4 * self._down_s())
        except WaitExpired as expired:
            raise NotSteady(f"no steady state: {expired}") from None
        self.testbed.recorder.emit("phase", name="steady")
        self.testbed.recorder.pass_time(time.monotonic_ns() + int(_BASELINE_S * _NS), "a baseline")

    def strike(self, what: str | Fault, *, at_once: bool = False) -> Fault:
        """Inject a fault, given as `FAULT[:TARGET]` or made, at a random phase of the advertisement cycle.

        `at_once` leaves the phase to chance, for a second fault on top of a first.
        """
        fault = faults.parse(what, self.testbed) if isinstance(what, str) else what
        situation, recorder = self.testbed.situation, self.testbed.recorder
        if situation.last_advert and not at_once:
            newest = self.next_adverts(1)
            phase_s = self._random.random() * self._advert_s()
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

    def aftermath(self, fault: Fault) -> bool:
        """Watch until clients are served again and owners are stable; False if that never comes."""
        least_s = self._decided_s(fault)[0]
        return self._follow(fault.injected_ns, "recovered", "after the fault", least_s)

    def heal(self, fault: Fault) -> bool:
        """Heal, and watch until clients are served and owners are stable; False if that never comes."""
        recorder = self.testbed.recorder
        recorder.emit("phase", name="healing")
        fault.heal()
        # Who was to come back has come by two down intervals; a member's turn comes after its checks.
        least_s = self._decided_s(fault)[1]
        least_s += _TURN_S if least_s else 0.0
        return self._follow(time.monotonic_ns(), "healed", "after healing", least_s, 2.2)

    def run(self, what: str, *, heal: bool = True) -> None:
        """The whole drill: `FAULT[:TARGET]`, then healing unless told otherwise."""
        self.steady()
        fault = self.strike(what)
        self.aftermath(fault)
        self.testbed.snapshot("after-fault")
        if heal:
            self.heal(fault)
        self.finish()

    def finish(self) -> None:
        """Let attempts that are under way end, so that none is cut off by the tear-down."""
        self.testbed.witnesses.stop_probes()
        self.testbed.witnesses.sync()
        self.testbed.recorder.emit("phase", name="done")

    def _decided_s(self, fault: Fault) -> tuple[float, float]:
        """How long checks of the service that was hit may take, after the fault and after its healing."""
        if fault.name in ("reload", "restart", "drain"):
            return 0.0, 0.0
        if any(target.service in PROXIES for target in fault.targets):
            configs = [self._latest(node, "keepalived") for node in self._balancers]
            return patience.tracking_s(read_keepalived(text) for text in configs if text)
        members = {node.name for node in self.testbed.topology.role("member")}
        if any(target.node in members for target in fault.targets):
            active = [self._latest(node, "haproxy") for node in self._balancers]
            passive = [self._latest(node, "nginx") for node in self._balancers]
            by_checks = patience.checks_s(read_haproxy(text) for text in active if text)
            by_failures = patience.passive_s(read_nginx(text) for text in passive if text)
            return max(by_checks[0], by_failures[0]), max(by_checks[1], by_failures[1])
        return 0.0, 0.0

    @property
    def _balancers(self) -> list[str]:
        return [node.name for node in self.testbed.topology.role("balancer")]

    def _latest(self, node: str, service: str) -> str:
        """The first file of a service as it was told last."""
        told = self.testbed.recorder.timeline.of("config", node=node, service=service)
        return next((event.text for event in reversed(told) if event.path == told[0].path), "")

    def _follow(self, since_ns: int, phase: str, when: str, least_s: float = 0.0, downs: float = 1.2) -> bool:
        patience_s = 3 * self._down_s() + self._preempt_delay_s() + 3.0 + least_s
        try:
            self._settle(when, since_ns, patience_s, least_s, downs)
        except WaitExpired as expired:
            self.testbed.recorder.emit("note", text=str(expired))
            return False
        self.testbed.recorder.emit("phase", name=phase)
        return True

    def _settle(
        self, when: str, since_ns: int, timeout_s: float, least_s: float = 0.0, downs: float = 1.2
    ) -> None:
        """Wait until owners have been the same for so many down intervals, and clients are served.

        Where an owner does not change, no less than `least_s` is waited for that.
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
            served = all(situation.streak.get(client, 0) >= _STREAK for client in self.testbed.clients)
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
