"""distribution: do members get the share of new connections that their weights and the algorithm promise?

Pearson's chi-square against the weights, for each balancer and configuration, while nothing is wrong.
A bound with a false-alarm probability of 1e-6 holds for members that are chosen at random; in turn
(round robin) counts differ by less than by chance.
"""

from __future__ import annotations

from collections import Counter

from harness.bounds.bound import Bound, number
from harness.bounds.chi_square import critical, statistic
from harness.properties.facts import Facts
from harness.properties.in_force import PROXIES
from harness.properties.pools import Pool, pool_at
from harness.properties.quiet import in_quiet
from harness.properties.streams import streams
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "distribution"
FALSE_ALARM = 1e-6
# Below five expected in a cell the statistic does not follow the distribution (Cochran's rule).
_LEAST = 5
_BY_WEIGHT = ("roundrobin", "static-rr", "random", "round-robin")


def judge(facts: Facts) -> list[Verdict]:
    """One finding for every balancer that served a port, by each of its configurations."""
    groups: dict[tuple[str, str, int], list[Event]] = {}
    for stream in streams(facts):
        for attempt in in_quiet(facts, stream.attempts):
            owner = _owner(facts, stream.address, attempt.t)
            if owner is not None and attempt.result == "ok":
                key = (owner, stream.target, _epoch(facts, owner, attempt.t))
                groups.setdefault(key, []).append(attempt)
    found: list[Verdict] = []
    for (balancer, target, _), served in sorted(groups.items()):
        pool = pool_at(facts, balancer, int(target.rpartition(":")[2]), served[0].t)
        if pool is not None and len(pool.shares) > 1:
            found.append(_judge(facts, pool, target, served))
    return found


def _owner(facts: Facts, address: str, t_ns: int) -> str | None:
    return next((r.owner_at(t_ns) for r in facts.routers if address in r.addresses), None)


def _epoch(facts: Facts, balancer: str, t_ns: int) -> int:
    told = [e.t for e in facts.timeline.of("config", node=balancer, until=t_ns) if e.service in PROXIES]
    return max(told, default=0)


def _judge(facts: Facts, pool: Pool, target: str, served: list[Event]) -> Verdict:
    counts = Counter(str(a.member) for a in served)
    shares = pool.shares
    told = ", ".join(f"{m} {counts.get(m, 0)}" for m in sorted({*counts, *shares}))
    promised = ", ".join(f"{m} {number(100 * share)} %" for m, share in sorted(shares.items()))
    sentence = f"of {len(served)} connections {pool.balancer} gave {told}; promised {promised}"
    if pool.algorithm not in _BY_WEIGHT:
        why = f"balance {pool.algorithm} promises no share"
        return _verdict(facts, pool, target, Status.NOT_APPLICABLE, f"{sentence}: {why}")
    least = len(served) * min(share for share in shares.values() if share)
    limit = critical(sum(1 for share in shares.values() if share) - 1, FALSE_ALARM)
    bound = Bound(
        0,
        limit,
        "chi²",
        f"balance {pool.algorithm} by weight; by chance alone chi-square exceeds {number(limit)} with "
        f"probability {FALSE_ALARM:g}",
    )
    value = statistic(counts, shares)
    if least < _LEAST and value <= limit:
        few = f"{sentence}: too few to tell"
        return _verdict(facts, pool, target, Status.NOT_APPLICABLE, few)
    status, words = weigh(value, bound, resolution=0.0)
    return _verdict(facts, pool, target, status, f"{sentence}: {words}", value, bound)


def _verdict(
    facts: Facts,
    pool: Pool,
    target: str,
    status: Status,
    sentence: str,
    measured: float | None = None,
    bound: Bound | None = None,
) -> Verdict:
    return Verdict(
        NAME,
        status,
        sentence,
        measured,
        bound,
        "chi²",
        aspect=pool.balancer,
        subject=target,
        origin_ns=facts.faults[0].inject_ns if facts.faults else None,
    )
