"""Results of drills that never ran, drawn from what a crash is known to cost, for `compare`.

A takeover comes one down interval after the last advert, which was 0 to one interval ago; a client sees it
when its next attempt is due, so its outage is that, rounded up to its period.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SKEW = (256 - 100) / 256
_PERIODS_S = {"cl": 0.01, "clx": 0.04}


def drawn(
    chance: random.Random, *, advert_s: float = 0.1, late_s: float = 0.0, phase: float | None = None
) -> dict[str, Any]:
    """One result of a host crash; `late_s` is a delay of the takeover that no configuration promises."""
    down_s = (3 + _SKEW) * advert_s
    at = chance.random() if phase is None else phase
    jitter_s = chance.expovariate(1 / 0.0005)
    takeover_s = down_s - at * advert_s + late_s + jitter_s
    outages = {
        client: math.ceil((takeover_s + chance.uniform(0, 0.005)) / period) * period
        for client, period in _PERIODS_S.items()
    }
    checks = [
        check("vip-migration", "takeover", takeover_s, (down_s - advert_s, down_s), "vip"),
        check("vip-migration", "timer", down_s + late_s + jitter_s, (down_s, down_s), "vip"),
        check("vip-migration", "successor", None, None, "vip"),
        check("vip-migration", "gratuitous ARP", chance.expovariate(1 / 0.001), (0, 0.1), "vip"),
        check("single-owner", "none", down_s + late_s + jitter_s, (0, down_s), "vip"),
        check("single-owner", "two", 0.0, (0, 0), "vip"),
        check(
            "fail-back", "", 0.45 + chance.uniform(-0.05, 0.1), (0.37, 1.53 + chance.uniform(0, 0.1)), "vip"
        ),
        check("distribution", "lb1", chance.gammavariate(1, 2), (0, 27.6), "vip", "chi²"),
    ]
    for client, outage_s in outages.items():
        period_s = _PERIODS_S[client]
        bound = (down_s - advert_s - period_s, down_s + 2 * period_s)
        checks.append(check("client-outage", "outage", outage_s, bound, client))
        checks.append(check("client-outage", "without a fault", 0, (0, 0), client, "attempts"))
        reconnect_s = math.ceil(takeover_s / 0.1) * 0.1 + chance.choice((0.0, 0.1, 0.2))
        checks.append(check("flow-survival", "reconnect", reconnect_s, (0, 1.2 + down_s), client))
        checks.append(check("flow-survival", "continuity", 1, None, client, "breaks", "limitation"))
    return {
        "format": 1,
        "verdict": "pass",
        "architecture": "vip-l7",
        "options": {"advert_int": advert_s, "preempt": True},
        "complete": True,
        "world": "real",
        "faults": [{"fault": "host-crash", "target": "lb1", "parameters": {}}],
        "checks": checks,
        "outage_s": max(outages.values()),
        "requests": {"sent": 400, "lost": round(outages["cl"] * 100) + round(outages["clx"] * 25)},
    }


def exactly(seed: int, *, advert_s: float = 0.1, late_s: float = 0.0, off_s: float = 0.0) -> dict[str, Any]:
    """One result of virtual time: all by its seed; `off_s` is how much later timers were seen."""
    result = drawn(random.Random(seed), advert_s=advert_s, late_s=late_s)
    for found in result["checks"]:
        if found["unit"] == "s" and found["measured"]:
            found["measured"] += off_s
    periods = [(client, "new", period) for client, period in _PERIODS_S.items()]
    periods += [(client, "long", 0.1) for client in _PERIODS_S]
    target = "10.0.0.100:6443"
    clients = [{"client": c, "target": target, "stream": s, "period_s": p} for c, s, p in periods]
    for found in result["checks"]:
        if found["subject"] in _PERIODS_S:
            found["subject"] += f" to {target}"
    return {**result, "world": "virtual", "seed": seed, "clients": clients}


def check(
    property_: str,
    aspect: str,
    measured: float | None,
    bound: tuple[float, float] | None,
    subject: str = "",
    unit: str = "s",
    verdict: str = "pass",
) -> dict[str, Any]:
    """One check of a result."""
    return {
        "property": property_,
        "aspect": aspect,
        "subject": subject,
        "verdict": verdict,
        "measured": measured,
        "bound": None if bound is None else {"low": bound[0], "high": bound[1]},
        "unit": unit,
    }


def many(chance: random.Random, count: int, **how: Any) -> list[dict[str, Any]]:
    """So many results, at phases of chance."""
    return [drawn(chance, **how) for _ in range(count)]


def stored(folder: Path, results: Sequence[dict[str, Any]]) -> Path:
    """The results as an artifacts root holds them."""
    for number, result in enumerate(results):
        place = folder / f"run-{number:02}"
        place.mkdir(parents=True)
        (place / "result.json").write_text(json.dumps(result))
        (place / "timeline.jsonl").write_text("")
    return folder
