"""The fake DNS server says who it is, and the probe asks it by UDP from one port, or from many."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from checks.selftest.agents import Agent, Prober, connection_to, running
from harness import dns

PORT = 5353
TARGET = {"address": "127.0.0.1", "port": PORT, "protocol": "udp"}


def test_an_answer_names_who_answered_and_which_question() -> None:
    told = dns.answer(dns.question(7), "d1")
    assert told is not None
    assert dns.who(told) == (7, "d1")


def test_another_question_is_answered_without_a_name() -> None:
    told = dns.answer(dns.question(7).replace(b"server", b"client"), "d1")
    assert told is not None
    assert dns.who(told) == (7, None)


def test_what_is_no_question_is_not_answered_and_what_is_no_answer_is_told() -> None:
    told = dns.answer(dns.question(7), "d1")
    assert told is not None
    assert dns.answer(told, "d2") is None
    assert dns.answer(b"short", "d2") is None
    for message in (b"short", dns.question(7)):
        with pytest.raises(ValueError, match="not a"):
            dns.who(message)


@pytest.fixture
def resolver() -> Iterator[Agent]:
    """A fake resolver on the loopback."""
    config = {"node": "d1", "service": "resolver", "addresses": ["127.0.0.1"], "port": PORT}
    agent = Agent("harness.services.resolver_agent", config)
    with running(agent):
        agent.wait(lambda event: event["kind"] == "service")
        yield agent


def test_it_answers_by_tcp_as_well(resolver: Agent) -> None:
    with connection_to("127.0.0.1", PORT) as connection:
        asked = dns.question(9)
        connection.sendall(len(asked).to_bytes(2, "big") + asked)
        assert dns.who(connection.recv(512)[2:]) == (9, "d1")


@pytest.mark.parametrize("stream", ["new", "long"])
def test_the_probe_tells_who_answered_and_that_nobody_does(resolver: Agent, stream: str) -> None:
    probe = Prober(TARGET, streams=[stream], long_period_s=0.02)
    with running(probe):
        assert {(e["result"], e["member"]) for e in probe.attempts(10, stream)} == {("ok", "d1")}
        resolver.process.send_signal(signal.SIGKILL)
        resolver.process.wait()
        assert probe.until("refused", stream)["member"] is None


def test_a_question_without_an_answer_times_out_and_the_flow_goes_on(resolver: Agent) -> None:
    probe = Prober(TARGET, streams=["long"], long_period_s=0.02, timeout_s=0.1)
    with running(probe):
        probe.attempts(2, "long")
        resolver.process.send_signal(signal.SIGSTOP)
        probe.until("timeout", "long")
        resolver.process.send_signal(signal.SIGCONT)
        probe.until("ok", "long")


def test_stop_lets_questions_finish(resolver: Agent) -> None:
    probe = Prober(TARGET, streams=["new", "long"])
    with running(probe):
        probe.attempts(5)
        assert {event["result"] for event in probe.stop()} == {"ok"}


def test_it_has_no_illness_but_says_so(resolver: Agent) -> None:
    resolver.command(do="ill", illness="hang", id="x")
    assert resolver.wait(lambda event: event.get("refused") == "ill")["id"] == "x"


def test_no_way_there_is_unreachable() -> None:
    probe = Prober({**TARGET, "address": "192.0.2.1"}, streams=["new", "long"])
    with running(probe):
        for stream in ("new", "long"):
            assert probe.attempts(2, stream)[0]["result"] == "unreachable"
