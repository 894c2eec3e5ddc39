"""What theory and the configuration in force promise: the earliest and the latest, with the reason.

`bound` is the promise itself, `vrrp` and `haproxy` the arithmetic of the two protocols. Nothing here
looks at a timeline, and no number is typed in to match what was seen.
"""

from harness.bounds.bound import RESOLUTION_S, Bound

__all__ = ["RESOLUTION_S", "Bound"]
