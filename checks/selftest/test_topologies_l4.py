"""A2 as data: what members and directors get for each way of forwarding, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import topologies
from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import KeepalivedConfig
from harness.errors import UsageError
from harness.services.resolver import Resolver
from harness.topology import Topology


def made(**options: Any) -> Topology:
    """The architecture, which must be one that can be built."""
    topology = topologies.make("vip-l4", options)
    topology.check()
    return topology


def config(topology: Topology, director: str = "lb1") -> KeepalivedConfig:
    """keepalived's configuration of a director, which must be read without a remark."""
    service = next(s for s in topology.node(director).services if s.name == "keepalived")
    read = read_keepalived(next(iter(service.files().values())))
    assert not read.remarks, [str(remark) for remark in read.remarks]
    return read


@pytest.mark.parametrize("forwarding", ["nat", "dr", "tun"])
@pytest.mark.parametrize("serve", ["masters", "routers", "both"])
@pytest.mark.parametrize("check", ["auto", "tcp", "ssl", "misc", "none"])
def test_every_combination_is_a_configuration(forwarding: str, serve: str, check: str) -> None:
    read = config(made(forwarding=forwarding, serve=serve, check=check))
    servers = [server for virtual in read.virtual_servers for server in virtual.real_servers]
    assert {server.forwarding for server in servers} == {forwarding.upper()}
    assert all(len(server.checkers) == (check != "none") for server in servers)
    assert len(read.virtual_servers) == {"masters": 1, "routers": 2, "both": 3}[serve]


def test_resolvers_are_balanced_by_udp_and_answer_from_the_address_that_was_asked() -> None:
    topology = made(serve="resolvers", ops=True)
    (virtual,) = config(topology).virtual_servers
    assert (virtual.protocol, virtual.flags, virtual.port) == ("UDP", ("ops",), 53)
    (service,) = topology.node("d1").services
    assert service == Resolver("d1", ("10.0.0.61", "10.0.0.102"), 53)
    assert {probe.protocol for probe in topology.probes} == {"udp"}


class TestMembers:
    def test_behind_nat_they_leave_by_the_directors(self) -> None:
        topology = made(forwarding="nat", serve="masters")
        member = topology.node("m1")
        assert member.interfaces[0].segment == "back"
        assert (member.routes, member.loopback, member.sysctls) == ({"0.0.0.0/0": "10.0.1.1"}, (), {})
        (instance,) = config(topology).instances
        assert [(str(a), a.device, a.excluded) for a in instance.addresses] == [
            ("10.0.1.1/24", "eth1", True),
            ("10.0.0.100/24", "", False),
        ]

    def test_with_dr_they_have_the_vip_and_tell_nobody(self) -> None:
        member = made(serve="masters").node("m1")
        assert member.loopback == ("10.0.0.100/32",)
        assert member.sysctls["net.ipv4.conf.all.arp_ignore"] == "1"
        assert made(serve="masters", arp="none").node("m1").sysctls == {}

    def test_with_two_interfaces_packets_come_by_the_other(self) -> None:
        topology = made(serve="masters", two_nics=True, rp_filter=2)
        member = topology.node("m1")
        assert [(i.segment, i.addresses) for i in member.interfaces] == [
            ("lan", ("10.0.0.21/24",)),
            ("back", ("10.0.1.21/24",)),
        ]
        assert (member.routes, member.loopback) == ({"0.0.0.0/0": "10.0.0.1"}, ("10.0.0.100/32",))
        assert member.sysctls["net.ipv4.conf.all.rp_filter"] == "2"
        assert config(topology).virtual_servers[0].real_servers[0].address == "10.0.1.21"
        assert topology.node("lb1").interfaces[1].segment == "back"

    def test_with_tun_they_end_the_tunnel_as_well(self) -> None:
        assert [s.name for s in made(serve="masters", forwarding="tun").node("m1").services] == [
            "master",
            "tunnel",
        ]

    def test_a_sorry_server_serves_what_they_serve(self) -> None:
        topology = made(serve="both", sorry=True)
        assert [s.name for s in topology.node("sorry").services] == ["master", "router"]
        sorry = [virtual.sorry_server for virtual in config(topology).virtual_servers]
        assert [s.port for s in sorry if s] == [6443, 443, 80]


class TestDirectors:
    def test_their_timers_and_counts(self) -> None:
        read = config(
            made(serve="masters", delay_loop=0.5, retry=0, delay_before_retry=0.2, connect_timeout=0.4)
        )
        checker = read.virtual_servers[0].real_servers[0].checkers[0]
        assert (checker.delay_loop_us, checker.retry) == (500_000, 0)
        assert (checker.delay_before_retry_us, checker.connect_timeout_us) == (200_000, 400_000)

    def test_quorum_sorry_inhibit_persistence(self) -> None:
        options = {"quorum": 2, "hysteresis": 1, "alpha": True, "omega": True, "persistence": 50}
        virtual = config(made(serve="masters", inhibit_on_failure=True, **options)).virtual_servers[0]
        assert (virtual.quorum, virtual.hysteresis, virtual.alpha, virtual.omega) == (2, 1, True, True)
        assert (virtual.persistence_s, virtual.real_servers[0].inhibit_on_failure) == (50, True)

    def test_schedulers_with_weights_and_flags(self) -> None:
        virtual = config(
            made(serve="masters", scheduler="mh", flags="mh-port+mh-fallback", weights="3+1")
        ).virtual_servers[0]
        assert (virtual.scheduler, virtual.flags) == ("mh", ("mh-port", "mh-fallback"))
        assert [server.weight for server in virtual.real_servers] == [3, 1, 1]

    @pytest.mark.parametrize(("sync", "instance"), [("instance", "masters"), ("both", "")])
    def test_sync_daemons(self, sync: str, instance: str) -> None:
        topology = made(serve="masters", sync=sync, sync_threshold="1 10")
        daemon = config(topology).sync_daemon
        assert daemon is not None
        assert daemon.instance == instance
        assert topology.node("lb2").sysctls["net.ipv4.vs.sync_threshold"] == "1\t10"

    def test_the_cure_of_nat(self) -> None:
        director = made(forwarding="nat", masquerade=True).node("lb1")
        assert director.sysctls["net.ipv4.vs.conntrack"] == "1"
        assert "MASQUERADE" in next(iter(director.services[0].files().values()))

    def test_a_firewall_that_tracks_and_ports_that_come_again(self) -> None:
        topology = made(serve="masters", conntrack=True, conn_reuse_mode=2, client_ports=30)
        director = topology.node("lb1")
        assert director.sysctls["net.ipv4.vs.conntrack"] == "1"
        assert director.sysctls["net.ipv4.vs.conn_reuse_mode"] == "2"
        assert "--ctstate" in next(iter(director.services[0].files().values()))
        assert {probe.ports for probe in topology.probes} == {30}

    def test_a_script_with_its_weights(self) -> None:
        topology = made(serve="masters", check="misc-dynamic", scheduler="wrr", misc_timeout=2)
        checker = config(topology).virtual_servers[0].real_servers[1].checkers[0]
        assert checker.script == "/etc/keepalived/check-member https /readyz 10.0.0.22 6443"
        assert (checker.dynamic, checker.script_timeout_us) == (True, 2_000_000)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"check": "http", "for": "masters"}, "TLS only"),
        ({"check": "tcp", "digest": True}, "asks for no page"),
        ({"check": "tcp", "script": "/bin/true"}, "runs no script"),
        ({"check": "misc", "connect_timeout": 3.0}, "own time-out"),
        ({"check": "none", "delay_loop": 3.0}, "checks no member"),
        ({"check": "misc-dynamic"}, "heeds no weights"),
        ({"check": "ssl", "digest": True}, "in its own words"),
        ({"weights": "2+1"}, "choose wrr"),
        ({"scheduler": "wrr", "weights": "2+1+1"}, "3 weights for 2 members"),
        ({"scheduler": "wrr", "weights": "many"}, "joined by"),
        ({"flags": "mh-port"}, "belongs to --scheduler mh"),
        ({"scheduler": "mh", "flags": "mh-gate"}, "no flag of a scheduler"),
        ({"quorum": 3}, "never met"),
        ({"quorum": 1, "hysteresis": 1}, "less than the quorum"),
        ({"quorum": 2, "hysteresis": 1}, "gained at 3"),
        ({"masquerade": True}, "answer clients directly"),
        ({"forwarding": "nat", "arp": "none"}, "no member has the VIP"),
        ({"forwarding": "nat", "for": "both", "priorities": "opposite"}, "one gateway"),
        ({"expire_quiescent_template": True}, "no --persistence"),
        ({"persistence": 9, "expire_quiescent_template": True}, "with weight 0"),
        ({"sync_threshold": "1 2"}, "no sync daemon"),
        ({"sync": "both", "sync_threshold": "few"}, "two whole numbers"),
        ({"for": "both", "sync": "instance"}, "has two"),
        ({"masters": 4}, "no masters are served"),
        ({"upload": 1}, "no masters are served"),
        ({"pmtu_disc": False}, "no tunnel"),
        ({"forwarding": "tun", "two_nics": True}, "one interface"),
        ({"rp_filter": 1}, "one interface that there is"),
        ({"ops": True}, "no resolvers are served"),
        ({"for": "resolvers", "check": "ssl"}, "speak DNS"),
        ({"vrrp_version": 2}, "whole seconds"),
        ({"retry": -1}, "between 0 and"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(options: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        topologies.make("vip-l4", options)
