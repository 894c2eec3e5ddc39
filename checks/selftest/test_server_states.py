"""What HAProxy says of its servers is told once for each change, in whichever of its two forms it comes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from harness.fabric import rtnl
from harness.observe.server_states import ServerStates, parse

DOWN = (
    b'Server api-members/m1 is DOWN, reason: Layer4 timeout, info: "x, y", check duration: 1001ms. '
    b"2 active and 0 backup servers left."
)


class Told:
    """Stands for the event pipe."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def emit(self, _t: int, kind: str, **fields: Any) -> None:
        """Keep an event."""
        self.events.append((kind, fields))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (DOWN, ("api-members", "m1", False, 'Layer4 timeout, info: "x, y"')),
        (b"[WARNING]  (8) : " + DOWN, ("api-members", "m1", False, 'Layer4 timeout, info: "x, y"')),
        (b"Server a/b is UP, reason: Layer7 check passed, code: 200, check duration: 6ms.",
         ("a", "b", True, "Layer7 check passed, code: 200")),
        (b"Server a/b is DOWN for maintenance.", ("a", "b", False, "")),
        (b"Server a/b is UP (leaving forced maintenance).", ("a", "b", True, "")),
        (b"Server a/b is going DOWN for maintenance.", None),
        (b"backend a has no server available!", None),
        (b"Server \xff\xfe", None),
    ],
)  # fmt: skip
def test_a_line_of_the_log(line: bytes, found: object) -> None:
    assert parse(line) == found


def test_a_change_is_told_once_though_its_line_comes_twice_and_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "haproxy.log"
    log.write_bytes(DOWN + b"\n")
    told = Told()
    states = ServerStates(told, "lb1/haproxy", str(log), log.stat().st_size)  # type: ignore[arg-type]
    with io.FileIO(os.open(log, os.O_WRONLY | os.O_APPEND), "a") as write:
        for piece in (b"Server api-members/m1 is", DOWN[24:] + b"\n", b"[WARNING] (8) : " + DOWN + b"\n"):
            write.write(piece)
            states.readable()
    [(kind, fields)] = told.events
    assert kind == "health"
    assert (fields["node"], fields["pool"], fields["server"], fields["up"]) == (
        "lb1",
        "api-members",
        "m1",
        False,
    )


def test_a_neighbour_without_a_hardware_address_is_not_known() -> None:
    def body(state: int, family: int = 2) -> bytes:
        return (
            bytes([family, 0, 0, 0, 7, 0, 0, 0, state, 0, 0, 0])
            + b"\x08\0\x01\0\x0a\0\0\x64"
            + b"\x0a\0\x02\0\x02\0\0\0\0\x06\0\0"
        )

    assert rtnl.parse_neighbour(body(2)) == (7, "10.0.0.100", "02:00:00:00:00:06")
    assert rtnl.parse_neighbour(body(0x20)) == (7, "10.0.0.100", "")
    assert rtnl.parse_neighbour(body(0x40)) is None
    assert rtnl.parse_neighbour(body(2, family=17)) is None
