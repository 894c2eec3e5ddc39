"""nginx.conf is read as Nginx's stream module reads it."""

from __future__ import annotations

import pytest

from harness.bounds import nginx as bounds
from harness.configs.nginx import NginxConfig, read_nginx
from harness.configs.nginx_tree import duration_ms
from harness.configs.source import ConfigError, Where, included_from

HERE = Where("nginx.conf", 1)


def stream(body: str) -> NginxConfig:
    """A configuration with this stream block."""
    return read_nginx(f"worker_processes auto;\nevents {{ }}\nstream {{\n{body}\n}}\n")


class TestDefaults:
    def test_a_server_that_says_nothing(self) -> None:
        config = stream("upstream api { server 10.0.0.21:6443; } server { listen 6443; proxy_pass api; }")
        (server,), (group,) = config.servers, config.upstreams
        assert (server.ports, server.upstreams) == ((6443,), ("api",))
        assert (server.connect_timeout_ms, server.idle_timeout_ms) == (60_000, 600_000)
        assert (server.next_upstream, server.next_upstream_tries) == (True, 0)
        member = group.servers[0]
        assert (member.max_fails, member.fail_timeout_ms, member.weight) == (1, 10_000, 1)
        assert (group.method, group.shared, config.workers) == ("round-robin", False, None)


class TestReading:
    def test_what_is_said_of_all_servers_and_of_one(self) -> None:
        config = stream(
            "proxy_connect_timeout 2s; proxy_timeout 1m30s;\n"
            "upstream a { zone a 64k; least_conn; server m:1 max_fails=3 fail_timeout=1m weight=2 backup; }\n"
            "server { listen 10.0.0.100:443; proxy_pass a; proxy_connect_timeout 300ms; }"
        )
        (server,), (group,) = config.servers, config.upstreams
        assert (server.connect_timeout_ms, server.idle_timeout_ms) == (300, 90_000)
        assert (group.method, group.shared) == ("least_conn", True)
        member = group.servers[0]
        assert (member.max_fails, member.fail_timeout_ms, member.weight, member.backup) == (
            3,
            60_000,
            2,
            True,
        )

    def test_where_it_listens(self) -> None:
        listens = "listen 443; listen 10.0.0.100:80; listen [::]:7000-7002; listen unix:/lb.sock; listen x;"
        config = stream(f"server {{ {listens} proxy_pass 10.0.0.31:443; }}")
        assert config.servers[0].ports == (443, 80, 7000, 7001, 7002)

    def test_targets_chosen_by_name(self) -> None:
        config = stream(
            'map $ssl_preread_server_name $to { hostnames; *.apps.test web; default ""; }\n'
            "upstream web { server 10.0.0.31:443; }\n"
            "server { listen 443; ssl_preread on; proxy_pass $to; }"
        )
        assert config.servers[0].upstreams == ("web",)

    def test_a_target_without_a_group_is_one(self) -> None:
        config = stream("server { listen 443; proxy_pass 10.0.0.31:8443; }")
        group = config.upstream("10.0.0.31:8443")
        assert group is not None
        assert (group.servers[0].address, group.servers[0].port) == ("10.0.0.31", "8443")

    def test_comments_quotes_and_includes(self) -> None:
        files = {"/etc/nginx/streams/a.conf": "upstream a { server 'm:1'; # one\n}"}
        config = read_nginx("stream { include streams/*.conf; }", read_included=included_from(files))
        assert config.upstreams[0].servers[0].address == "m"

    @pytest.mark.parametrize(
        ("text", "ms"), [("60s", 60_000), ("1m30s", 90_000), ("500ms", 500), ("2", 2000), ("0", 0)]
    )
    def test_times(self, text: str, ms: int) -> None:
        assert duration_ms(text, HERE) == ms

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("stream { upstream a { server m:1 max_fails=x; } }", "not a whole number"),
            ("stream { upstream a { server m:1 fail_timeout=soon; } }", "not a time"),
            ("stream {\n server { listen 443 }", "does not end with"),
            ("{ }", "needs a name"),
        ],
    )
    def test_what_cannot_be_read_is_an_error_with_its_line(self, text: str, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            read_nginx(text)


class TestBounds:
    def config(self, words: str = "") -> NginxConfig:
        return stream(
            f"proxy_connect_timeout 2s; upstream a {{ server m:1 {words}; }}"
            "server { listen 1; proxy_pass a; }"
        )

    def test_a_black_hole_costs_a_connect_timeout(self) -> None:
        config = self.config("max_fails=3")
        found = bounds.removal(config.upstreams[0].servers[0], config.servers[0], "black-hole", 0.1)
        assert found is not None
        assert (found.low, found.high) == pytest.approx((0.0, 2.3))

    def test_what_accepts_connections_is_never_left_out(self) -> None:
        config = self.config()
        for illness in ("hang", "wrong-answer"):
            server = config.upstreams[0].servers[0]
            assert bounds.removal(server, config.servers[0], illness, 0.1) is None  # type: ignore[arg-type]

    def test_without_max_fails_nobody_is(self) -> None:
        config = self.config("max_fails=0")
        assert bounds.removal(config.upstreams[0].servers[0], config.servers[0], "refused", 0.1) is None
