"""Folders of balancers as users have them, for `vipdrill check`."""

from __future__ import annotations

from pathlib import Path

KEEPALIVED = """\
global_defs {{
    router_id {node}
    vrrp_version 3
    enable_script_security
    script_user root
}}
vrrp_script chk_haproxy {{
    script "/usr/bin/killall -0 haproxy"
    interval 1
    fall 2
    rise 2
}}
vrrp_instance VI_API {{
    state BACKUP
    interface ens192
    virtual_router_id 51
    priority {priority}
    advert_int 0.1
    unicast_src_ip 192.168.10.1{number}
    unicast_peer {{
        192.168.10.1{other}
    }}
    virtual_ipaddress {{
        192.168.10.100/24 dev ens192
    }}
    track_script {{
        chk_haproxy
    }}
}}
"""

HAPROXY = """\
global
    log /dev/log local0
    chroot /var/lib/haproxy
    stats socket /run/haproxy/admin.sock mode 660 level admin
    user haproxy
    group haproxy
    daemon
defaults
    mode tcp
    timeout connect 5s
    timeout client 50s
    timeout server 50s
frontend api
    bind *:6443
    default_backend masters
backend masters
    balance roundrobin
    option httpchk GET /readyz
    http-check expect status 200
    default-server inter 1s fall 2 rise 2
    server master-0 192.168.10.21:6443 check check-ssl verify none
    server master-1 192.168.10.22:6443 check check-ssl verify none
"""

NGINX = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {}
stream {
    include /etc/nginx/upstreams/*.conf;
    server {
        listen 6443;
        proxy_pass api;
        proxy_connect_timeout 1s;
    }
}
"""
NGINX_UPSTREAM = """\
upstream api {
    server 192.168.10.21:6443;
    server 192.168.10.22:6443;
}
"""


def pair(folder: Path, *, keepalived: str = KEEPALIVED, haproxy: str = HAPROXY) -> Path:
    """Two balancers, keepalived and HAProxy each, as an administrator copied them together."""
    for number, node in enumerate(("lb1", "lb2"), 1):
        text = keepalived.format(node=node, number=number, other=3 - number, priority=160 - 10 * number)
        write(folder, f"{node}/etc/keepalived/keepalived.conf", text)
        write(folder, f"{node}/etc/haproxy/haproxy.cfg", haproxy)
    return folder


def write(folder: Path, path: str, text: str | bytes) -> None:
    """One more file, or another text of one."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
