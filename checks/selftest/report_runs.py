"""Whole drills made by hand, for the reports: two phases, two clients, long connections, a clock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from checks.selftest.synthetic import VIP, Lab, ns
from harness.properties import judge_all
from harness.timeline import Event, Timeline
from harness.verdict import Verdict

AGAIN = "vipdrill run vip-l7 --fault host-crash --seed 7"
OFFSET_NS = 1_700_000_000_000_000_000
MASTERS = ("m1", "m2", "m3")


class Drilled(Lab):
    """A lab with everything around the events that a judge looks at."""

    def begin(self) -> None:
        """Real time is known, and the testbed was built."""
        self.add(0, "clock", offset_ns=OFFSET_NS)
        self.add(0, "phase", name="building")
        self.add(0.1, "service", node="lb1", service="keepalived", state="started", pid=11)

    def ask(
        self,
        client: str,
        from_s: float,
        to_s: float,
        lost: Iterable[tuple[float, float]] = (),
        stream: str = "new",
    ) -> None:
        """A client asks 100 times a second (20 by a long connection), in vain in the `lost` stretches."""
        rate, windows = (100 if stream == "new" else 20), list(lost)
        for step in range(round(from_s * rate), round(to_s * rate)):
            due = step / rate
            gone = any(begin <= due < end for begin, end in windows)
            self.add(
                due,
                "probe",
                client=client,
                stream=stream,
                seq=step,
                target=f"{VIP}:6443",
                end=ns(due + (0.5 if gone else 0.003)),
                result="timeout" if gone else "ok",
                member=None if gone else MASTERS[step % 3],
            )


def drill(late_s: float = 0.0, *, garp: bool = True, heal: bool = True) -> Drilled:
    """lb1 crashes 2.03 s into the run, lb2 takes over, `late_s` too late; lb1 is healed and takes over."""
    lab = Drilled()
    lab.begin()
    lab.takes("lb1", 0.5, 2.05)
    lab.add(1.4, "phase", name="steady")
    lab.add(2.02, "phase", name="fault")
    lab.fault("host-crash", "lb1", 2.03, 5.0 if heal else None)
    lab.add(2.031, "node", node="lb1", state="crashed")
    taken_s = 2.0 + 0.36484375 + late_s
    lab.address("lb2", taken_s + 0.001)
    if garp:
        lab.garp("lb2", taken_s + 0.0012)
        lab.garp("lb2", taken_s + 0.0014)
    lost = [(2.03, taken_s + 0.002)]
    end_s = 4.6
    lab.add(4.5, "phase", name="recovered")
    if heal:
        end_s = _healed(lab, taken_s)
    else:
        lab.announce("lb2", taken_s, end_s)
    for client in ("cl", "clx"):
        lab.ask(client, 0.6, end_s, lost)
    lab.ask("cl", 0.6, end_s, [(2.03, taken_s + 0.2)], "long")
    lab.add(end_s, "phase", name="done")
    lab.add(end_s + 0.01, "service", node="lb1", service="keepalived", state="exited", status=-9)
    return lab


def _healed(lab: Drilled, taken_s: float) -> float:
    """lb1 boots, and being the higher takes the address back after its own timer: 3 x 0.1 s + 0.0609 s."""
    lab.add(4.9, "phase", name="healing")
    lab.add(5.05, "node", node="lb1", state="booted")
    lab.add(5.1, "service", node="lb1", service="keepalived", state="started", pid=12)
    lab.add(5.12, "service", node="lb1", service="keepalived", state="ready", pid=12)
    back_s = 5.11 + 0.3609375
    lab.announce("lb2", taken_s, back_s)
    lab.takes("lb1", back_s, 7.5)
    lab.address("lb2", back_s + 0.002, "del")
    lab.add(7.4, "phase", name="healed")
    return 7.5


def judged(lab: Lab) -> tuple[Timeline, list[Verdict]]:
    """A lab's timeline and what the judges say of it."""
    timeline = lab.timeline()
    return timeline, judge_all(timeline)


def as_it_came(timeline: Timeline) -> list[Event]:
    """The events in the order in which a recorder gets them: an attempt is known when it has ended."""
    return sorted(timeline, key=lambda event: event.end if event.kind == "probe" else event.t)


def saved(folder: Path, lab: Lab) -> Path:
    """A folder with the lab's timeline in it."""
    folder.mkdir(parents=True, exist_ok=True)
    lab.timeline().save(folder / "timeline.jsonl")
    return folder
