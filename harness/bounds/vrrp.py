"""VRRP arithmetic, as keepalived does it: who takes over, when, and whether it gives back.

RFC 9568 section 6 (VRRPv3), RFC 3768 section 6 (VRRPv2); keepalived 2.3.3's vrrp.h computes in whole
microseconds: skew = (256 - priority) x (interval in centiseconds) x 625 / 16 for v3 and
(256 - priority) x 1000000 / 256 for v2, both cut off; down = down_timer_adverts x interval + skew.
The interval is the one in the adverts of the owner for v3, and the own one for v2 (which discards
adverts that carry another).
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.bounds.bound import Bound, number
from harness.configs.keepalived_model import KeepalivedConfig, VrrpInstance, VrrpScript

_CENTISECOND_US = 10_000


@dataclass(frozen=True)
class Speaker:
    """One node's part in a virtual router: what its configuration, or its adverts, say of its timers.

    `priority` is the effective one; `first_check_us` is how long its tracked scripts may keep it from
    taking part after a start.
    """

    node: str
    version: int
    priority: int
    advert_interval_us: int
    address: str = ""
    down_timer_adverts: int = 3
    preempts: bool = True
    preempt_delay_us: int = 0
    startup_delay_us: int = 0
    first_check_us: int = 0
    steps_down_when_late: bool = False
    answers_lower_priority: bool = True

    @classmethod
    def of(cls, node: str, instance: VrrpInstance, config: KeepalivedConfig, address: str = "") -> Speaker:
        """The speaker that a configured instance is while all that it tracks is well."""
        scripts = [config.script(t.name) for t in instance.tracks if t.kind == "script"]
        return cls(
            node=node,
            version=instance.version,
            priority=instance.healthy_priority,
            advert_interval_us=instance.advert_interval_us,
            address=instance.source_address or address,
            down_timer_adverts=instance.down_timer_adverts,
            preempts=not instance.nopreempt,
            preempt_delay_us=instance.preempt_delay_us,
            startup_delay_us=config.globals.startup_delay_us,
            first_check_us=max((_first_success_us(s) for s in scripts if s), default=0),
            steps_down_when_late=bool(instance.timer_expired_backup),
            answers_lower_priority=not instance.lower_prio_no_advert,
        )

    @property
    def rank(self) -> tuple[int, int]:
        """What decides between two: the priority, then the primary address (RFC 9568 section 6.4.3)."""
        return self.priority, address_number(self.address)


def _first_success_us(script: VrrpScript) -> int:
    """The longest time until a healthy script counts as such after a start: its first success is
    enough, unless `init_fail` makes it need `rise` of them."""
    repeats = script.rise - 1 if script.init_fail else 0
    return script.timeout_us + repeats * script.interval_us


def address_number(address: str) -> int:
    """An address as a number, for comparison; 0 for none."""
    return int(ipaddress.ip_address(address)) if address else 0


def skew_us(version: int, priority: int, interval_us: int) -> int:
    """Skew_Time in microseconds: the higher the priority, the shorter."""
    if version == 3:
        return (256 - priority) * (interval_us // _CENTISECOND_US) * 625 // 16
    return (256 - priority) * 1_000_000 // 256


def learned_interval_us(speaker: Speaker, owner_interval_us: int | None) -> int:
    """The interval that a backup counts with: the owner's for v3, its own for v2."""
    if speaker.version == 3 and owner_interval_us:
        return owner_interval_us
    return speaker.advert_interval_us


def down_us(speaker: Speaker, owner_interval_us: int | None = None) -> int:
    """Active_Down_Interval (v2: Master_Down_Interval) in microseconds."""
    interval = learned_interval_us(speaker, owner_interval_us)
    return speaker.down_timer_adverts * interval + skew_us(speaker.version, speaker.priority, interval)


def explain_skew(speaker: Speaker, owner_interval_us: int | None = None) -> str:
    """The arithmetic of the skew as a sentence."""
    interval = learned_interval_us(speaker, owner_interval_us)
    skew = skew_us(speaker.version, speaker.priority, interval) / 1e6
    times = f" x {number(interval / 1e6)} s" if speaker.version == 3 else " s"
    return f"(256 - {speaker.priority})/256{times} = {number(skew)} s"


def explain_down(speaker: Speaker, owner_interval_us: int | None = None) -> str:
    """The arithmetic of the down interval as a sentence."""
    interval = learned_interval_us(speaker, owner_interval_us)
    adverts = f"{speaker.down_timer_adverts} x {number(interval / 1e6)} s"
    skew = explain_skew(speaker, owner_interval_us).partition(" = ")[0]
    total = number(down_us(speaker, owner_interval_us) / 1e6)
    rfc = "RFC 9568" if speaker.version == 3 else "RFC 3768"
    return f"{adverts} + {skew} = {total} s ({speaker.node}, priority {speaker.priority}; {rfc} section 6.1)"


def successor(speakers: Iterable[Speaker]) -> Speaker | None:
    """Who of these takes over: the one with the shortest down interval, which is the highest rank."""
    return max(speakers, key=lambda s: s.rank, default=None)


def takeover_after_silence(speaker: Speaker, owner_interval_us: int | None = None) -> Bound:
    """From the owner's silent death until this backup announces itself.

    The owner's last advert was sent between one interval before its death and its death.
    """
    down = down_us(speaker, owner_interval_us) / 1e6
    interval = (owner_interval_us or speaker.advert_interval_us) / 1e6
    source = (
        f"{explain_down(speaker, owner_interval_us)}, from the last advert, at most {number(interval)} s old"
    )
    return Bound(max(down - interval, 0.0), down, "s", source)


def takeover_after_last_advert(speaker: Speaker, owner_interval_us: int | None = None) -> Bound:
    """From the last advert that the backup heard until it announces itself."""
    down = down_us(speaker, owner_interval_us) / 1e6
    return Bound(down, down, "s", explain_down(speaker, owner_interval_us))


def takeover_after_farewell(speaker: Speaker, owner_interval_us: int | None = None) -> Bound:
    """From an advert of priority 0 until the backup announces itself: the skew (RFC 9568 section 6.4.2)."""
    interval = learned_interval_us(speaker, owner_interval_us)
    skew = skew_us(speaker.version, speaker.priority, interval) / 1e6
    source = f"skew {explain_skew(speaker, owner_interval_us)} after priority 0 (section 6.4.2)"
    return Bound(skew, skew, "s", source)


def gives_way(returning: Speaker, owner: Speaker) -> bool:
    """Whether a node that starts as a backup will take the address from the present owner."""
    return returning.preempts and returning.priority > owner.priority


def fail_back_after_start(returning: Speaker, owner: Speaker) -> Bound:
    """From the moment at which keepalived starts until it takes the address from a lower owner.

    It begins as a backup, discards the lower adverts and lets its own timer run out (RFC 9568 sections
    6.4.1, 6.4.2).  With preempt_delay, keepalived takes the owner's adverts as valid until the delay,
    counted from the first one heard, is over; then the timer runs from the last one taken.
    """
    down = down_us(returning) / 1e6
    source = explain_down(returning)
    low, high = down, down
    if returning.preempt_delay_us:
        delay, interval = returning.preempt_delay_us / 1e6, owner.advert_interval_us / 1e6
        learned = down_us(returning, owner.advert_interval_us) / 1e6
        # Where the delay is shorter than the interval, only the advert that starts it is taken.
        low = learned + max(delay - interval, 0.0)
        high = learned + interval + (delay if delay >= interval else 0.0)
        source = (
            f"{explain_down(returning, owner.advert_interval_us)} after the last advert taken during "
            f"preempt_delay {number(delay)} s, which the first of the owner's adverts starts"
        )
    if returning.startup_delay_us:
        startup = returning.startup_delay_us / 1e6
        low, high = low + startup, high + startup
        source += f"; vrrp_startup_delay {number(startup)} s before"
    if returning.first_check_us:
        check = returning.first_check_us / 1e6 + owner.advert_interval_us / 1e6
        high += check
        source += f"; its tracked scripts may hold it back for {number(check)} s"
    return Bound(low, high, "s", source)


def fail_back_after_thaw(returning: Speaker, owner: Speaker) -> Bound:
    """From the thaw of a frozen owner until it announces itself again.

    It still takes itself for the owner: its advert timer is overdue, and it answers any lower advert,
    so nopreempt and preempt_delay have no say, unless timer_expired_backup is set.
    """
    if returning.steps_down_when_late:
        return Bound(math.inf, math.inf, "s", "timer_expired_backup: it steps down when it wakes too late")
    if returning.rank < owner.rank:
        return Bound(math.inf, math.inf, "s", f"{owner.node} outranks it: it steps down at the next advert")
    return Bound(0.0, 0.0, "s", f"it wakes as the owner with its advert overdue, and outranks {owner.node}")


def fail_back_when_heard(returning: Speaker, owner: Speaker) -> Bound:
    """From the moment an owner is heard again that announced itself to nobody, until its next advert."""
    if returning.rank < owner.rank:
        return Bound(math.inf, math.inf, "s", f"{owner.node} outranks it: it steps down at the next advert")
    interval = returning.advert_interval_us / 1e6
    why = f"it never ceased to announce itself, every {number(interval)} s, and outranks {owner.node}"
    return Bound(0.0, interval, "s", why)


def two_owners(speakers: Iterable[Speaker]) -> Bound:
    """How long two may announce the address at once.

    The lower one steps down at the first advert of the higher, which answers a lower advert at once
    (RFC 9568 section 6.4.3), or at its next interval with lower_prio_no_advert.
    """
    slow = [s for s in speakers if not s.answers_lower_priority]
    longest = max((s.advert_interval_us for s in slow), default=0) / 1e6
    why = "the lower steps down at the first advert of the higher"
    answer = (
        "which answers at once" if not slow else f"at most {number(longest)} s later (lower_prio_no_advert)"
    )
    return Bound(0.0, longest, "s", f"{why}, {answer} (RFC 9568 section 6.4.3)")


def separation_us(speakers: Iterable[Speaker], owner_interval_us: int | None = None) -> int | None:
    """How far apart the time-outs of the two best backups are; None with fewer than two."""
    downs = sorted(down_us(s, owner_interval_us) for s in speakers)
    return downs[1] - downs[0] if len(downs) > 1 else None
