"""Failover experiments a minute, at several side by side, and what neighbours do to what is measured."""

from __future__ import annotations

import json
import multiprocessing
import resource
import time
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from statistics import median

from ci.benchmarks import experiment, lab
from ci.benchmarks.experiment import Outcome
from ci.benchmarks.figure import Figure, at_least, at_most, quantile, within
from ci.benchmarks.options import Options
from harness import session

INSIDE_BUBBLE = True
SIDE_BY_SIDE = (1, 4, 8, 16)
_SECONDS = 18.0
_WORDS = {0.5: "median", 0.95: "p95", 0.99: "p99"}


@dataclass(frozen=True)
class Batch:
    """The outcomes of so many testbeds side by side."""

    side_by_side: int
    outcomes: list[Outcome]
    seconds: float
    cpu_s: float

    @property
    def good(self) -> list[Outcome]:
        """Those that measured something."""
        return [outcome for outcome in self.outcomes if not outcome.failed]

    @property
    def per_minute(self) -> float:
        """Experiments done in a minute."""
        return len(self.good) / self.seconds * 60

    @property
    def note(self) -> str:
        """How it went."""
        took = median([outcome.took for outcome in self.outcomes]) / 1e3
        failed = len(self.outcomes) - len(self.good)
        return (
            f"{len(self.outcomes)} experiments, {failed} failed, {took:.2f} s and "
            f"{self.cpu_s / len(self.outcomes):.2f} s of CPU each"
        )


def _work(number: int, seconds: float, pipe: Connection) -> None:
    """One after the other until the time is over; the last one may end later."""
    outcomes = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        outcomes.append(experiment.run(number * 10_000 + len(outcomes)))
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(u.ru_utime + u.ru_stime for u in usage)
    pipe.send_bytes(json.dumps([cpu_s, [asdict(outcome) for outcome in outcomes]]).encode())


def run_batch(side_by_side: int, seconds: float) -> Batch:
    """Experiments in so many processes, each of which starts the next as soon as it is done with one."""
    fork = multiprocessing.get_context("fork")
    began = time.monotonic()
    workers = []
    for number in range(side_by_side):
        mine, its = fork.Pipe(duplex=False)
        worker = fork.Process(target=_work, args=(number, seconds, its))
        worker.start()
        its.close()
        workers.append((worker, mine))
    cpu_s = 0.0
    outcomes: list[Outcome] = []
    for worker, pipe in workers:
        spent, found = json.loads(pipe.recv_bytes())
        cpu_s += spent
        outcomes += [Outcome(**outcome) for outcome in found]
        worker.join()
    return Batch(side_by_side, outcomes, time.monotonic() - began, cpu_s)


def measure(options: Options) -> list[Figure]:
    """All degrees of company, then how the crowded differ from the lonely."""
    session.pki_ready()
    lab.image()
    batches = {count: run_batch(count, options.seconds(_SECONDS, 6)) for count in SIDE_BY_SIDE}
    for batch in batches.values():
        for outcome in batch.outcomes:
            if outcome.failed:
                print(f"  {batch.side_by_side} side by side, failed: {outcome.failed}")
    best = max(batches.values(), key=lambda batch: batch.per_minute)
    figures = [
        Figure(
            f"failover experiments a minute, {batch.side_by_side} side by side",
            batch.per_minute,
            "/min",
            target=at_least(60) if batch is best else None,
            note=batch.note,
        )
        for batch in batches.values()
    ]
    alone, crowd = batches[1], batches[8]
    return [*figures, *_takeovers(alone, crowd), *_witnesses(alone), *_witnesses(crowd)]


def _takeovers(alone: Batch, crowd: Batch) -> list[Figure]:
    """The takeovers of eight side by side beside those of one at a time."""
    compared = (
        ("takeover after the promised moment", "late", (0.5, 0.95), 20),
        ("takeover after the owner's silence", "takeover", (0.5, 0.95), 20),
        ("gratuitous ARP after the new owner's advert", "told", (0.95,), None),
        ("silence after the fault is begun", "acted", (0.95,), None),
    )
    figures = []
    for name, attribute, shares, limit in compared:
        ours, floor = ([getattr(o, attribute) for o in batch.good] for batch in (crowd, alone))
        for share in shares:
            here, there = quantile(ours, share), quantile(floor, share)
            figures.append(
                Figure(
                    f"{name}, 8 side by side, {_WORDS[share]}",
                    here,
                    "ms",
                    there,
                    "1 at a time",
                    None if limit is None else within(limit),
                    f"{here - there:+.3g} ms",
                )
            )
    return figures


def _witnesses(batch: Batch) -> list[Figure]:
    """How far the client's account is from the wire's."""
    apart = [abs(outcome.apart) for outcome in batch.good]
    return [
        Figure(
            f"client's outage against the wire's, {batch.side_by_side} side by side, {_WORDS[share]}",
            quantile(apart, share),
            "ms",
            target=at_most(limit),
            note=f"{len(apart)} experiments, at most {max(apart):.3g}",
        )
        for share, limit in ((0.5, 10), (0.99, 25))
    ]
