"""When a crashed host really fell silent: the moment at which the kernel shut its port of the segment.

A fault is stamped before it begins to act, and with neighbours that build and free networks all the time
the kernel may let it wait for its turn (the RTNL lock), so that stamp would blame the takeover for it.
"""

from __future__ import annotations

import threading
import time
from functools import partial

from harness.fabric import rtnl
from harness.fabric.netlink import RouteSocket, messages
from harness.kernel import namespaces
from harness.kernel import syscalls as sc
from harness.testbed import Testbed


class SilenceWitness:
    """Notes when a node's first port stops forwarding; to be made before the fault."""

    def __init__(self, bed: Testbed, node: str) -> None:
        self._index = bed.fabric.ports_of(node)[0].index
        make_socket = partial(RouteSocket, rtnl.RTMGRP_LINK)
        self._events = namespaces.inside(bed.hub.netns, sc.CLONE_NEWNET, make_socket)
        self._silent_ns = 0
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._silent_ns:
            for kind, _, _, body in messages(self._events.socket.recv(1 << 17)):
                index, forwards = rtnl.parse_port(body)
                if kind == rtnl.RTM_NEWLINK and index == self._index and not forwards:
                    self._silent_ns = time.monotonic_ns()
                    return

    def moment_ns(self) -> int:
        """That moment; raises TimeoutError if it did not come."""
        self._thread.join(5)
        if not self._silent_ns:
            raise TimeoutError("the crashed host's port was not shut")
        self._events.close()
        return self._silent_ns
