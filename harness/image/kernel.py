"""The image of a kernel: User-Mode Linux as Debian builds it, for nodes with a kernel of their own.

It is kept beside the node images and made by the same machinery, but only when a node asks for it, as
most users never need it.  It is a root filesystem in which nothing but a machine runs:

    usr/bin/linux.uml                the kernel, an ordinary program (user-mode-linux)
    usr/lib/uml/modules/RELEASE      its modules, those of a network's node
    usr/lib/x86_64-linux-gnu         the C library it is linked to
    usr/bin/busybox, catatonit       a shell and an init, for what must be mounted around it

The packages are unpacked and not installed: none of their scripts runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import MissingCapability
from harness.image.spec import content_address

# Another release of Debian than the one whose kernel is known to do; its kernel may be newer.
SUITE = "VIPDRILL_KERNEL_SUITE"
# Debian builds it for these.
MACHINES = ("x86_64",)
MODULES = "usr/lib/uml/modules"
PROGRAM = "usr/bin/linux.uml"

# What is unpacked is not installed, so that it came to be is noted here as dpkg would.
_NOTE_VERSIONS = (
    'for deb in "$1"/var/cache/apt/archives/*.deb; do'
    ' dpkg-deb --field "$deb" Package Version; echo "Status: install ok installed"; echo;'
    ' done > "$1/var/lib/dpkg/status"'
)

# Of the modules those that a host in a network can need, with all that they need themselves.
_KEPT = (
    "net/(802|8021q|bridge|core|ipv4|ipv6|key|l2tp|llc|mpls|netfilter|netlink|nsh|packet|psample|sched|tls|unix|xfrm)/"
    "|drivers/net/([^/]*|(bonding|ipvlan|team|vxlan)/.*)[.]ko:"
    "|fs/(overlayfs|fuse)/|crypto/|lib/"
)
_FINISH = f"""
set -e
cd {MODULES}/*
grep -E '^kernel/({_KEPT})' modules.dep > kept.dep
tr -s ': ' '\\n' < kept.dep | sort -u | grep . > kept
sed -n 's/:.*//p' modules.dep | grep -v -F -x -f kept | xargs rm -f
mv kept.dep modules.dep
rm -f kept
cd - > /dev/null
rm -rf usr/share usr/lib/x86_64-linux-gnu/gconv usr/lib/x86_64-linux-gnu/audit usr/sbin var/lib/apt var/cache
rm -rf etc dev/* tmp
mkdir -p bin proc sys dev run tmp etc root node log
chmod 1777 tmp
for name in lib lib64; do ln -s usr/$name $name; done
for name in sh mount; do ln -s ../usr/bin/busybox bin/$name; done
"""


@dataclass(frozen=True)
class KernelSpec:
    """The kernel to be had. It is of one release for all node images, of whatever release they are."""

    suite: str = field(default_factory=lambda: os.environ.get(SUITE) or "trixie")
    packages: tuple[str, ...] = ("user-mode-linux", "busybox-static", "catatonit")

    def __post_init__(self) -> None:
        machine = os.uname().machine
        if machine not in MACHINES:
            raise MissingCapability(
                f"there is no User-Mode Linux for processors of the kind {machine}",
                f"nodes with a kernel of their own need one of: {', '.join(MACHINES)}",
            )

    @property
    def title(self) -> str:
        """What a person calls it."""
        return "kernel image"

    @property
    def options(self) -> list[str]:
        """The options of mmdebstrap that decide the content."""
        return ["--variant=extract", "--components=main", f"--extract-hook={_NOTE_VERSIONS}"]

    @property
    def finish(self) -> str:
        """The script that trims it."""
        return _FINISH

    @property
    def key(self) -> str:
        """The content address: `kernel-`, suite and a short hash."""
        return f"kernel-{self.suite}-{content_address(self)}"


def release(rootfs: Path) -> str:
    """The release of the kernel in an image, as uname(1) tells it."""
    return next((rootfs / MODULES).iterdir()).name
