"""The client probe sees what happens, names it rightly, and keeps its pace whatever happens."""

from __future__ import annotations

import itertools
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from checks.selftest.agents import Event, Prober, Server, listener, pki, read_until, running, target

MS = 1_000_000
StartProbe = Callable[..., Prober]


@pytest.fixture
def server() -> Iterator[Server]:
    """A fake master on the loopback."""
    started = Server()
    with running(started):
        yield started


@pytest.fixture
def start() -> Iterator[StartProbe]:
    """Starts probes, and ends them after the test."""
    probes: list[Prober] = []

    def starter(*targets: dict[str, Any], **config: Any) -> Prober:
        probes.append(Prober(*targets, **config))
        return probes[-1]

    try:
        yield starter
    finally:
        for probe in probes:
            probe.end()


def certificate(name: str) -> dict[str, str]:
    return {"cert": str(pki() / f"{name}.pem"), "key": str(pki() / f"{name}.key")}


def by_ca(**fields: Any) -> dict[str, Any]:
    return {"pins": [], "ca": str(pki() / "ca.pem"), **fields}


def test_an_attempt_is_an_event_with_all_of_its_story(server: Server, start: StartProbe) -> None:
    event = start(target(server)).attempts(1)[0]
    assert (event["client"], event["stream"], event["seq"]) == ("cl", "new", 1)
    assert (event["result"], event["member"]) == ("ok", "m1")
    assert event["target"] == f"127.0.0.1:{server.port}"
    assert event["t"] <= event["start"] < event["end"]


@pytest.mark.parametrize("trust", [{}, by_ca(), by_ca(server_name="127.0.0.1"), {"pins": []}])
def test_it_trusts_a_pin_or_a_ca_or_anybody(server: Server, start: StartProbe, trust: dict[str, Any]) -> None:
    assert start(target(server, **trust)).attempts(1)[0]["result"] == "ok"


def test_the_server_sees_every_attempt_on_a_connection_of_its_own(server: Server, start: StartProbe) -> None:
    start(target(server)).attempts(5)
    peers = {event["peer"] for event in server.many(5, lambda event: event["kind"] == "access")}
    assert len(peers) == 5


def test_source_ports_go_in_a_circle(server: Server, start: StartProbe) -> None:
    """A forwarder takes a port that comes again soon for the connection that it was before."""
    start(target(server), rate=400).attempts(300)
    seen = server.many(250, lambda event: event["kind"] == "access")
    ports = sorted({int(event["peer"].rpartition(":")[2]) for event in seen})
    assert len(ports) == len(seen)
    low, high = (int(n) for n in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    unused = max(b - a for a, b in itertools.pairwise([*ports, ports[0] + high - low + 1]))
    assert high - low + 1 - unused < 2 * len(ports)


def test_a_few_source_ports_come_again_and_again(server: Server, start: StartProbe) -> None:
    """The server closes first, so none of them waits in TIME-WAIT; one that is in use still is left out."""
    attempts = start(target(server, ports=3), rate=10).attempts(9)
    assert {attempt["result"] for attempt in attempts} == {"ok"}
    seen = server.many(9, lambda event: event["kind"] == "access")
    assert {int(event["peer"].rpartition(":")[2]) for event in seen} == {20001, 20002, 20003}


def test_large_requests_are_posted_on_every_kind_of_connection(server: Server, start: StartProbe) -> None:
    probe = start(target(server, upload=100_000), streams=["new", "long"])
    for stream in ("new", "long"):
        assert {attempt["result"] for attempt in probe.attempts(3, stream)} == {"ok"}


def time_out(result: str) -> float:
    """Short where it is awaited, long where even a busy machine must not reach it."""
    return 0.2 if result == "timeout" else 10


ILL: list[tuple[str, dict[str, Any], str]] = [
    ("refuse", {}, "refused"),
    ("blackhole", {}, "timeout"),
    ("hang", {"stage": "accept"}, "timeout"),
    ("hang", {"stage": "request"}, "timeout"),
    ("slow", {"delay_s": 30}, "timeout"),
    ("reset", {"stage": "accept"}, "reset"),
    ("reset", {"stage": "request"}, "reset"),
    ("reset", {"stage": "answer"}, "reset"),
    ("close", {"stage": "accept"}, "closed"),
    ("close", {"stage": "request"}, "closed"),
    ("close", {"stage": "answer"}, "closed"),
    ("status", {"status": 503}, "http"),
    ("plain", {}, "tls"),
    ("bad_cert", certificate("untrusted"), "tls"),
    ("bad_cert", certificate("expired"), "tls"),
    ("bad_cert", certificate("wrong-name"), "tls"),
    ("limit", {"connections": 1}, "timeout"),
]


@pytest.mark.parametrize(("illness", "options", "result"), ILL)
@pytest.mark.parametrize("trust", [{}, by_ca()], ids=["pinned", "by_ca"])
def test_each_illness_is_seen_as_what_it_is_and_its_end_too(
    server: Server,
    start: StartProbe,
    illness: str,
    options: dict[str, Any],
    result: str,
    trust: dict[str, Any],
) -> None:
    probe = start(target(server, **trust), timeout_s=time_out(result))
    probe.until("ok")
    server.ill(illness, **options)
    with server.connect(tls=False) if illness == "limit" else nullcontext():
        seen = probe.until(result)
    assert seen["member"] == ("m1" if result == "http" else None)
    server.well()
    probe.until("ok")
    results = {event["result"] for event in probe.stop()}
    # What waits to be accepted when a listener closes is reset (Linux, net/ipv4/inet_connection_sock.c).
    assert results <= {"ok", result, *(["reset"] if illness == "refuse" else [])}


@pytest.mark.parametrize(
    ("illness", "options", "result", "detail"),
    [
        ("blackhole", {}, "timeout", "while connecting"),
        ("hang", {"stage": "accept"}, "timeout", "in the TLS handshake"),
        ("bad_cert", certificate("untrusted"), "tls", "unable to get local issuer certificate"),
        ("bad_cert", certificate("expired"), "tls", "certificate has expired"),
        ("status", {"status": 418}, "http", "status 418"),
    ],
)
def test_the_detail_says_how_far_it_got(
    server: Server, start: StartProbe, illness: str, options: dict[str, Any], result: str, detail: str
) -> None:
    server.ill(illness, **options)
    event = start(target(server, **by_ca()), timeout_s=time_out(result)).attempts(1)[0]
    assert (event["result"], event["detail"]) == (result, detail)


def test_slow_but_in_time_is_ok_and_as_long_as_it_took(server: Server, start: StartProbe) -> None:
    server.ill("slow", delay_s=0.1)
    event = start(target(server)).attempts(1)[0]
    assert event["result"] == "ok"
    assert event["end"] - event["start"] >= 100 * MS


def test_no_way_there_is_unreachable(start: StartProbe) -> None:
    # TCP to the loopback's broadcast address: the kernel says that the network is unreachable.
    place = {"address": "127.255.255.255", "port": 1, "tls": False}
    assert start(place).attempts(1)[0]["result"] == "unreachable"


def test_ipv6_source_address_and_plain_http(start: StartProbe) -> None:
    server = Server(listener(address="::1", tls=False))
    with running(server):
        probe = start({"address": "::1", "port": server.port, "tls": False}, source="::1")
        event = probe.attempts(1)[0]
        assert (event["result"], event["target"]) == ("ok", f"[::1]:{server.port}")


def let_pass(seconds: float, clock: socket.socket) -> None:
    """Read a watch stream until so much time has passed."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        read_until(clock, b"MODIFIED")


# -- open loop -----------------------------------------------------------------------------------


def test_a_hanging_server_does_not_lower_the_pace(server: Server, start: StartProbe) -> None:
    server.ill("hang")
    events = start(target(server), rate=200, timeout_s=0.6).attempts(150)
    assert {event["result"] for event in events} == {"timeout"}
    assert {b["t"] - a["t"] for a, b in itertools.pairwise(events)} == {5 * MS}
    assert [event["seq"] for event in events] == list(range(1, 151))
    # More than a hundred were under way at a time, and each had its whole time.
    assert all(event["end"] - event["start"] >= 600 * MS for event in events)


def test_what_fell_due_while_the_probe_itself_stood_still_is_made_up_for(start: StartProbe) -> None:
    server = Server(watch_interval_s=0.05)
    with running(server), server.connect() as clock:
        clock.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        probe = start(target(server), rate=100)
        probe.attempts(5)
        probe.process.send_signal(signal.SIGSTOP)
        let_pass(0.25, clock)
        probe.process.send_signal(signal.SIGCONT)
        events = sorted(probe.attempts(60), key=lambda event: event["seq"])
        assert {b["t"] - a["t"] for a, b in itertools.pairwise(events)} == {10 * MS}
        assert max(event["start"] - event["t"] for event in events) >= 150 * MS
        lag = probe.wait(lambda event: event.get("kind") == "lag" and event["lag_ns"] >= 150 * MS)
        assert lag["source"] == "probe:cl"


def test_what_is_later_than_its_time_out_is_told_and_not_made(start: StartProbe) -> None:
    server = Server(watch_interval_s=0.05)
    with running(server), server.connect() as clock:
        clock.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        probe = start(target(server), rate=100, timeout_s=0.1)
        probe.attempts(5)
        probe.process.send_signal(signal.SIGSTOP)
        let_pass(0.25, clock)
        probe.process.send_signal(signal.SIGCONT)
        stale = probe.until("error")
        assert stale["detail"] == "not made: the probe itself was later than the time-out"
        events = probe.stop()
    assert sorted(event["seq"] for event in events) == list(range(1, len(events) + 1))


def test_the_pace_can_be_changed(server: Server, start: StartProbe) -> None:
    probe = start(target(server), rate=10)
    probe.attempts(1)
    probe.command(do="rate", rate=500)
    events = sorted(probe.attempts(20, since=len(probe.events)), key=lambda event: event["t"])
    assert events[-1]["t"] - events[-2]["t"] == 2 * MS


def test_targets_and_long_connections_share_out_the_period(server: Server, start: StartProbe) -> None:
    other = Server()
    with running(other):
        probe = start(target(server), target(other), rate=10, long_connections=2, streams=["new", "long"])
        new = probe.attempts(2)
        assert {event["target"] for event in new} == {f"127.0.0.1:{s.port}" for s in (server, other)}
        assert abs(new[1]["t"] - new[0]["t"]) == 50 * MS
        long = probe.attempts(4, "long")
        assert {event["connection"] for event in long} == {0, 1}


# -- the long-lived connection -------------------------------------------------------------------


def broken(event: Event) -> bool:
    return "broken" in event


def test_exchanges_share_one_connection(server: Server, start: StartProbe) -> None:
    probe = start(target(server), streams=["long"], long_period_s=0.02)
    events = probe.attempts(5, "long")
    assert {event["result"] for event in events} == {"ok"}
    assert {b["t"] - a["t"] for a, b in itertools.pairwise(events)} == {20 * MS}
    assert len({event["peer"] for event in server.many(5, lambda event: event["kind"] == "access")}) == 1


def test_a_break_is_told_at_once_and_the_next_exchange_reconnects(server: Server, start: StartProbe) -> None:
    probe = start(target(server), streams=["long"], long_period_s=0.05)
    probe.attempts(2, "long")
    server.ill("refuse", established=True)
    assert probe.wait(broken)["broken"] == "reset"
    probe.until("refused", "long")
    server.well()
    first = probe.until("ok", "long")
    assert first["reconnected"] is True
    assert "reconnected" not in probe.attempts(1, "long", since=len(probe.events))[0]
    assert len([event for event in probe.events if broken(event)]) == 1


def test_a_silent_connection_is_given_up_after_the_time_out(server: Server, start: StartProbe) -> None:
    probe = start(target(server), streams=["long"], long_period_s=0.05, timeout_s=0.2)
    probe.attempts(1, "long")
    server.ill("hang")
    assert probe.wait(broken)["broken"] == "timeout"
    server.well()
    assert probe.until("ok", "long")["reconnected"] is True


def test_with_patience_a_connection_outlives_a_stall(server: Server, start: StartProbe) -> None:
    probe = start(target(server), streams=["long"], long_period_s=0.05, timeout_s=0.1, patience_s=30)
    probe.attempts(1, "long")
    server.ill("blackhole")
    probe.until("timeout", "long")
    server.well()
    probe.until("ok", "long")
    events = probe.stop()
    assert not any("reconnected" in event for event in events)
    assert not any(broken(event) for event in probe.events)
    assert sorted(event["seq"] for event in events) == list(range(1, len(events) + 1))


# -- the engine ----------------------------------------------------------------------------------


def test_stop_lets_what_is_under_way_finish(server: Server, start: StartProbe) -> None:
    server.ill("slow", delay_s=0.2)
    probe = start(target(server), rate=100, streams=["new", "long"])
    server.wait(lambda event: event["kind"] == "access")
    events = probe.stop()
    assert {event["result"] for event in events} == {"ok"}
    assert len([event for event in events if event["stream"] == "new"]) >= 20


def test_it_ends_at_once_when_the_engine_is_gone(server: Server, start: StartProbe) -> None:
    probe = start(target(server))
    probe.attempts(1)
    probe.hang_up()
    assert probe.exit_code() == 0


def test_a_stalled_engine_does_not_slow_it_and_loses_no_event(server: Server, start: StartProbe) -> None:
    probe = start(target(server), rate=200, small_pipe=True)
    # The probe's pipe is not read while the server tells of 200 requests.
    server.many(200, lambda event: event["kind"] == "access")
    events = sorted(probe.stop(), key=lambda event: event["t"])
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {b["t"] - a["t"] for a, b in itertools.pairwise(events)} == {5 * MS}


def test_an_unknown_command_is_refused_with_what_is_known(server: Server, start: StartProbe) -> None:
    probe = start(target(server))
    probe.command(do="rate", rate=0)
    assert "known: start, rate (above 0), stop" in probe.wait(lambda event: "refused" in event)["text"]
