"""The fake router chooses by host and SNI, tells its health on a port of its own, falls ill as told."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from checks.selftest.agents import PATIENCE_S, Server, listener, pki, read_to_end, running, split_answer
from harness.pki import ensure_pki

CONSOLE, SHOP = "console.apps.cluster.test", "shop.apps.cluster.test"


def pair(name: str) -> dict[str, str]:
    """The certificate of one host."""
    folder = ensure_pki(pki().parent, (name,))
    return {"cert": str(folder / "server.pem"), "key": str(folder / "server.key")}


@pytest.fixture
def router() -> Iterator[Server]:
    """A router with two applications."""
    https = listener(name="443", **pair("*.apps.cluster.test"), names={h: pair(h) for h in (CONSOLE, SHOP)})
    health = listener(name="1936", tls=False, purpose="health")
    server = Server(
        https,
        listener(name="80", tls=False),
        health,
        node="r1",
        kind="router",
        service="router",
        hosts={CONSOLE: "redirect", SHOP: "allow"},
    )
    with running(server):
        yield server


def ask(server: Server, where: str, path: str, host: str = "") -> tuple[int, bytes, bytes]:
    """One request to a listener; TLS with the host's name on 443."""
    connection = server.connect(tls=where == "443", port=server.ports[where], name=host)
    with connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host or 'x'}\r\nConnection: close\r\n\r\n".encode()
        )
        return split_answer(read_to_end(connection))


def certificate_names(server: Server, host: str) -> set[str]:
    """What the certificate is good for that is shown to one who asks for a host."""
    with server.connect(port=server.ports["443"], name=host) as connection:
        assert isinstance(connection, ssl.SSLSocket)
        shown: Any = connection.getpeercert()
    return {name for _, name in shown["subjectAltName"]}


@pytest.mark.parametrize("host", [CONSOLE, SHOP])
def test_each_application_has_its_own_certificate_and_answer(router: Server, host: str) -> None:
    assert certificate_names(router, host) == {host}
    status, head, body = ask(router, "443", "/", host)
    assert (status, body) == (200, f"{host} by r1\n".encode())
    assert b"X-Served-By: r1" in head


def test_a_host_without_an_application_is_unavailable(router: Server) -> None:
    assert certificate_names(router, "other.apps.cluster.test") == {"*.apps.cluster.test"}
    assert ask(router, "443", "/", "other.apps.cluster.test")[0] == 503
    assert ask(router, "80", "/", "elsewhere.test")[0] == 503


def test_plain_http_follows_each_application_s_policy(router: Server) -> None:
    assert ask(router, "80", "/", SHOP)[0] == 200
    status, head, _ = ask(router, "80", "/path?x=1", CONSOLE)
    assert status == 302
    assert f"Location: https://{CONSOLE}/path?x=1".encode() in head


def test_echo_gives_as_much_as_asked_for(router: Server) -> None:
    assert len(ask(router, "443", "/echo?bytes=5000", SHOP)[2]) == 5000


def test_health_is_told_on_its_own_port_only(router: Server) -> None:
    for path in ("/healthz", "/healthz/ready"):
        assert ask(router, "1936", path)[::2] == (200, b"ok")
        assert ask(router, "80", path)[0] == 503
    assert ask(router, "1936", "/")[0] == 404
    assert b"[+]has-synced ok" in ask(router, "1936", "/healthz/ready?verbose")[2]


def test_a_router_that_shuts_down_is_not_ready_but_serves(router: Server) -> None:
    router.command(do="shutdown", delay_s=PATIENCE_S)
    router.wait(lambda event: event.get("shutdown") == "delay")
    status, _, body = ask(router, "1936", "/healthz/ready")
    assert status == 500
    assert b"[-]process-running failed" in body
    assert ask(router, "1936", "/healthz")[0] == 200
    assert ask(router, "443", "/", SHOP)[0] == 200


def test_an_illness_may_be_that_of_the_health_port_alone(router: Server) -> None:
    router.ill("status", listeners=["1936"])
    assert ask(router, "1936", "/healthz/ready")[0] == 500
    assert ask(router, "443", "/", SHOP)[0] == 200
    router.well()
    assert ask(router, "1936", "/healthz/ready")[0] == 200


def test_a_bad_certificate_is_shown_for_every_host(router: Server) -> None:
    folder = pki()
    router.ill(
        "bad_cert", listeners=["443"], cert=str(folder / "wrong-name.pem"), key=str(folder / "wrong-name.key")
    )
    for host in (CONSOLE, SHOP):
        with pytest.raises(ssl.SSLCertVerificationError):
            certificate_names(router, host)
    router.well()
    assert certificate_names(router, SHOP) == {SHOP}


def test_the_access_log_tells_the_host(router: Server) -> None:
    ask(router, "443", "/cart", SHOP)
    event = router.wait(lambda event: event["kind"] == "access")
    assert (event["host"], event["path"], event["status"], event["node"]) == (SHOP, "/cart", 200, "r1")
