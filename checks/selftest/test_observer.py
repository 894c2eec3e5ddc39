"""The observer's loop, without a testbed."""

from __future__ import annotations

import os
import select

from harness.eventpipe import EventWriter
from harness.observe.observer import Observer
from harness.observe.run_queue import RunQueue


def test_who_gets_a_closed_descriptor_s_number_is_not_taken_for_it() -> None:
    """A node is unwatched and a process followed in the very round in which the node had news."""
    told, out = os.pipe()
    news, source = os.pipe()
    observer = Observer.__new__(Observer)
    observer._out, observer._waits = EventWriter(out), RunQueue()
    observer._handlers, observer._epoll = {}, select.epoll()

    def command() -> None:
        observer._drop(news)
        os.close(news)
        observer._follow("lb1/haproxy", os.getpid())

    observer._add(told, command)
    observer._add(news, lambda: None)
    observer._serve([told, news])
    assert not observer._out.pending
    assert news in observer._handlers, "the process's descriptor has another number"
    for fd in (told, out, news, source):
        os.close(fd)
