"""`vipdrill check --lb`: a user's own files, verbatim, and what is derived from them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from checks.patience import ENDS_S
from checks.selftest.estates import HAPROXY, KEEPALIVED, NGINX, NGINX_UPSTREAM, pair, write
from harness.errors import UsageError
from harness.lb.build import Built, build
from harness.lb.plan import faults
from harness.session import Image
from harness.topology import NodeSpec
from harness.virtual import library


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A node image of three programs."""
    for program in ("bin/sh", "usr/bin/pkill", "usr/bin/curl"):
        write(tmp_path / "image", program, "")
    return tmp_path / "image"


def places(built: Built) -> dict[str, list[str]]:
    """Every node's addresses, with their interfaces and segments."""
    return {
        node.name: [f"{i.segment}:{i.name} {address}" for i in node.interfaces for address in i.addresses]
        for node in built.topology.nodes
    }


def node(built: Built, name: str) -> NodeSpec:
    """A node by name."""
    return built.topology.node(name)


class TestDerivation:
    def test_a_pair_in_front_of_masters(self, tmp_path: Path, rootfs: Path) -> None:
        built = build(pair(tmp_path / "lbs"), rootfs)
        assert places(built) == {
            "master-0": ["lan:eth0 192.168.10.21/24"],
            "master-1": ["lan:eth0 192.168.10.22/24"],
            "lb1": ["lan:ens192 192.168.10.11/24"],
            "lb2": ["lan:ens192 192.168.10.12/24"],
            "cl": ["lan:eth0 192.168.10.254/24"],
        }
        (probe,) = built.topology.probes
        assert (probe.address, probe.port, probe.tls) == ("192.168.10.100", 6443, True)
        assert [service.name for service in node(built, "lb1").services] == ["haproxy", "keepalived"]
        built.topology.check()

    def test_the_files_are_taken_verbatim(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs")
        write(lbs, "lb1/etc/keepalived/conf.d/more.conf", "# more\n")
        write(lbs, "lb1/opt/notes.txt", "anything\n")
        write(lbs, "lb1/etc/haproxy/maps/a.map", "x y\n")
        haproxy, keepalived = node(build(lbs, rootfs), "lb1").services
        files = {**haproxy.files(), **keepalived.files()}
        for path in (lbs / "lb1").rglob("*"):
            if path.is_file():
                assert files["/" + str(path.relative_to(lbs / "lb1"))] == path.read_text()
        assert next(iter(haproxy.files())) == "/etc/haproxy/haproxy.cfg"
        assert next(iter(keepalived.files())) == "/etc/keepalived/keepalived.conf"

    def test_members_elsewhere_are_behind_a_router(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs", haproxy=HAPROXY.replace("192.168.10.2", "10.7.0.2"))
        built = build(lbs, rootfs)
        assert places(built)["drill-rt"] == ["lan:eth0 192.168.10.254/24", "far1:eth1 10.7.0.254/24"]
        assert node(built, "lb1").routes == {"10.7.0.0/24": "192.168.10.254"}
        assert node(built, "master-0").routes == {"0.0.0.0/0": "10.7.0.254"}
        assert any("is behind a router" in note for note in built.notes)

    def test_without_unicast_the_addresses_come_from_elsewhere_and_that_is_told(
        self, tmp_path: Path, rootfs: Path
    ) -> None:
        multicast = re.sub(r"    unicast_src_ip.*\n    unicast_peer \{\{\n.*\n    \}\}\n", "", KEEPALIVED)
        lbs = pair(tmp_path / "lbs", keepalived=multicast)
        assumed = build(lbs, rootfs)
        assert places(assumed)["lb1"] == ["lan:ens192 192.168.10.254/24"]
        assert "lb1:ens192 has 192.168.10.254/24, as no unicast_src_ip tells" in assumed.notes
        write(lbs, "vipdrill.yaml", "interfaces: {lb1: {ens192: 192.168.10.7/24}}")
        told = build(lbs, rootfs)
        assert places(told)["lb1"] == ["lan:ens192 192.168.10.7/24"]
        assert not any(note.startswith("lb1:ens192") for note in told.notes)

    def test_a_peer_s_list_tells_an_address(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs")
        text = KEEPALIVED.replace("    unicast_src_ip 192.168.10.1{number}\n", "")
        write(
            lbs,
            "lb1/etc/keepalived/keepalived.conf",
            text.format(node="lb1", number=1, other=2, priority=150),
        )
        assert places(build(lbs, rootfs))["lb1"] == ["lan:ens192 192.168.10.11/24"]

    def test_a_bare_virtual_address_has_a_usual_network(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs", keepalived=KEEPALIVED.replace("100/24 dev", "100 dev"))
        built = build(lbs, rootfs)
        assert places(built)["lb2"] == ["lan:ens192 192.168.10.12/24"]
        assert any("nothing tells the prefix of 192.168.10.100" in note for note in built.notes)

    def test_the_port_that_binds_a_virtual_address_needs_its_sysctl(
        self, tmp_path: Path, rootfs: Path
    ) -> None:
        lbs = pair(tmp_path / "lbs", haproxy=HAPROXY.replace("*:6443", "192.168.10.100:6443"))
        built = build(lbs, rootfs)
        assert node(built, "lb1").sysctls == {"net.ipv4.ip_nonlocal_bind": "1"}
        assert any("ip_nonlocal_bind is 1, as its proxy binds" in note for note in built.notes)
        write(lbs, "lb1/etc/sysctl.d/9.conf", "# ours\nnet.ipv4.ip_nonlocal_bind = 0\nkernel.pid_max=9\n")
        assert node(build(lbs, rootfs), "lb1").sysctls == {"net.ipv4.ip_nonlocal_bind": "0"}

    def test_what_is_spoken_on_a_port_can_be_told(self, tmp_path: Path, rootfs: Path) -> None:
        plain = HAPROXY.replace(":6443", ":9000").replace("option httpchk GET /readyz", "option tcp-check")
        plain = plain.replace("    http-check expect status 200\n", "").replace(" check-ssl verify none", "")
        lbs = pair(tmp_path / "lbs", haproxy=plain)
        built = build(lbs, rootfs)
        assert not built.topology.probes[0].tls
        assert any("port 9000 speaks plain HTTP" in note for note in built.notes)
        write(lbs, "vipdrill.yaml", "ports: {9000: {tls: true, path: /live, server_name: a.example}}")
        probe = build(lbs, rootfs).topology.probes[0]
        assert (probe.tls, probe.path, probe.server_name) == (True, "/live", "a.example")

    def test_a_server_by_name_resolves(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs", haproxy=HAPROXY.replace("192.168.10.21:", "m0.example.com:"))
        built = build(lbs, rootfs)
        assert places(built)["m0.example.com"] == ["lan:eth0 192.168.10.254/24"]
        assert "m0.example.com resolves to 192.168.10.254" in built.notes

    def test_nginx_with_its_includes(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs")
        for name in ("lb1", "lb2"):
            (lbs / name / "etc/haproxy/haproxy.cfg").unlink()
            write(lbs, f"{name}/etc/nginx/nginx.conf", NGINX)
            write(lbs, f"{name}/etc/nginx/upstreams/api.conf", NGINX_UPSTREAM)
        built = build(lbs, rootfs)
        assert places(built)["api-1"] == ["lan:eth0 192.168.10.21/24"]
        assert "hang:active/nginx" in faults(built)

    def test_what_applies(self, tmp_path: Path, rootfs: Path) -> None:
        whole = faults(build(pair(tmp_path / "lbs"), rootfs))
        assert whole[0] == "host-crash"
        assert {"kill:active/haproxy", "reload:active/keepalived", "backend-status"} <= set(whole)
        alone = tmp_path / "alone"
        (alone / "lb1").parent.mkdir()
        (tmp_path / "lbs" / "lb1").rename(alone / "lb1")
        single = faults(build(alone, rootfs))
        assert not {"host-crash", "kill:active/haproxy"} & set(single)
        assert "kill:member" in single


class TestMistakes:
    @pytest.mark.parametrize(
        ("path", "text", "said"),
        [
            ("lb1/etc/keepalived/keepalived.conf", "vrrp_instance x {", r"keepalived\.conf:1: "),
            ("lb1/etc/keepalived/keepalived.conf", b"\xff\xfe", "cannot be read as text"),
            ("lb1/etc/haproxy/haproxy.cfg", "bind :80\n", r"lb1:/etc/haproxy/haproxy\.cfg:1: "),
            (
                "lb1/etc/haproxy/haproxy.cfg",
                "defaults\n  timeout connect soon\nlisten a\n",
                r"haproxy\.cfg:2: ",
            ),
            ("lb1/etc/nginx/nginx.conf", "events {}", "has a haproxy.cfg and an nginx.conf"),
            ("vipdrill.yaml", "interfaces: [", "is no YAML"),
            ("vipdrill.yaml", "interface: {}", "unknown key of vipdrill.yaml"),
            ("vipdrill.yaml", "interfaces: {lb9: {}}", "unknown node in vipdrill.yaml 'lb9'"),
            ("vipdrill.yaml", "interfaces: {lb1: {ens192: 10.0.0.1}}", "takes an address with its prefix"),
            ("vipdrill.yaml", "ports: {http: {}}", "ports are numbers"),
            ("vipdrill.yaml", "ports: {80: {tls: maybe}}", "tls of port 80 cannot be 'maybe'"),
            ("vipdrill.yaml", "ports: {80: {path: x}}", "path of port 80 begins with /"),
            ("vipdrill.yaml", "- 1", "must be a mapping"),
        ],
    )
    def test_what_cannot_be_read_is_told_with_its_place(
        self, tmp_path: Path, rootfs: Path, path: str, text: str | bytes, said: str
    ) -> None:
        lbs = pair(tmp_path / "lbs")
        write(lbs, path, text)
        with pytest.raises(UsageError, match=said):
            build(lbs, rootfs)

    def test_no_folder_and_nothing_in_it(self, tmp_path: Path, rootfs: Path) -> None:
        with pytest.raises(UsageError, match=r"there is no folder .* it takes a folder for each node"):
            build(tmp_path / "nowhere", rootfs)
        (tmp_path / "lbs" / "lb1").mkdir(parents=True)
        with pytest.raises(UsageError, match="holds no balancer"):
            build(tmp_path / "lbs", rootfs)

    def test_no_virtual_address_no_failover(self, tmp_path: Path, rootfs: Path) -> None:
        write(tmp_path / "lbs", "lb1/etc/haproxy/haproxy.cfg", HAPROXY)
        with pytest.raises(UsageError, match="without a virtual address that moves"):
            build(tmp_path / "lbs", rootfs)
        lbs = pair(tmp_path / "other", haproxy=HAPROXY.replace("*:6443", "10.0.0.9:6443"))
        with pytest.raises(UsageError, match="no proxy listens on a virtual address"):
            build(lbs, rootfs)

    def test_a_program_that_is_nowhere(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(
            tmp_path / "lbs", keepalived=KEEPALIVED.replace("/usr/bin/killall -0 haproxy", "/opt/check it")
        )
        with pytest.raises(
            UsageError, match=r"lb1:.*keepalived\.conf:\d+: /opt/check is neither in lb1/ nor"
        ):
            build(lbs, rootfs)
        for name in ("lb1", "lb2"):
            write(lbs, f"{name}/opt/check", "#!/usr/bin/python3\n")
        with pytest.raises(UsageError, match="its interpreter /usr/bin/python3 is not in the node image"):
            build(lbs, rootfs)
        for name in ("lb1", "lb2"):
            write(lbs, f"{name}/opt/check", "#!/bin/sh\n")
        build(lbs, rootfs)

    def test_more_connections_than_this_machine_has_files_for(
        self, tmp_path: Path, rootfs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lbs = pair(tmp_path / "lbs", haproxy=HAPROXY.replace("global\n", "global\n    maxconn 20000\n", 1))
        monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 20000))
        with pytest.raises(UsageError, match=r"haproxy\.cfg:2: maxconn 20000 takes 40000 open files"):
            build(lbs, rootfs)
        monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1 << 20))
        build(lbs, rootfs)

    def test_what_is_no_text_is_left_out_and_told(self, tmp_path: Path, rootfs: Path) -> None:
        lbs = pair(tmp_path / "lbs")
        write(lbs, "lb1/etc/haproxy/geo.bin", b"\x00\xff")
        os.symlink("/nowhere", lbs / "lb1" / "etc" / "link")
        write(lbs, "notes/readme.txt", "x")
        notes = " ".join(build(lbs, rootfs).notes)
        assert "/etc/haproxy/geo.bin is left out" in notes
        assert "/etc/link is left out" in notes
        assert "notes/ holds no configuration" in notes


def check(*words: str) -> subprocess.CompletedProcess[str]:
    """The command, as its own process in this bubble."""
    command = [sys.executable, "-m", "harness", "check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=ENDS_S)


def test_a_user_s_files_are_drilled(tmp_path: Path, vipdrill_image: Image) -> None:
    lbs = pair(tmp_path / "lbs")
    out = tmp_path / "out.json"
    words = ["--lb", str(lbs), "--fault", "host-crash", "--fault", "reload:active/haproxy", "--no-heal"]
    done = check(*words, "--artifacts", str(tmp_path / "kept"), "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(out.read_text())["results"]
    assert [result["verdict"] for result in results] == ["pass", "pass"]
    assert results[0]["takeover_s"] > 0
    judged = {f"{c['property']}: {c['aspect']}" for c in results[0]["checks"] if c["verdict"] == "pass"}
    assert {"vip-migration: takeover", "client-outage: outage"} <= judged
    (ran,) = (tmp_path / "kept").glob("*/01-*/configs/lb1/etc/keepalived/keepalived.conf")
    assert ran.read_text() == (lbs / "lb1/etc/keepalived/keepalived.conf").read_text()


@pytest.mark.saboteur
def test_a_standby_that_takes_no_part_is_caught(tmp_path: Path, vipdrill_image: Image) -> None:
    """Its check script always fails, as with a wrong path in it; nothing shows while lb1 is well."""
    lbs = pair(tmp_path / "lbs")
    file = lbs / "lb2/etc/keepalived/keepalived.conf"
    file.write_text(file.read_text().replace("/usr/bin/killall -0 haproxy", "/usr/bin/false"))
    words = ["--lb", str(lbs), "--fault", "host-crash", "--no-heal", "-q"]
    done = check(*words, "--artifacts", str(tmp_path / "a"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "never moved" in done.stdout


def test_a_configuration_that_the_daemon_refuses_is_told_in_its_words(
    tmp_path: Path, vipdrill_image: Image
) -> None:
    lbs = pair(tmp_path / "lbs", haproxy=HAPROXY.replace("balance roundrobin", "balance roundrobbin"))
    done = check("--lb", str(lbs), "--fault", "host-crash", "--artifacts", str(tmp_path / "a"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(r"haproxy on lb\d rejects /etc/haproxy/haproxy\.cfg:", done.stderr)
    assert "[/etc/haproxy/haproxy.cfg:17]" in done.stderr


def test_a_change_for_the_worse_is_told_against_the_files_before(
    tmp_path: Path, vipdrill_image: Image
) -> None:
    """One drill of each side: the bound alone tells a doubled advert_int."""
    base = pair(tmp_path / "before")
    lbs = pair(tmp_path / "after", keepalived=KEEPALIVED.replace("advert_int 0.1", "advert_int 0.2"))
    words = ["--lb", str(lbs), "--base", str(base), "--fault", "host-crash", "--no-heal"]
    done = check(*words, "--artifacts", str(tmp_path / "kept"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "by the configuration alone: promised up to 0.7" in " ".join(done.stdout.split())


needs_virtual_time = pytest.mark.skipif(library.lacks() is not None, reason=str(library.lacks()))


@needs_virtual_time
def test_one_run_of_virtual_time_on_each_side_decides(tmp_path: Path, vipdrill_image: Image) -> None:
    """Files with another comment in them are the same, a doubled advert_int is worse; one seed for all."""
    changes = {
        "base": KEEPALIVED,
        "same": KEEPALIVED.replace("    advert_int", "    # ten a second\n    advert_int"),
        "worse": KEEPALIVED.replace("advert_int 0.1", "advert_int 0.2"),
    }
    for name, keepalived in changes.items():
        lbs = pair(tmp_path / name, keepalived=keepalived)
        words = [
            "--fault",
            "host-crash",
            "--time",
            "virtual",
            "--no-heal",
            "--artifacts",
            str(tmp_path / "kept"),
        ]
        done = check("--lb", str(lbs), *words, "--json", str(tmp_path / f"{name}.json"), "-q")
        assert done.returncode == 0, done.stdout + done.stderr
    same, worse = (compare(tmp_path / "base.json", tmp_path / f"{name}.json") for name in ("same", "worse"))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "exact, virtual time" in same.stdout
    assert worse.returncode == 1, worse.stdout + worse.stderr
    assert "worse   vip-migration: takeover" in worse.stdout


def compare(base: Path, candidate: Path) -> subprocess.CompletedProcess[str]:
    """Two results, compared."""
    command = [sys.executable, "-m", "harness", "compare", str(base), str(candidate)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=ENDS_S)


@needs_virtual_time
def test_what_is_not_for_virtual_time_is_refused_in_a_sentence(tmp_path: Path, vipdrill_image: Image) -> None:
    lbs = pair(tmp_path / "lbs")
    done = check("--lb", str(lbs), "--fault", "cpu-quota", "--time", "virtual")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "drill it in real time" in done.stderr
