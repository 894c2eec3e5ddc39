"""The fake server answers, falls ill and shuts down as told."""

from __future__ import annotations

import json
import os
import resource
import signal
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from checks.selftest.agents import (
    NAME,
    Event,
    Server,
    connection_to,
    listener,
    pki,
    read_to_end,
    read_until,
    running,
    split_answer,
)

StartServer = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[StartServer]:
    """Starts servers, and ends them after the test."""
    servers: list[Server] = []

    def starter(*listeners: dict[str, Any], **config: Any) -> Server:
        servers.append(Server(*listeners, **config))
        return servers[-1]

    try:
        yield starter
    finally:
        for server in servers:
            server.end()


def shutdown_note(stage: str) -> Callable[[Event], bool]:
    return lambda event: event.get("shutdown") == stage


@pytest.mark.parametrize("path", ["/readyz", "/livez", "/healthz", "/readyz/etcd"])
def test_health_endpoints_say_ok(start: StartServer, path: str) -> None:
    status, head, body = start().ask(path)
    assert (status, body) == (200, b"ok")
    assert b"X-Served-By: m1" in head


def test_verbose_health_lists_the_checks(start: StartServer) -> None:
    status, _, body = start().ask("/readyz?verbose")
    lines = body.decode().splitlines()
    assert status == 200
    assert lines[0] == "[+]ping ok"
    assert lines[-2:] == ["[+]shutdown ok", "readyz check passed"]


def test_version_names_the_node(start: StartServer) -> None:
    status, _, body = start().ask("/version")
    assert status == 200
    assert json.loads(body)["node"] == "m1"
    assert json.loads(body)["gitVersion"].startswith("v1.")


def test_an_unknown_path_is_a_kubernetes_status(start: StartServer) -> None:
    status, _, body = start().ask("/nowhere")
    assert status == 404
    assert (json.loads(body)["kind"], json.loads(body)["reason"]) == ("Status", "NotFound")


def test_head_has_the_length_and_no_body(start: StartServer) -> None:
    status, head, body = start().ask("/readyz", method="HEAD")
    assert (status, body) == (200, b"")
    assert b"Content-Length: 2" in head


def test_haproxys_default_check_is_answered(start: StartServer) -> None:
    assert start().ask("/", method="OPTIONS", version="1.0")[0] == 200


def test_a_request_that_is_none_is_refused(start: StartServer) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert split_answer(read_to_end(connection))[0] == 400


def test_a_connection_is_kept_alive_and_pipelined(start: StartServer) -> None:
    server = start()
    with server.connect() as connection:
        for _ in range(2):
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_until(connection, b"ok").endswith(b"\r\n\r\nok")
        last = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + last)
        assert read_to_end(connection).count(b"200 OK") == 2


def test_an_answer_larger_than_the_socket_arrives_whole(start: StartServer) -> None:
    size = 5_000_000
    assert len(start().ask(f"/echo?bytes={size}")[2]) == size


def test_each_answered_request_is_an_access_event(start: StartServer) -> None:
    server = start()
    with server.connect() as connection:
        own_port = connection.getsockname()[1]
        connection.sendall(b"GET /livez?x HTTP/1.1\r\nHost: api:6443\r\nConnection: close\r\n\r\n")
        read_to_end(connection)
    event = server.wait(lambda event: event["kind"] == "access")
    assert (event["node"], event["peer"]) == ("m1", f"127.0.0.1:{own_port}")
    assert (event["path"], event["status"], event["host"]) == ("/livez", 200, "api")


def test_a_watch_streams_events(start: StartServer) -> None:
    server = start(watch_interval_s=0.02)
    with server.connect() as connection:
        connection.sendall(b"GET /api/v1/namespaces?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        stream = read_until(connection, b'"resourceVersion":"3"')
    assert b"Transfer-Encoding: chunked" in stream
    assert stream.index(b'"ADDED"') < stream.index(b'"MODIFIED"')


def test_ipv6_and_plain_http(start: StartServer) -> None:
    server = start(listener(name="six", address="::1", tls=False))
    with connection_to("::1", server.port) as connection:
        own_port = connection.getsockname()[1]
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert read_to_end(connection).endswith(b"ok")
    assert server.wait(lambda event: event["kind"] == "access")["peer"] == f"[::1]:{own_port}"


def test_another_server_name_gets_another_certificate(start: StartServer) -> None:
    other = {"cert": str(pki() / "wrong-name.pem"), "key": str(pki() / "wrong-name.key")}
    server = start(listener(names={"wrong.invalid": other}))
    for name in (NAME, "wrong.invalid"):
        with server.connect(name=name) as connection:
            assert isinstance(connection, ssl.SSLSocket)


def test_an_address_in_use_ends_it_with_the_reason(start: StartServer) -> None:
    taken = start().port
    with pytest.raises(AssertionError, match=f"listen on 127.0.0.1:{taken}: Address already in use"):
        start(listener(port=taken))


def test_it_ends_at_once_when_the_engine_is_gone(start: StartServer) -> None:
    server = start()
    server.hang_up()
    assert server.exit_code() == 0


# -- shutdown ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_signal", [True, False])
def test_shutdown_is_unready_first_then_deaf_then_drained(start: StartServer, by_signal: bool) -> None:
    terms = {"delay_s": 1.0, "drain_s": 20}
    server = start(shutdown=terms if by_signal else {})
    server.ill("slow", delay_s=1.5, paths=["/version"])
    with server.connect() as idle, server.connect() as in_flight:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(idle, b"ok")
        in_flight.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        if by_signal:
            server.process.send_signal(signal.SIGTERM)
        else:
            server.command(do="shutdown", **terms)
        began = server.wait(shutdown_note("delay"))
        status, _, body = server.ask("/readyz")
        assert status == 500
        assert b"[-]shutdown failed: reason withheld\nreadyz check failed\n" in body
        assert server.ask("/livez")[0] == server.ask("/healthz")[0] == 200
        drains = server.wait(shutdown_note("drain"))
        assert drains["t"] - began["t"] >= 1_000_000_000
        with pytest.raises(ConnectionRefusedError):
            server.connect()
        assert read_to_end(idle) == b""
        status, head, _ = split_answer(read_to_end(in_flight))
        assert status == 200
        assert b"Connection: close" in head
    assert server.exit_code() == 0


def test_what_does_not_drain_is_cut(start: StartServer) -> None:
    server = start()
    server.ill("hang")
    with server.connect() as hung:
        hung.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        server.command(do="shutdown", drain_s=0.1)
        assert read_to_end(hung) == b""
    assert server.exit_code() == 0


def test_watches_end_in_order_when_given_a_grace(start: StartServer) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(b"GET /api/v1/pods?watch=true HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(connection, b"ADDED")
        server.command(do="shutdown", watch_grace_s=1)
        assert read_to_end(connection).endswith(b"0\r\n\r\n")
    assert server.exit_code() == 0


def test_a_second_sigterm_ends_it_at_once(start: StartServer) -> None:
    server = start(shutdown={"delay_s": 3600})
    server.process.send_signal(signal.SIGTERM)
    server.wait(shutdown_note("delay"))
    server.process.send_signal(signal.SIGTERM)
    assert server.exit_code() == 0


# -- illnesses (what a client sees of each is tested with the probe) -------------------------------


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"do": "ill", "illness": "plague"}, "unknown illness 'plague'; known: bad_cert, blackhole"),
        ({"do": "ill", "illness": "slow", "delay": 1}, "no option 'delay'; known: delay_s, listeners, paths"),
        ({"do": "ill", "illness": "slow"}, "needs the option 'delay_s'"),
        ({"do": "ill", "illness": "hang", "stage": "never"}, "unknown stage 'never'; known: accept, request"),
        ({"do": "ill", "illness": "hang", "listeners": ["80"]}, "no listener ['80']; known: tls"),
        ({"do": "dance"}, "unknown command 'dance'; known: ill, well, shutdown"),
    ],
)
def test_a_wrong_command_is_refused_with_what_is_known(
    start: StartServer, command: dict[str, Any], reason: str
) -> None:
    server = start()
    server.command(**command)
    assert reason in server.wait(lambda event: "refused" in event)["text"]
    assert server.ask("/livez")[0] == 200


def test_paths_and_listeners_narrow_an_illness(start: StartServer) -> None:
    server = start(listener(), listener(name="other"))
    server.ill("status", status=503, paths=["/readyz"], listeners=["tls"])
    assert server.ask("/readyz")[0] == 503
    assert server.ask("/livez")[0] == 200
    with server.connect(port=server.ports["other"]) as connection:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        assert split_answer(read_to_end(connection))[0] == 200


def test_well_heals_everything(start: StartServer) -> None:
    server = start()
    bad = {"cert": str(pki() / "untrusted.pem"), "key": str(pki() / "untrusted.key")}
    server.ill("blackhole")
    server.ill("refuse")
    server.ill("bad_cert", **bad)
    server.ill("limit", connections=1)
    server.ill("status")
    server.well()
    assert server.ask("/readyz")[0] == 200


def test_a_connection_limit_leaves_the_next_one_waiting(start: StartServer) -> None:
    server = start(listener(tls=False))
    server.ill("limit", connections=1)
    with server.connect(tls=False) as first:
        first.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(first, b"ok")
        with server.connect(tls=False) as second:
            second.sendall(b"GET /echo HTTP/1.0\r\n\r\n")
            first.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            read_until(first, b"ok")
            served = [event["path"] for event in server.many(2, lambda event: event["kind"] == "access")]
            assert served == ["/livez", "/livez"]
            first.close()
            assert read_to_end(second).endswith(b"ok")


def test_a_black_hole_takes_established_connections_too(start: StartServer) -> None:
    server = start(watch_interval_s=0.01)
    with server.connect() as connection:
        connection.sendall(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        read_until(connection, b"MODIFIED")
        server.ill("blackhole")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            read_to_end(connection)
        server.well()
        connection.settimeout(20)
        assert connection.recv(65536)


def test_refuse_resets_established_connections_when_told(start: StartServer) -> None:
    server = start(listener(tls=False))
    with server.connect(tls=False) as connection:
        server.ill("refuse", established=True)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_out_of_descriptors_it_waits_and_recovers(start: StartServer) -> None:
    server = start(listener(tls=False))
    in_use = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (in_use + 2, in_use + 2))
    connections = [server.connect(tls=False) for _ in range(5)]
    server.wait(lambda event: event.get("text") == "m1: accept on tls: Too many open files")
    for connection in connections[:3]:
        connection.close()
    for connection in connections[3:]:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert read_to_end(connection).endswith(b"ok")
        connection.close()


# -- the engine stalls -----------------------------------------------------------------------------


def test_a_stalled_engine_does_not_slow_it_and_loses_no_event() -> None:
    requests = 400
    server = Server(listener(tls=False), small_pipe=True)
    with running(server):
        with server.connect(tls=False) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * (requests - 1))
            connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
            assert read_to_end(connection).count(b"200 OK") == requests
        assert len(server.many(requests, lambda event: event["kind"] == "access")) == requests


def test_an_answer_waits_for_the_whole_request(start: StartServer) -> None:
    server = start()
    with server.connect() as connection:
        connection.sendall(b"POST /version HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        server.ask("/livez")
        patience_s = connection.gettimeout()
        connection.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            connection.recv(1)
        connection.settimeout(patience_s)
        connection.sendall(b"67890GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = read_to_end(connection)
        assert answers.count(b"HTTP/1.1 200") == 2
        assert answers.endswith(b"ok")
