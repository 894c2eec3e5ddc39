"""One failover experiment, as lean as it can be without losing its evidence.

Built from nothing: six nodes, all witnesses at their default rates, packet capture on.  Once the VIP
serves its client, the active balancer's host crashes at a random phase of its advertisements; once
the client is served again and every attempt has ended, all is torn down.  Nothing is healed, and no
calm is awaited beyond that, because the takeover is what is measured.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ci.benchmarks import lab
from ci.benchmarks.silence import SilenceWitness
from harness.bounds.vrrp import down_us
from harness.drill import Drill
from harness.properties.facts import Facts
from harness.properties.streams import outages, streams
from harness.properties.takeover import Takeover, takeovers
from harness.testbed import Testbed
from harness.timeline import Timeline

_PATIENCE_S = 30.0
_STREAK = 5
_PREFERRED = "lb1"


@dataclass(frozen=True)
class Outcome:
    """What one experiment measured, in milliseconds; a failed one says only why.

    `acted` is how long after the fault was begun the owner fell silent, `takeover` from there to the first
    advert of the new owner, and `late` from the moment that the configuration promises for it, counted
    from the old owner's last advert.  `told` is from the new owner's advert to its gratuitous ARP, the
    end of the wire's outage; `apart` is how much longer the client's outage was than the wire's.
    """

    took: float
    failed: str = ""
    acted: float = 0.0
    takeover: float = 0.0
    late: float = 0.0
    told: float = 0.0
    outage: float = 0.0
    apart: float = 0.0
    lag: float = 0.0


def run(seed: int) -> Outcome:
    """Build, crash, measure, tear down."""
    began = time.monotonic()
    bed = lab.new_testbed(lab.six(), seed=seed)
    failed, silent_ns = "", 0
    try:
        with bed:
            silent_ns = _drill(bed)
    except Exception as error:
        failed = f"{type(error).__name__}: {error}"
    took = (time.monotonic() - began) * 1e3
    if failed:
        return Outcome(took, failed)
    return _measured(bed.recorder.timeline, silent_ns, took)


def _drill(bed: Testbed) -> int:
    """Until the client is served anew; when the crashed host fell silent (ns)."""
    situation, recorder = bed.situation, bed.recorder

    def served() -> bool:
        # Whoever starts late may find the other one in office, and take over a moment later.
        answered = all(situation.streak.get(client, 0) >= _STREAK for client in bed.clients)
        return answered and set(situation.owner_of.values()) == {_PREFERRED}

    def served_anew() -> bool:
        # Losses become known half a second late, so only attempts that were due after the takeover tell.
        since = situation.owner_since[vrid]
        answered = recorder.timeline.of("probe", stream="new", result="ok", since=since)
        return len(answered) >= _STREAK

    recorder.wait(served, _PATIENCE_S, "the VIP to serve its client", situation.summary)
    (vrid,) = situation.owner_of
    drill, witness = Drill(bed), SilenceWitness(bed, _PREFERRED)
    drill.strike(f"host-crash:{_PREFERRED}")
    silent_ns = witness.moment_ns()
    recorder.wait(
        lambda: situation.owner_of[vrid] != _PREFERRED, _PATIENCE_S, "a takeover", situation.summary
    )
    recorder.wait(served_anew, _PATIENCE_S, "the client served again", situation.summary)
    drill.finish()
    return silent_ns


def _measured(timeline: Timeline, silent_ns: int, took: float) -> Outcome:
    facts = Facts.of(timeline)
    takeover = next(t for t in takeovers(facts) if t.due)
    if takeover.first is None or takeover.last is None or takeover.heir is None:
        return Outcome(took, "no takeover on the wire")
    fault_ns, moved_ns = takeover.fault.inject_ns, takeover.first.t
    outage_ns, told_ns = _outage_ns(facts, takeover), _told_ns(facts, takeover)
    if outage_ns is None or told_ns is None:
        return Outcome(took, "the client's outage did not end" if told_ns else "no gratuitous ARP")
    promised_ns = takeover.last.t + down_us(takeover.heir, takeover.owner_interval_us) * 1000
    return Outcome(
        took,
        acted=(silent_ns - fault_ns) / 1e6,
        takeover=(moved_ns - silent_ns) / 1e6,
        late=(moved_ns - promised_ns) / 1e6,
        told=(told_ns - moved_ns) / 1e6,
        outage=outage_ns / 1e6,
        apart=(outage_ns - (told_ns - silent_ns)) / 1e6,
        lag=facts.lag_s(fault_ns, moved_ns) * 1e3,
    )


def _told_ns(facts: Facts, takeover: Takeover) -> int | None:
    """When the new owner told the segment that the address is now its own."""
    assert takeover.first is not None
    owner, addresses = takeover.first.node, takeover.router.addresses
    # Adverts and ARP come through one socket, in the order of the wire.
    found = facts.timeline.of("arp", node=owner, gratuitous=True, since=takeover.first.t)
    return next((event.t for event in found if event.sender_ip in addresses), None)


def _outage_ns(facts: Facts, takeover: Takeover) -> int | None:
    """The longest run of lost attempts of the client, as `client-outage` judges it."""
    assert takeover.first is not None
    (stream,) = streams(facts)
    runs = outages(stream, takeover.fault.inject_ns, facts.end_ns, takeover.first.t)
    lengths = [run.to_ns - run.from_ns for run in runs if run.to_ns is not None]
    return max(lengths) if lengths and len(lengths) == len(runs) else None
