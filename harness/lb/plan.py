"""Which drills apply to a user's balancers, by what their files say."""

from __future__ import annotations

from collections.abc import Iterator

from harness.lb.build import Built


def faults(built: Built) -> list[str]:
    """The faults, in the words of `--fault`, the most telling first."""
    return list(dict.fromkeys(_faults(built)))


def _faults(built: Built) -> Iterator[str]:
    estate = built.estate
    speakers: dict[tuple[int, int], set[str]] = {}
    for speaker in estate.speakers:
        speakers.setdefault((speaker.instance.vrid, speaker.instance.family), set()).add(speaker.node)
    pair = any(len(nodes) > 1 for nodes in speakers.values())
    if pair:
        yield from ("host-crash", "stop", "kill", "freeze", "link-down", "host-crash:standby")
    proxies = {name for name, found in (("haproxy", estate.haproxy), ("nginx", estate.nginx)) if found}
    for proxy in sorted(proxies):
        if pair:
            # Where nothing tracks the proxy, this is where it shows: the VIP stays, and nobody serves.
            yield from (f"kill:active/{proxy}", f"hang:active/{proxy}")
        yield f"reload:active/{proxy}"
    yield "reload:active/keepalived"
    members = built.topology.role("member")
    if len(members) > 1:
        yield from ("kill:member", "backend-refuse", "backend-hang", "backend-blackhole")
        if any(
            server.check and server.check.kind == "http"
            for h in estate.haproxy.values()
            for server in h.servers
        ):
            yield "backend-status"
