"""The fake site: whatever is asked for is there, until it shuts down, which its health checks are to see."""

from __future__ import annotations

from typing import Any

import pytest

from harness.services.fake_http import Request
from harness.services.fake_site import Site

NOTHING: Any = None


def ask(site: Site, target: str) -> tuple[int, bytes]:
    """Status and body of what it answers."""
    answer = site.answer(Request("GET", target, "any.example", True, 0), NOTHING)
    return answer.status, answer.body


def test_every_path_is_well() -> None:
    site = Site(NOTHING, "m1", {"health": ["/ready"]})
    assert {ask(site, path) for path in ("/", "/ready", "/a/b?c=d")} == {(200, b"ok\n")}


@pytest.mark.parametrize(("target", "count"), [("/echo", 2), ("/echo?bytes=5", 5), ("/echo?bytes=x", 2)])
def test_as_many_bytes_as_are_asked_for(target: str, count: int) -> None:
    assert ask(Site(NOTHING, "m1", {}), target) == (200, b"x" * count)


def test_a_shutdown_shows_on_the_paths_of_health_checks_only() -> None:
    site = Site(NOTHING, "m1", {"health": ["/ready"]})
    site.shutdown_begins()
    assert ask(site, "/ready?verbose")[0] == 503
    assert ask(site, "/")[0] == 200
