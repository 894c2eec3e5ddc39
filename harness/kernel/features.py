"""What the host's kernel has of what a node may need, tried in the kind of namespaces that nodes live in.

A feature goes by the name of its module (`ip_vs`, `ip_vs_mh`, `sch_netem`, `vrf`), whether it is a module
or built in.  Having it is not enough: an ordinary user's namespace may not be allowed to use it (IPVS is
for the host's own administrator), so it is used.

Nothing is loaded: a kernel that would load a module because we ask is not asked, as the host stays as it
is; then the cure is to load it.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from harness import world
from harness.errors import VipdrillError
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.kernel.trial import in_namespaces

GUEST_MODPROBE = "/run/vipdrill/modprobe"
_MODULES = Path("/lib/modules")
# Kinds of links by the modules that make them.
_LINKS = {"8021q": "vlan"} | {kind: kind for kind in ("veth", "vrf", "dummy", "vxlan", "ipip", "macvlan")}


@lru_cache
def lack(name: str) -> str:
    """Why nodes cannot have a feature of the host's kernel, in words; '' if they can."""
    if world.virtual():  # the host is a guest of ours, whose kernel may load what it has
        subprocess.run([GUEST_MODPROBE, "-q", "--", name], check=False)
    state = _state(name)
    if state == "loadable":
        return f"the host's kernel could have {name} but has not loaded it (as root: modprobe {name})"
    refused = _refusal(partial(_use, name))
    if not refused:
        return ""
    if state == "there":
        who = "root" if os.geteuid() == 0 else "an ordinary user"
        return f"the host's kernel has {name}, but it cannot be used by {who} in a namespace ({refused})"
    return f"the host's kernel has no {name}"


def _state(name: str) -> str:
    """`there` for what is loaded or known to be built in, `loadable` for what lies ready, else `unknown`."""
    if Path("/sys/module", name.replace("-", "_")).exists():
        return "there"
    folder = _MODULES / os.uname().release
    for index, state in (("modules.builtin", "there"), ("modules.dep", "loadable")):
        try:
            lines = (folder / index).read_text().splitlines()
        except OSError:
            continue
        if any(_module_of(line) == name.replace("-", "_") for line in lines):
            return state
    return "unknown"


def _module_of(line: str) -> str:
    """`kernel/net/netfilter/ipvs/ip_vs.ko.xz: ...` as `ip_vs`."""
    return line.partition(":")[0].rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def _refusal(work: Callable[[], None]) -> str | None:
    """Do work in a fresh network namespace, of the kind that nodes have; why it failed, or None."""
    from harness import bubble

    if not bubble.inside():
        return in_namespaces(lambda: _in_fresh_network(work))
    # There are threads in a run, so there is no forking; it has the very namespaces already.
    try:
        namespaces.submit_fresh(sc.CLONE_NEWNET, work).result()
    except (OSError, VipdrillError) as error:
        return (error.strerror if isinstance(error, OSError) else "") or str(error)
    return None


def _in_fresh_network(work: Callable[[], None]) -> None:
    sc.unshare(sc.CLONE_NEWNET)
    work()


def _use(name: str) -> None:
    """Use a feature in the calling thread's network namespace; raises OSError if that cannot be."""
    if name.startswith("ip_vs"):
        _use_ipvs()
    if name == "sch_netem":
        _use_netem()
    elif name in _LINKS:
        _make_link(_LINKS[name])
    elif name != "ip_vs" and _state(name) != "there":
        raise OSError(0, f"no {name}")


def _use_ipvs() -> None:
    """Ask IPVS for its version, as keepalived and ipvsadm do first (genetlink, IPVS_CMD_GET_INFO)."""
    from harness.kernel.genetlink import ask, family

    get_info = 15
    ask(family("IPVS"), get_info)


def _use_netem() -> None:
    from harness.fabric.netlink import RouteSocket
    from harness.fabric.queues import has_netem

    if not has_netem(RouteSocket()):
        raise OSError(0, "no netem")


def _make_link(kind: str) -> None:
    """Make a link of a kind that needs nothing beside, as far as it can be asked whether there is one."""
    from harness.fabric.netlink import NLM_F_CREATE, NLM_F_EXCL, Request, RouteSocket, attribute

    info_kind, info_data, nested = 1, 2, 0x8000
    details = {
        "vlan": attribute(1, struct.pack("=H", 2)),
        "vrf": attribute(1, 10),
        "vxlan": attribute(1, 1),
        "macvlan": attribute(1, 4),
    }
    info = attribute(info_kind, kind)
    if kind in details:
        info += attribute(info_data | nested, details[kind])
    lower = attribute(5, 1) if kind in {"vlan", "macvlan"} else b""
    body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(3, "probe0") + lower
    request = Request(16, NLM_F_CREATE | NLM_F_EXCL, body + attribute(18 | nested, info), f"make a {kind}")
    RouteSocket().send([request])
