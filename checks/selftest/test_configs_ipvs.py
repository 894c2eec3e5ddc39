"""The reader of keepalived's IPVS blocks: values after defaults, inheritance and corrections; remarks."""

from __future__ import annotations

import pytest

from harness.configs.ipvs_model import CheckedUrl, Checker, SyncDaemon, VirtualServer
from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import KeepalivedConfig

HEAD = "lvs_sched rr\nlvs_method DR\nprotocol TCP\n"
_S = 1_000_000


def config(virtual: str, head: str = HEAD, before: str = "") -> KeepalivedConfig:
    return read_keepalived(f"{before}virtual_server 10.0.0.100 6443 {{\n{head}{virtual}\n}}\n")


def server(virtual: str, head: str = HEAD) -> VirtualServer:
    (found,) = config(virtual, head).virtual_servers
    return found


def checker(block: str, real: str = "", virtual: str = "") -> Checker:
    found = server(f"{virtual}\nreal_server 10.0.0.21 6443 {{\n{real}\n{block}\n}}")
    (one,) = found.real_servers[0].checkers
    return one


def remarks(read: KeepalivedConfig) -> str:
    return "\n".join(str(remark) for remark in read.remarks)


class TestVirtualServer:
    def test_what_is_balanced(self) -> None:
        real = "real_server 10.0.0.21 6443 {\n}\n"
        read = read_keepalived(
            f"virtual_server 10.0.0.100 6443 {{\n{HEAD}{real}}}\nvirtual_server fwmark 7 {{\nlvs_sched rr\n"
            f"lvs_method DR\n{real}}}\nvirtual_server group G {{\n{HEAD}{real}}}\n"
            "virtual_server_group G {\n10.0.0.1 80\nfwmark 3\n}\n"
        )
        plain, mark, group = read.virtual_servers
        assert (plain.address, plain.port, plain.protocol) == ("10.0.0.100", 6443, "TCP")
        assert (mark.fwmark, mark.address, mark.protocol) == (7, "", "")
        assert group.group == "G"
        assert read.virtual_server_groups[0].entries == (("10.0.0.1", 80),)
        assert read.virtual_server_groups[0].fwmarks == (3,)
        assert not read.remarks

    def test_defaults_are_told(self) -> None:
        read = config("real_server 10.0.0.21 6443 {\n}", head="")
        found = read.virtual_servers[0]
        assert (found.protocol, found.scheduler, found.forwarding) == ("UDP", "wlc", "NAT")
        assert (found.quorum, found.hysteresis, found.persistence_s) == (1, 0, 0)
        for said in ("UDP", "wlc", "NAT"):
            assert f"keepalived takes {said}" in remarks(read)

    @pytest.mark.parametrize(
        ("line", "seconds"), [("persistence_timeout", 360), ("persistence_timeout 50", 50)]
    )
    def test_persistence(self, line: str, seconds: int) -> None:
        assert server(line).persistence_s == seconds

    def test_flags_count_after_their_scheduler_only(self) -> None:
        assert server("", "protocol TCP\nlvs_sched mh\nmh-port\nmh-fallback\n").flags == (
            "mh-port",
            "mh-fallback",
        )
        read = config("", "mh-port\nlvs_sched mh\nprotocol TCP\nlvs_method DR\n")
        assert read.virtual_servers[0].flags == ()
        assert "mh-port counts only after lvs_sched mh" in remarks(read)

    def test_what_keepalived_corrects(self) -> None:
        real = "real_server 10.0.0.21 6443 {\nweight 2\n}\nreal_server 10.0.0.22 6443 {\n}"
        read = config(f"quorum 9\nhysteresis 5\n{real}")
        assert (read.virtual_servers[0].quorum, read.virtual_servers[0].hysteresis) == (3, 2)
        assert "quorum 9 exceeds all weights" in remarks(read)
        assert "hysteresis 5 is not below the quorum" in remarks(read)

    def test_nonsense_is_remarked_and_left_out(self) -> None:
        read = config("lvs_sched fair\nlvs_method VPN\nprotocol ICMP")
        assert (read.virtual_servers[0].scheduler, read.virtual_servers[0].forwarding) == ("rr", "DR")
        for word in ("fair", "VPN", "ICMP"):
            assert word in remarks(read)
        read = read_keepalived("virtual_server everywhere 80 {\n}\n")
        assert read.virtual_servers == ()
        assert "not an address with a port" in remarks(read)

    def test_sorry_server(self) -> None:
        sorry = server("sorry_server 10.0.0.99 8443\nsorry_server_inhibit").sorry_server
        assert sorry is not None
        assert (sorry.address, sorry.port, sorry.forwarding, sorry.inhibit) == ("10.0.0.99", 6443, "DR", True)
        assert server("").sorry_server is None


class TestRealServer:
    def test_the_port_is_its_own_with_nat_only(self) -> None:
        real = "real_server 10.0.0.21 8443 {\n}"
        assert server(real).real_servers[0].port == 6443
        assert server(real, HEAD.replace("DR", "NAT")).real_servers[0].port == 8443

    def test_twice_the_same_counts_once(self) -> None:
        read = config("real_server 10.0.0.21 6443 {\n}\n" * 2)
        assert len(read.virtual_servers[0].real_servers) == 1
        assert "there twice" in remarks(read)

    def test_what_it_takes_over(self) -> None:
        found = server("inhibit_on_failure\nalpha\nweight 5\nreal_server 10.0.0.21 6443 {\n}").real_servers[0]
        assert (found.inhibit_on_failure, found.alpha, found.weight, found.forwarding) == (
            True,
            True,
            5,
            "DR",
        )
        own = "real_server 10.0.0.21 6443 {\ninhibit_on_failure off\nweight 0\nlvs_method TUN\n}"
        found = server(f"inhibit_on_failure\n{own}").real_servers[0]
        assert (found.inhibit_on_failure, found.weight, found.forwarding) == (False, 0, "TUN")


class TestCheckers:
    def test_defaults(self) -> None:
        tcp = checker("TCP_CHECK {\n}")
        assert (tcp.kind, tcp.delay_loop_us, tcp.retry) == ("tcp", 60 * _S, 1)
        assert (tcp.delay_before_retry_us, tcp.connect_timeout_us, tcp.warmup_us) == (_S, 5 * _S, 60 * _S)
        assert (tcp.address, tcp.port) == ("10.0.0.21", 6443)
        assert checker("SSL_GET {\nurl {\npath /\n}\n}").delay_before_retry_us == 3 * _S
        misc = checker("MISC_CHECK {\nmisc_path /bin/true\n}", virtual="delay_loop 4")
        assert (misc.retry, misc.script_timeout_us, misc.dynamic) == (0, 4 * _S, False)

    def test_the_nearer_value_counts(self) -> None:
        found = checker(
            "TCP_CHECK {\nconnect_timeout 0.2\n}", "delay_loop 0.3\nretry 2", "delay_loop 6\nretry 4"
        )
        assert (found.delay_loop_us, found.retry, found.connect_timeout_us) == (300_000, 2, 200_000)
        assert found.warmup_us == 300_000

    def test_pages(self) -> None:
        url = "url {\npath /readyz\nstatus_code 200 301-302\ndigest abc\nvirtualhost api\n}"
        found = checker(f"HTTP_GET {{\nconnect_port 1936\nfast_recovery\nnb_get_retry 4\n{url}\n}}")
        assert found.urls == (CheckedUrl("/readyz", "abc", ((200, 200), (301, 302)), "api"),)
        assert found.urls[0].takes(302)
        assert not found.urls[0].takes(204)
        assert CheckedUrl("/").takes(204)
        assert (found.port, found.fast_recovery, found.retry) == (1936, True, 4)

    def test_scripts(self) -> None:
        found = checker('MISC_CHECK {\nmisc_path "/etc/check -a b"\nmisc_timeout 3\nmisc_dynamic\n}')
        assert (found.script, found.script_timeout_us, found.dynamic) == ("/etc/check -a b", 3 * _S, True)

    @pytest.mark.parametrize("block", ["HTTP_GET {\n}", "MISC_CHECK {\n}"])
    def test_one_that_asks_nothing_is_left_out(self, block: str) -> None:
        read = config(f"real_server 10.0.0.21 6443 {{\n{block}\n}}")
        assert read.virtual_servers[0].real_servers[0].checkers == ()
        assert "left out" in remarks(read)

    def test_strays_are_remarked(self) -> None:
        read = config("real_server 10.0.0.21 6443 {\nweigth 3\nnotify_up /bin/true\n}")
        assert "unknown keyword 'weigth'" in remarks(read)
        assert "notify_up" not in remarks(read)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("lvs_sync_daemon eth0", SyncDaemon("eth0")),
        ("lvs_sync_daemon eth0 inst VI_1 id 7", SyncDaemon("eth0", "VI_1", 7)),
        ("lvs_sync_daemon eth0 VI_1 7", SyncDaemon("eth0", "VI_1", 7)),
        ("lvs_sync_daemon eth0 ttl 3 id 9", SyncDaemon("eth0", "", 9)),
    ],
)
def test_the_sync_daemon(line: str, expected: SyncDaemon) -> None:
    assert read_keepalived(f"global_defs {{\n{line}\n}}\n").sync_daemon == expected
