"""distribution: do members get the share of new connections that their weights and the algorithm promise?

Pearson's chi-square against the weights, for each balancer and configuration, while nothing is wrong.
A bound with a false-alarm probability of 1e-6 holds for members that are chosen at random; in turn
(round robin) counts differ by less than by chance.
"""

from __future__ import annotations

from collections import Counter

from harness.bounds.bound import Bound, number
from harness.bounds.chi_square import critical, statistic
from harness.properties import least_connections
from harness.properties.facts import Facts
from harness.properties.in_force import PROXIES, proxy_of
from harness.properties.matter import Matter
from harness.properties.overload import excuse
from harness.properties.pools import Pool, pool_at, weighed_at
from harness.properties.quiet import in_quiet
from harness.properties.streams import streams
from harness.timeline import Event
from harness.verdict import Status, Verdict, weigh

NAME = "distribution"
FALSE_ALARM = 1e-6
# Below five expected in a cell the statistic does not follow the distribution (Cochran's rule).
_LEAST = 5
_SHOWN = 4
_BY_WEIGHT = ("roundrobin", "static-rr", "random", "round-robin", "rr", "wrr")
_BY_ADDRESS = ("sh", "mh")


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
        if pool is None or len(pool.shares) < 2:
            continue
        if kept := _kept_by(pool):
            found.append(_affinity(facts, pool, target, served, kept))
        elif pool.virtual is not None and pool.algorithm in least_connections.SCHEDULERS:
            found += _least(facts, pool, target, served)
        else:
            found.append(_judge(facts, pool, target, served))
    return found


def _owner(facts: Facts, address: str, t_ns: int) -> str | None:
    return next((r.owner_at(t_ns) for r in facts.routers if address in r.addresses), None)


def _epoch(facts: Facts, balancer: str, t_ns: int) -> int:
    services = (*PROXIES, "keepalived") if proxy_of(facts.timeline, balancer) is None else PROXIES
    told = [e.t for e in facts.timeline.of("config", node=balancer, until=t_ns) if e.service in services]
    return max([*told, weighed_at(facts, balancer, t_ns)], default=0)


def _kept_by(pool: Pool) -> str:
    """What keeps a client with its member, or nothing."""
    if pool.virtual is None:
        return ""
    if pool.virtual.persistence_s:
        return f"persistence_timeout {pool.virtual.persistence_s}"
    hashed = pool.algorithm in _BY_ADDRESS and not any(f.endswith("-port") for f in pool.virtual.flags)
    return f"lvs_sched {pool.algorithm} by the client's address" if hashed else ""


def _affinity(facts: Facts, pool: Pool, target: str, served: list[Event], why: str) -> Verdict:
    """Each client stays with one member."""
    by_client: dict[str, Counter[str]] = {}
    for attempt in served:
        by_client.setdefault(attempt.client, Counter())[str(attempt.member)] += 1
    strays = sum(sum(by.values()) - max(by.values()) for by in by_client.values())
    counted = {c: ", ".join(f"{m} {n}" for m, n in sorted(by.items())) for c, by in by_client.items()}
    told = "; ".join(f"{client} by {by}" for client, by in sorted(counted.items()))
    bound = Bound(0, 0, "attempts", f"{why}: a client stays with its member")
    status = Status.FAIL if strays else Status.PASS
    sentence = f"{pool.balancer} served {told}: {strays} strayed"
    matter = Matter.of_run(NAME, facts, target, f"{pool.balancer}, affinity")
    return matter.verdict(status, sentence, strays, bound)


def _least(facts: Facts, pool: Pool, target: str, served: list[Event]) -> list[Verdict]:
    """Each connection went to who had the least to do; known until something goes wrong."""
    first_ns = facts.faults[0].inject_ns if facts.faults else facts.end_ns
    calm = [a for a in served if a.end < first_ns]
    if not calm or any(r.owner_at(a.t) != pool.balancer for r in facts.routers for a in calm[:1]):
        return []
    calm, strays = least_connections.judged(facts, pool, target, calm)
    if not calm:
        return []
    counts = Counter(str(a.member) for a in calm)
    told = ", ".join(f"{member} {count}" for member, count in sorted(counts.items()))
    why = f"lvs_sched {pool.algorithm}: the member with the least connections is next"
    status = Status.FAIL if strays else Status.PASS
    sentence = (
        f"of {len(calm)} connections {pool.balancer} gave {told}: {len(strays)} to one that had more to do"
    )
    if strays and (late := excuse(facts, strays)):
        status, sentence = Status.UNKNOWN, f"{sentence}, but {late}"
    bound = Bound(0, 0, "attempts", why)
    matter = Matter.of_run(NAME, facts, target, f"{pool.balancer}, least")
    return [matter.verdict(status, sentence, len(strays), bound, tuple(strays[:_SHOWN]))]


def _judge(facts: Facts, pool: Pool, target: str, served: list[Event]) -> Verdict:
    counts = Counter(str(a.member) for a in served)
    shares = pool.shares
    told = ", ".join(f"{m} {counts.get(m, 0)}" for m in sorted({*counts, *shares}))
    promised = ", ".join(f"{m} {number(100 * share)} %" for m, share in sorted(shares.items()))
    sentence = f"of {len(served)} connections {pool.balancer} gave {told}; promised {promised}"
    matter = Matter.of_run(NAME, facts, target, pool.balancer, unit="chi²")
    if pool.algorithm not in _BY_WEIGHT:
        why = f"{pool.algorithm} promises no share"
        return matter.verdict(Status.NOT_APPLICABLE, f"{sentence}: {why}")
    least = len(served) * min(share for share in shares.values() if share)
    limit = critical(sum(1 for share in shares.values() if share) - 1, FALSE_ALARM)
    word = "lvs_sched" if pool.virtual else "balance"
    why = f"by chance alone chi-square exceeds {number(limit)} with probability {FALSE_ALARM:g}"
    if not limit:
        why = "one member only has a weight above 0"
    bound = Bound(0, limit, "chi²", f"{word} {pool.algorithm} by weight; {why}")
    value = statistic(counts, shares)
    if least < _LEAST and value <= limit:
        few = f"{sentence}: too few to tell"
        return matter.verdict(Status.NOT_APPLICABLE, few)
    status, words = weigh(value, bound, resolution=0.0)
    return matter.verdict(status, f"{sentence}: {words}", value, bound)
