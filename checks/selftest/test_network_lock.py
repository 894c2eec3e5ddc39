"""Who waits for the kernel's lock on addresses and links is told of."""

from __future__ import annotations

import os
import time

from checks.selftest.agents import PATIENCE_S, inside_network
from harness.fabric import rtnl
from harness.fabric.netlink import RouteSocket
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.observe.lateness import LAG_TOLD_NS, LOOK_NS
from harness.observe.network_lock import NetworkLock

_PAIRS = 150


def many_links() -> int:
    """A network namespace whose end keeps the lock for long."""

    def make() -> int:
        route = RouteSocket()
        for pair in range(_PAIRS):
            index = 10 + 2 * pair
            route.send(rtnl.veth_here(f"a{pair}", index, f"b{pair}", index + 1, 1500, "make links"))
        route.close()
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return namespaces.submit_fresh(sc.CLONE_NEWNET, make).result()


def test_a_lock_that_is_held_is_told_from_when_it_was_last_free() -> None:
    began = time.monotonic_ns()
    lock = inside_network(NetworkLock)
    try:
        told: list[tuple[int, int]] = []
        while not told:
            assert time.monotonic_ns() < began + PATIENCE_S * 1e9
            os.close(many_links())
            told += lock.waits()
        for ended, waited in told:
            assert began < ended <= time.monotonic_ns()
            assert LOOK_NS + LAG_TOLD_NS <= waited <= ended - began
    finally:
        lock.close()
