"""Illnesses of a fake server, as curl on another node sees them."""

from __future__ import annotations

import pytest

from checks.selftest.fault_beds import NewTestbed, lives, pair
from harness import faults
from harness.errors import UsageError
from harness.testbed import Testbed

_OK, _REFUSED, _TIMEOUT, _TLS, _RESET = 0, 7, 28, 35, 56
_CERTIFICATE = 60


@pytest.fixture
def bed(new_testbed: NewTestbed) -> Testbed:
    """A fake master, and a client that looks at it."""
    return new_testbed(pair())


def ask(
    bed: Testbed, path: str = "/readyz", *, check: bool = False, patience_s: float = 0.4
) -> tuple[int, str]:
    """curl's exit status and the HTTP status it got."""
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", str(patience_s)]
    words += ["--cacert", "/tmp/ca.pem"] if check else ["-k"]
    to = ["--resolve", "api.cluster.test:6443:10.0.0.3", f"https://api.cluster.test:6443{path}"]
    done = bed.node("cl").status([*words, *to])
    return done.status, done.stdout


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("backend-refuse", (_REFUSED, "000")),
        ("backend-blackhole", (_TIMEOUT, "000")),
        ("backend-hang,stage=accept", (_TIMEOUT, "000")),
        ("backend-hang:m1/master", (_TIMEOUT, "000")),
        ("backend-slow,delay_s=2", (_TIMEOUT, "000")),
        ("backend-close,stage=request", (_RESET, "000")),
        ("backend-reset,stage=request", (_RESET, "000")),
        ("backend-status", (_OK, "500")),
        ("backend-status:member,status=503,paths=/readyz+/x", (_OK, "503")),
        ("backend-plain", (_TLS, "000")),
        ("backend-status,paths=/elsewhere", (_OK, "200")),
    ],
)
def test_a_member_is_ill_and_well_again(bed: Testbed, written: str, seen: tuple[int, str]) -> None:
    assert ask(bed) == (_OK, "200")
    with faults.parse(written, bed):
        assert ask(bed) == seen
    assert ask(bed) == (_OK, "200")
    assert list(lives(bed).values()) == [["inject", "effective", "heal", "healed"]]


@pytest.mark.parametrize("kind", ["expired", "untrusted", "wrong-name"])
def test_a_bad_certificate_is_shown(bed: Testbed, kind: str) -> None:
    bed.node("cl").write("/tmp/ca.pem", (bed.pki() / "ca.pem").read_bytes())
    assert ask(bed, check=True) == (_OK, "200")
    with faults.parse(f"backend-badcert,kind={kind}", bed):
        assert ask(bed, check=True)[0] == _CERTIFICATE
        assert ask(bed) == (_OK, "200")
    assert ask(bed, check=True) == (_OK, "200")


def test_connections_beyond_the_limit_wait(bed: Testbed) -> None:
    with faults.parse("backend-limit,connections=1", bed):
        watch = ["curl", "-skN", "-m", "5", "https://10.0.0.3:6443/api/v1/pods?watch=true"]
        holder = bed.node("cl").spawn("holder", watch)
        accepted = lambda: bed.recorder.timeline.first("access", path="/api/v1/pods")  # noqa: E731
        bed.recorder.wait(lambda: accepted() is not None, 5, "the one connection")
        assert ask(bed) == (_TIMEOUT, "000")
        holder.signal(9)
        holder.reap(wait=True)
        assert ask(bed, patience_s=5) == (_OK, "200")
    assert ask(bed) == (_OK, "200")


def test_flapping_follows_its_period(bed: Testbed) -> None:
    """Beginnings and ends lie where the period puts them; the engine's timers count whole milliseconds."""
    with faults.parse("backend-flap,period_s=0.4,ill_percent=25", bed) as fault:
        timeline, count = bed.recorder.timeline, 11
        bed.recorder.wait(
            lambda: len(timeline.of("note", node="m1", id=fault.id)) >= count, 30, "five periods"
        )
    notes = timeline.of("note", node="m1", id=fault.id)[:count]
    assert [note.state for note in notes] == ["ill", "well"] * 5 + ["ill"]
    due = [n // 2 * 0.4 + n % 2 * 0.1 for n in range(len(notes))]
    late_ms = [(note.t - fault.injected_ns) / 1e6 - 1000 * at for note, at in zip(notes, due, strict=True)]
    assert min(late_ms) >= -0.1
    # A busy machine makes some late, never early.
    assert min(late_ms[count // 2 :]) < 5
    assert ask(bed) == (_OK, "200")


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    ("texts", "alone"),
    [
        (("backend-status,status=500", "backend-status,status=503"), ((_OK, "500"), (_OK, "503"))),
        (("backend-refuse", "backend-blackhole"), ((_REFUSED, "000"), (_TIMEOUT, "000"))),
        (("backend-refuse", "backend-refuse,established=yes"), ((_REFUSED, "000"), (_REFUSED, "000"))),
    ],
)
def test_two_illnesses_heal_in_either_order(
    bed: Testbed, first: int, texts: tuple[str, str], alone: tuple[tuple[int, str], tuple[int, str]]
) -> None:
    both = [faults.parse(text, bed) for text in texts]
    for fault in both:
        fault.inject()
    both[first].heal()
    assert ask(bed) == alone[1 - first]
    both[1 - first].heal()
    assert ask(bed) == (_OK, "200")


def test_an_illness_ends_with_its_server(bed: Testbed) -> None:
    with faults.parse("backend-status", bed):
        with faults.parse("kill:m1", bed):
            assert ask(bed)[0] == _REFUSED
        assert ask(bed) == (_OK, "200")
    assert ask(bed) == (_OK, "200")


def test_what_is_no_fake_server_cannot_be_ill(bed: Testbed) -> None:
    with pytest.raises(UsageError, match="lb1/keepalived is no fake server"):
        faults.parse("backend-refuse:lb1/keepalived", bed).inject()
    with pytest.raises(UsageError, match="takes a whole number from 100 to 599, not 42"):
        faults.check("backend-status,status=42")
