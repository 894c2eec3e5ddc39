"""Times as people write them."""

from __future__ import annotations

import re

from harness.errors import UsageError

_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str, option: str) -> float:
    """`10s`, `500ms`, `1.5m`, `2h`, or plain seconds; raises UsageError for anything else."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} takes a time such as 10s, 500ms or 2m, not {text!r}")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def spoken(seconds_: float) -> str:
    """A duration in the largest unit that says it well: `4.2 s`, `12 min`, `3 h 5 min`, `2 d 1 h`."""
    if seconds_ < 60:
        return f"{seconds_:.1f} s"
    minutes = int(seconds_ // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
