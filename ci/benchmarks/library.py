"""pyroute2 beside our own netlink encoder: what importing it costs, and what the same six-host lab does."""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from ci.benchmarks import floor, lab
from ci.benchmarks.figure import Figure, floors, interleaved, spread
from ci.benchmarks.network import HOSTS, drop, engine_network, timed_until_pings
from ci.benchmarks.options import Options
from harness.kernel import namespaces
from harness.kernel import syscalls as sc

INSIDE_BUBBLE = True


def _import_ms(modules: str) -> float:
    """What an import adds to the start of an interpreter."""
    code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(said.stdout) * 1e3


def pyroute2_network() -> list[int]:
    """The lab by pyroute2 at its cheapest: no `netns` module, one socket for each namespace.

    A pyroute2 socket that is used from another thread opens itself again in that thread's namespace,
    so one thread does it all, and it starts from a namespace of its own, never from the host's.
    """
    return namespaces.submit_fresh(sc.CLONE_NEWNET, _by_pyroute2).result()


def _by_pyroute2() -> list[int]:
    from pyroute2 import IPRoute

    made = [floor.new_namespace() for _ in range(HOSTS + 1)]
    floor.enter(made[0])
    with IPRoute() as hub:
        hub.link("add", kind="bridge", ifname="lan", index=100, state="up")
        for number, netns in enumerate(made[1:], 1):
            hub.link(
                "add",
                kind="veth",
                ifname=f"p{number}",
                index=1000 + number,
                state="up",
                master=100,
                peer={"ifname": "eth0", "net_ns_fd": netns},
            )
        for number, netns in enumerate(made[1:], 1):
            floor.enter(netns)
            with IPRoute() as route:
                index = route.link_lookup(ifname="eth0")[0]
                route.link("set", index=1, state="up")
                route.link("set", index=index, state="up")
                route.addr("add", index=index, address=lab.address(number), prefixlen=16)
        ports = {1000 + number for number in range(1, HOSTS + 1)}
        while ports:
            ports -= {link["index"] for link in hub.get_links() if link.get("operstate") == "UP"}
    return made


def measure(options: Options) -> list[Figure]:
    """Import times, then the lab, ours and pyroute2's taking turns."""
    ours_import, its_import = interleaved(
        options.repeats(5),
        lambda: _import_ms("harness.fabric.netlink, harness.fabric.rtnl"),
        lambda: _import_ms("pyroute2"),
    )
    began = time.perf_counter()
    drop(pyroute2_network())  # its first use compiles its message classes
    first_ms = (time.perf_counter() - began) * 1e3
    ours, its = interleaved(
        options.repeats(9),
        lambda: timed_until_pings(lambda: engine_network(lab.hosts(HOSTS))),
        lambda: timed_until_pings(pyroute2_network),
    )
    return [
        Figure(
            "import of our netlink encoder",
            median(ours_import),
            "ms",
            median(its_import),
            "import of pyroute2",
            floors(1),
            spread(ours_import),
        ),
        Figure(
            "6 hosts by our netlink encoder",
            median(ours),
            "ms",
            median(its),
            f"the same by pyroute2, {first_ms:.0f} ms the first time",
            floors(1),
            spread(ours),
        ),
    ]
