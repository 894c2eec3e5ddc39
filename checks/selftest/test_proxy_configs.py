"""What the proxies' configurations say, and that the proxies themselves accept it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.configs.haproxy import read_haproxy
from harness.errors import ConfigRejected
from harness.nodes.netns import NetnsNode
from harness.services import haproxy_config, nginx_config
from harness.services.haproxy import Haproxy
from harness.services.nginx import Nginx
from harness.services.proxy import HttpCheck, Server, Service
from harness.session import Image

API = Service("api", 6443, (Server("m1", "127.0.0.1:6443"),), http_check=HttpCheck("/readyz", tls=True))
HTTPS = Service(
    "ingress-https",
    443,
    (Server("r1", "127.0.0.2:443"), Server("r2", "127.0.0.3:443")),
    server_names=("*.apps.cluster.test", "www.example.test"),
    http_check=HttpCheck("/healthz/ready", 1936),
)
HTTP = Service("ingress-http", 80, (Server("r1", "127.0.0.2:80"),), address="127.0.0.9")


@pytest.fixture
def node(vipdrill_image: Image, artifact_folder: Path) -> Iterator[NetnsNode]:
    """A node with the software of the image, and no network but its own loopback."""
    made = NetnsNode("lb", vipdrill_image.rootfs, artifact_folder / "disk", artifact_folder / "logs")
    made.boot()
    made.run(["ip", "link", "set", "lo", "up"])
    try:
        yield made
    finally:
        made.crash()


def put(node: NetnsNode, service: Haproxy | Nginx) -> None:
    for path, text in service.files().items():
        node.write(path, text)


@pytest.mark.parametrize("kind", ["http", "tcp", "none"])
def test_haproxy_accepts_what_is_rendered(node: NetnsNode, kind: haproxy_config.Kind) -> None:
    checks = haproxy_config.Checks(
        kind=kind,
        inter_s=0.25,
        fastinter_s=0.1,
        downinter_s=2,
        timeout_check_s=0.5,
        on_marked_down="shutdown-sessions",
        extra="weight 5",
    )
    service = Haproxy(haproxy_config.render((API, HTTPS, HTTP), checks, balance="leastconn"))
    put(node, service)
    service.validate(node)


@pytest.mark.parametrize("balance", list(nginx_config.BALANCE))
def test_nginx_accepts_what_is_rendered(node: NetnsNode, balance: str) -> None:
    checks = nginx_config.PassiveChecks(2, 3, "weight=3")
    service = Nginx(nginx_config.render((API, HTTPS, HTTP), checks, balance=balance))
    put(node, service)
    service.validate(node)


@pytest.mark.parametrize(
    ("make", "text", "told"),
    [
        (Haproxy, "global\n    maxcon 5\n", ["/etc/haproxy/haproxy.cfg:2", "maxcon"]),
        (Nginx, "events {}\nstreem {}\n", ["/etc/nginx/nginx.conf:2", "streem"]),
    ],
)
def test_a_rejected_file_is_told_with_file_and_line(
    node: NetnsNode, make: Callable[[str], Haproxy | Nginx], text: str, told: list[str]
) -> None:
    service = make(text)
    put(node, service)
    with pytest.raises(ConfigRejected) as caught:
        service.validate(node)
    for words in told:
        assert words in str(caught.value)


def test_a_user_s_own_nginx_conf_may_set_the_foreground_itself(node: NetnsNode) -> None:
    service = Nginx("daemon  off;\nerror_log /var/log/nginx/error.log;\nevents {}\n")
    put(node, service)
    service.validate(node)


def test_haproxy_is_read_back_as_it_was_meant() -> None:
    checks = haproxy_config.Checks(inter_s=0.5, fall=4, rise=5, timeout_check_s=0.3)
    config = read_haproxy(haproxy_config.render((API, HTTPS), checks))
    assert not config.remarks
    server = config.proxy("api-members").server("m1")  # type: ignore[union-attr]
    assert server is not None
    assert server.check is not None
    assert (server.check.fall, server.check.rise) == (4, 5)


def test_only_tls_of_known_names_is_passed_on() -> None:
    text = haproxy_config.render((HTTPS,), haproxy_config.Checks())
    assert "req.ssl_sni -i -m end .apps.cluster.test" in text
    assert "req.ssl_sni -i -m str www.example.test" in text
    stream = nginx_config.render((HTTPS,), nginx_config.PassiveChecks())
    assert "    *.apps.cluster.test ingress-https;" in stream
    assert 'default "";' in stream
