"""What a node image holds: a Debian suite, packages, and how it is trimmed.

An image's name is the hash of all that decides its content, so a changed list or hook is a new
image, and two checkouts that agree share one.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import Protocol

from harness.errors import one_of

BALANCERS = ("keepalived", "haproxy", "nginx-light", "libnginx-mod-stream", "ipvsadm", "bird2")
PACKET_TOOLS = (
    "nftables",
    "iptables",
    "arptables",
    "conntrack",
    "ethtool",
    "iproute2",
    "iputils-ping",
    "iputils-arping",
)
NAME_SERVER = ("dnsmasq-base",)
LOAD_AND_CAPTURE = ("tcpdump", "iperf3", "wrk", "curl", "socat")
SYSTEM = ("procps", "catatonit")

# Where a suite names a package differently, it gets a tuple of its own here.
COMMON = (*BALANCERS, *PACKET_TOOLS, *NAME_SERVER, *LOAD_AND_CAPTURE, *SYSTEM)
PACKAGES: dict[str, tuple[str, ...]] = {"trixie": COMMON, "bookworm": COMMON, "sid": COMMON}
DEFAULT_SUITE = "trixie"

TRIM = ("doc", "man", "info", "locale", "lintian", "bug", "i18n/charmaps", "bash-completion")

# Runs in the finished tree.  Mountpoints of a node exist; nothing that a package ships as an
# example or a default configuration is there to be read by mistake; the names and resolvers of
# the machine that built the image are gone.  A user's own nginx.conf includes mime.types and
# modules-enabled, so those stay.
FINISH = f"""
set -e
rm -rf dev/* run/* tmp/* var/log/* var/cache/* var/lib/apt/lists/* var/lib/dpkg/*-old
rm -rf etc/apt/apt.conf.d/99mmdebstrap etc/apt/sources.list etc/apt/sources.list.d/*
for part in {" ".join(TRIM)}; do rm -rf "usr/share/$part"; done
rm -rf etc/keepalived/*.sample etc/haproxy/haproxy.cfg etc/bird/bird*.conf etc/nftables.conf
rm -rf etc/nginx/nginx.conf etc/nginx/conf.d/* etc/nginx/sites-*/* var/www
mkdir -p proc sys dev run tmp vipdrill var/log/nginx etc/keepalived
chmod 1777 tmp
: > etc/resolv.conf
: > etc/hostname
: > etc/machine-id
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n' > etc/hosts
"""


def bootstrap_options() -> list[str]:
    """The options of mmdebstrap that decide an image's content."""
    excludes = [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in TRIM]
    return ["--variant=minbase", "--components=main", "--dpkgopt=force-unsafe-io", *excludes]


class Spec(Protocol):
    """What the store can keep: a tree of a Debian suite's packages, and how it is made."""

    @property
    def suite(self) -> str:
        """The Debian release that the packages are of."""

    @property
    def packages(self) -> tuple[str, ...]:
        """What is added to the variant's own packages."""

    @property
    def title(self) -> str:
        """What a person calls it."""

    @property
    def options(self) -> list[str]:
        """The options of mmdebstrap that decide the content."""

    @property
    def finish(self) -> str:
        """A shell script that trims the finished tree, in its root."""

    @property
    def key(self) -> str:
        """The content address."""


def content_address(spec: Spec) -> str:
    """Ten letters that are others for other content."""
    content = [spec.suite, sorted(set(spec.packages)), spec.options, spec.finish, os.uname().machine]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:10]


@dataclass(frozen=True)
class ImageSpec:
    """A node image to be had: `suite` is a Debian release, `packages` are added to its base system."""

    suite: str = DEFAULT_SUITE
    packages: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.suite not in PACKAGES:
            raise one_of("image suite", self.suite, list(PACKAGES))
        if not self.packages:
            object.__setattr__(self, "packages", PACKAGES[self.suite])

    @property
    def title(self) -> str:
        """What a person calls it."""
        return "node image"

    @property
    def options(self) -> list[str]:
        """The options of mmdebstrap that decide the content."""
        return bootstrap_options()

    @property
    def finish(self) -> str:
        """The script that trims it."""
        return FINISH

    @property
    def key(self) -> str:
        """The content address: suite and a short hash, e.g. `trixie-3f2a91c0d4`."""
        return f"{self.suite}-{content_address(self)}"
