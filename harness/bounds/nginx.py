"""Nginx's passive checks: how long a member that is ill goes on getting connections.

nginx.org/en/docs/stream/ngx_stream_upstream_module.html: after `max_fails` failed attempts within
`fail_timeout` a server is left out for `fail_timeout`, then asked again by one connection at a time.  In
the stream module only the establishment of a connection can fail, so a member that accepts
connections and answers nonsense, or nothing, is never left out.  Every worker counts for itself unless
the group has a `zone`.
"""

from __future__ import annotations

from harness.bounds.bound import Bound, number
from harness.bounds.haproxy import Illness
from harness.configs.nginx import StreamServer, UpstreamServer

# ngx_stream_upstream_round_robin.c reckons in whole seconds of its cached clock.
CLOCK_S = 1.0


def removal(server: UpstreamServer, through: StreamServer, illness: Illness, turn_s: float) -> Bound | None:
    """From the moment a member falls ill until it is left out; None: never.

    `turn_s` is how often the balancer turns to this member.
    """
    if illness not in ("refused", "black-hole") or server.max_fails == 0:
        return None
    each = failing_s(through, illness)
    high = server.max_fails * turn_s + each
    source = (
        f"max_fails {server.max_fails}: so many connections, one every {number(turn_s)} s, must fail, each "
        f"after {number(each)} s"
    )
    return Bound(0.0, high, "s", source)


def failing_s(through: StreamServer, illness: Illness | None) -> float:
    """How long an attempt at a member that is ill takes to fail."""
    return through.connect_timeout_ms / 1000 if illness == "black-hole" else 0.0


def return_to_service(server: UpstreamServer, under_way_s: float, turn_s: float) -> Bound:
    """From the moment a member that is left out is well again until it gets connections.

    `under_way_s` is how much later an attempt may fail that was made before (`failing_s`): a lost SYN
    is sent anew after a second (RFC 6298, section 2), and a shorter proxy_connect_timeout ends first.
    """
    left_out = server.fail_timeout_ms / 1000
    late = f", which may come {number(under_way_s)} s after the healing" if under_way_s else ""
    source = (
        f"left out for fail_timeout {number(left_out)} s from its last failure{late}, in whole seconds, then "
        "asked at its next turn"
    )
    return Bound(0.0, under_way_s + left_out + CLOCK_S + turn_s, "s", source)
