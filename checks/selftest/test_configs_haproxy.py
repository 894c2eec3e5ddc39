"""haproxy.cfg is read as HAProxy 3.0 reads it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.configs.haproxy import Check, HaproxyConfig, read_haproxy
from harness.configs.haproxy_lines import duration_ms, parse, split_words
from harness.configs.source import ConfigError, Where

HERE = Where("haproxy.cfg", 1)


def backend(lines: str, defaults: str = "") -> HaproxyConfig:
    """A backend with these lines below these defaults."""
    return read_haproxy(f"defaults\n mode tcp\n{defaults}\nbackend be\n{lines}\n")


def check(lines: str, defaults: str = "") -> Check:
    """The check of the last server of the backend."""
    found = backend(lines, defaults).servers[-1].check
    assert found is not None
    return found


class TestText:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("server m1 10.0.0.21:6443 check # the first", ("server", "m1", "10.0.0.21:6443", "check")),
            ("a 'b  # c' d", ("a", "b  # c", "d")),
            ('a "b \\"c\\" $" d', ("a", 'b "c" $', "d")),
            ("a b\\ c\\#d", ("a", "b c#d")),
            ("a \\x41\\n", ("a", "A\n")),
            ('a "${PORT}x$PORT${NONE-5}"', ("a", "80x805")),
            ("a ''", ("a", "")),
            ("   ", ()),
        ],
    )
    def test_words(self, line: str, words: tuple[str, ...]) -> None:
        assert split_words(line, HERE, {"PORT": "80"}) == words

    @pytest.mark.parametrize(
        ("text", "line", "problem"),
        [
            ("mode tcp\n", 1, "before any section"),
            ("global\n a 'b\n", 2, "not closed"),
            ("global\n.if 1\n", 2, "not read yet"),
            ("backend b\n server x\n", 2, "name and an address"),
            ("backend b\n server x a:1 check inter 1.5s\n", 2, "not a time"),
            ("backend b\n server x a:1 check fall x\n", 2, "not a whole number"),
            ("global\n spread-checks\n", 2, "needs a number"),
            ("global\n hard-stop-after\n", 2, "not a time"),
            ("backend b from d\n", 1, "no defaults section"),
        ],
    )
    def test_what_cannot_be_read_is_an_error_with_its_line(self, text: str, line: int, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem) as raised:
            read_haproxy(text, "/etc/haproxy/haproxy.cfg")
        assert raised.value.where.line == line

    @given(st.text(alphabet="ab \"'\\#$\n.", max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(ConfigError):
            parse("global\n" + text, "h")

    @pytest.mark.parametrize(
        ("text", "ms"), [("2000", 2000), ("5s", 5000), ("1m", 60_000), ("1d", 86_400_000), ("1500us", 1)]
    )
    def test_times(self, text: str, ms: int) -> None:
        assert duration_ms(text, HERE) == ms


class TestCheck:
    def test_a_server_without_check_is_not_checked(self) -> None:
        read = backend(" default-server inter 1s\n server m1 10.0.0.21:6443")
        assert read.servers[0].check is None
        assert "no `check`" in str(read.remarks[0])

    def test_defaults(self) -> None:
        found = check(" server m1 10.0.0.21:6443 check")
        assert (found.kind, found.inter_ms, found.rise, found.fall) == ("connect", 2000, 2, 3)
        assert (found.fastinter_ms, found.downinter_ms) == (2000, 2000)
        assert (found.connect_limit_ms, found.answer_limit_ms, found.silence_limit_ms) == (2000, None, 2000)

    def test_default_server_counts_for_the_lines_below_it(self) -> None:
        lines = (
            " server a 10.0.0.1:1 check\n default-server inter 1s fall 5 check\n server b 10.0.0.2:1\n"
            " server c 10.0.0.3:1 fall 2 no-check\n server d 10.0.0.4:1 fall 2"
        )
        a, b, c, d = backend(lines, " default-server inter 500ms").servers
        assert a.check is not None
        assert (a.check.inter_ms, a.check.fall) == (500, 3)
        assert b.check is not None
        assert (b.check.inter_ms, b.check.fall) == (1000, 5)
        assert c.check is None
        assert d.check is not None
        assert (d.check.inter_ms, d.check.fall) == (1000, 2)

    @pytest.mark.parametrize(
        ("timeouts", "connect_ms", "answer_ms", "silence_ms"),
        [
            ("timeout connect 4s", 2000, None, 2000),
            ("timeout connect 500", 2000, None, 2000),
            ("timeout connect 500\n timeout check 10s", 500, 10_000, 10_000),
            ("timeout connect 500\n timeout check 1s", 500, 1000, 1000),
            ("timeout connect 4s\n timeout check 1s", 2000, 1000, 2000),
            ("timeout check 1s", 2000, 1000, 2000),
        ],
    )
    def test_what_bounds_one_check(
        self, timeouts: str, connect_ms: int, answer_ms: int | None, silence_ms: int
    ) -> None:
        found = check(" server m1 10.0.0.21:6443 check", f" {timeouts}")
        limits = (found.connect_limit_ms, found.answer_limit_ms, found.silence_limit_ms)
        assert limits == (connect_ms, answer_ms, silence_ms)

    @pytest.mark.parametrize(
        ("lines", "kind", "request_"),
        [
            ("option httpchk", "http", "OPTIONS /"),
            ("option httpchk /readyz", "http", "OPTIONS /readyz"),
            ("option httpchk GET /readyz HTTP/1.0", "http", "GET /readyz"),
            ("option httpchk\n http-check send meth GET uri /readyz ver HTTP/1.1", "http", "GET /readyz"),
            ("option tcp-check", "script", ""),
            ("option httpchk\n option ssl-hello-chk", "ssl-hello", ""),
            ("option httpchk\n no option httpchk", "connect", ""),
            ("option log-health-checks", "connect", ""),
        ],
    )
    def test_what_is_asked(self, lines: str, kind: str, request_: str) -> None:
        found = check(f" {lines}\n server m1 10.0.0.21:6443 check")
        assert (found.kind, found.request) == (kind, request_)

    def test_values_of_the_machine_config_operator(self) -> None:
        lines = (
            " option httpchk GET /readyz HTTP/1.0\n timeout check 10s\n"
            " server m1 10.0.0.21:6443 weight 1 verify none check check-ssl inter 5s fall 3 rise 1"
            " on-marked-down shutdown-sessions"
        )
        (server,) = backend(lines).servers
        assert server.check is not None
        assert (server.check.inter_ms, server.check.fall, server.check.rise) == (5000, 3, 1)
        assert server.check.tls
        assert server.shutdown_sessions_when_down
        assert (server.address, server.port, server.proxy) == ("10.0.0.21", "6443", "be")


class TestSections:
    @pytest.mark.parametrize(("text", "percent"), [("5", 5), ("5%", 5), ("none", 0)])
    def test_what_follows_the_digits_of_spread_checks_does_not_count(self, text: str, percent: int) -> None:
        assert read_haproxy(f"global\n spread-checks {text}\n").spread_checks_percent == percent

    def test_each_section_takes_over_the_defaults_above_it(self) -> None:
        text = (
            "global\n spread-checks 5\n hard-stop-after 30s\n"
            "defaults\n mode http\n timeout connect 1s\n timeout client 50s\n"
            "frontend f\n bind :80\n default_backend a\n"
            "backend a\n balance leastconn\n"
            "defaults slow\n timeout connect 9s\n"
            "listen l\n bind :443\n mode tcp\n server x [fd00::1]:443 check\n"
            "backend b from slow\n server-template s 2 host:80\n"
        )
        read = read_haproxy(text)
        assert (read.spread_checks_percent, read.hard_stop_after_ms) == (5, 30_000)
        f, a, listen, b = read.proxies
        assert (f.kind, f.mode, f.binds, f.default_backend) == ("frontend", "http", (":80",), "a")
        assert (a.balance, a.timeouts_ms["connect"]) == ("leastconn", 1000)
        assert (listen.mode, listen.timeouts_ms) == ("tcp", {"connect": 9000})
        assert (listen.servers[0].address, listen.servers[0].port) == ("fd00::1", "443")
        assert [s.name for s in b.servers] == ["s1", "s2"]
        assert read.proxy("l") is listen
        assert listen.server("x") is listen.servers[0]
