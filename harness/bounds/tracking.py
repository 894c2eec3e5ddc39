"""Service-tracking arithmetic: from the end of a proxy until keepalived acts on it, and until the VIP moves.

keepalived 2.3.3's vrrp_scheduler.c: a script is started every `interval`, counted from start to start; a
run that is still under way at its turn is not started anew, and one that exceeds `timeout` is ended and
counts as failed, so the next one starts at the first multiple of the interval after that.  `fall` failures
in a row count as one.  Weight 0 then means FAULT, left with an advert of priority 0 (vrrp.c,
vrrp_state_leave_master); any other weight only changes the priority in the next advert.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.bounds.bound import Bound, number
from harness.bounds.vrrp import Speaker, explain_down, explain_skew, learned_interval_us, skew_us
from harness.configs.keepalived_model import KeepalivedConfig, TrackProcess, VrrpInstance, VrrpScript

OWNER_PRIORITY = 255


@dataclass(frozen=True)
class Tracking:
    """One thing that an instance tracks and that can notice the end of a service.

    `weight` is what a failure takes off the priority; 0 takes the instance to FAULT.
    """

    name: str
    kind: str
    weight: int
    script: VrrpScript | None = None
    process: TrackProcess | None = None

    def __str__(self) -> str:
        return f"track_{self.kind} {self.name}"


def trackings(instance: VrrpInstance, config: KeepalivedConfig) -> list[Tracking]:
    """What an instance tracks of its node's services, by scripts and by processes.

    What counts the other way round (`reverse`) cannot take the address from a node whose service ended.
    """
    found: list[Tracking] = []
    for track in instance.tracks:
        script, process = config.script(track.name), config.process(track.name)
        if track.reverse or (instance.priority == OWNER_PRIORITY and track.weight):
            continue
        if track.kind == "script" and script is not None:
            found.append(Tracking(track.name, "script", abs(track.weight), script=script))
        elif track.kind == "process" and process is not None:
            found.append(Tracking(track.name, "process", abs(track.weight), process=process))
    return found


def detection(tracking: Tracking, *, hung: bool) -> Bound | None:
    """From the end of the service until keepalived acts on it; None: never (a hung process still runs)."""
    if tracking.process is not None:
        if hung:
            return None
        delay = tracking.process.terminate_delay_us / 1e6
        return Bound(
            delay, delay, "s", f"{tracking}: the kernel tells of the end, terminate_delay {number(delay)} s"
        )
    assert tracking.script is not None
    return script_failure(tracking.script, hung=hung)


def script_failure(script: VrrpScript, *, hung: bool) -> Bound:
    """From the moment at which what a script asks is gone until the script counts as failed.

    Earliest: a run under way, which began up to its time-out ago, notices it at once.  Latest: a run has
    just succeeded.  A run that asks a dead service ends before its next turn, as it is refused at once;
    one that asks a hung service may take its whole time-out.
    """
    interval, timeout = script.interval_us / 1e6, script.timeout_us / 1e6
    # At the very moment of its time-out a run still counts as under way, so its turn is skipped.
    turns = script.timeout_us // script.interval_us + 1 if hung else 1
    pitch = interval * turns
    repeats = script.fall - 1
    low = max(repeats * interval - timeout, 0.0)
    high = interval + repeats * pitch + timeout
    apart = f"{number(interval)} s apart"
    if turns > 1:
        apart = f"{number(interval)} to {number(pitch)} s apart as each may take its timeout"
    source = (
        f"script {script.name}: interval {number(interval)} s, then fall {script.fall}: runs {apart}, the "
        f"last of which may take its timeout {number(timeout)} s"
    )
    return Bound(low, high, "s", source)


def moves(tracking: Tracking, owner: Speaker, heir: Speaker) -> bool:
    """Whether the failure of what is tracked makes the heir take over: RFC 9568 section 6.4.2.

    The heir ignores a lower priority only while it preempts; an equal one it takes as the owner's.
    """
    if tracking.weight == 0:
        return True
    return heir.preempts and reduced(tracking, owner) < heir.priority


def reduced(tracking: Tracking, owner: Speaker) -> int:
    """The owner's effective priority once what is tracked has failed."""
    return max(owner.priority - tracking.weight, 1)


def takeover(tracking: Tracking, owner: Speaker, heir: Speaker) -> Bound:
    """From the moment keepalived acts until the heir announces itself."""
    interval_us = owner.advert_interval_us
    if tracking.weight == 0:
        skew = skew_us(heir.version, heir.priority, learned_interval_us(heir, interval_us)) / 1e6
        source = f"FAULT says goodbye with priority 0; skew {explain_skew(heir, interval_us)} (section 6.4.2)"
        return Bound(skew, skew, "s", source)
    interval = interval_us / 1e6
    learned = learned_interval_us(heir, interval_us)
    down = (heir.down_timer_adverts * learned + skew_us(heir.version, heir.priority, learned)) / 1e6
    delay = heir.preempt_delay_us / 1e6
    source = (
        f"priority {owner.priority} - {tracking.weight} is below {heir.priority}, so the lower adverts are "
        f"ignored until {explain_down(heir, interval_us)} after the last higher one, at most "
        f"{number(interval)} s old"
    )
    if delay:
        source += f"; preempt_delay {number(delay)} s before"
    return Bound(down - interval + delay, down + delay + (interval if delay else 0.0), "s", source)


def regained(tracked: list[Tracking], returning: Speaker, owner: Speaker) -> Bound | None:
    """From the moment the service is well again until the node takes the address back from a lower owner.

    Weight 0: it leaves FAULT as a backup and lets its own timer run out.  Otherwise its priority rises
    in place, and its timer has run since the last advert that it took.  None where nothing was tracked.
    """
    bounds = []
    for tracking in tracked:
        low, high, source = _recovery(tracking)
        interval_us = None if tracking.weight == 0 else owner.advert_interval_us
        learned = learned_interval_us(returning, interval_us)
        down = (
            returning.down_timer_adverts * learned + skew_us(returning.version, returning.priority, learned)
        ) / 1e6
        since = 0.0 if tracking.weight == 0 else owner.advert_interval_us / 1e6
        source = f"{source}; then {explain_down(returning, interval_us)}"
        bounds.append(Bound(max(low + down - since, 0.0), high + down, "s", source))
    if not bounds:
        return None
    # The last of them decides: until then the node stays in FAULT, or its priority too low.
    return Bound(
        max(b.low for b in bounds), max(b.high for b in bounds), "s", " / ".join(b.source for b in bounds)
    )


def _recovery(tracking: Tracking) -> tuple[float, float, str]:
    """The earliest and the latest time until a service that is well again counts as such (seconds)."""
    if tracking.process is not None:
        delay = tracking.process.fork_delay_us / 1e6
        return delay, delay, f"{tracking}: the kernel tells of the start, fork_delay {number(delay)} s"
    assert tracking.script is not None
    script = tracking.script
    interval, timeout = script.interval_us / 1e6, script.timeout_us / 1e6
    repeats = script.rise - 1
    # A run that hung may be under way until its time-out, and its turn skipped.
    late = interval * (script.timeout_us // script.interval_us + 1)
    source = (
        f"script {script.name}: rise {script.rise} runs, interval {number(interval)} s, timeout "
        f"{number(timeout)} s"
    )
    return max(repeats * interval - timeout, 0.0), late + repeats * interval + timeout, source
