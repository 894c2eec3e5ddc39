"""Node images: content-addressed, there wholly or not at all, built once however many ask."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness import paths
from harness.errors import MissingCapability, TestbedError, UsageError
from harness.image import archive, cell, confine, fakeids, ids, mmdebstrap, store
from harness.image.ids import IdMap
from harness.image.spec import PACKAGES, ImageSpec

DEADLINE_S = 30.0
SPEC = ImageSpec("bookworm", ("keepalived",))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty image store."""
    monkeypatch.setenv("VIPDRILL_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "NEEDED_BYTES", 0)
    return paths.make_private(paths.image_dir())


def ignore(stage: str, percent: float) -> None:
    """A progress display for nobody."""


def fill(
    spec: ImageSpec, rootfs: Path, log: Path, own: IdMap, lock: int, progress: mmdebstrap.Progress
) -> None:
    """A builder that takes no time."""
    status = rootfs / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: keepalived\nStatus: install ok installed\nVersion: 1:2.2.7-1\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    log.write_text("built\n")


def visible(root: Path) -> list[str]:
    """What is in the store beside its locks."""
    return sorted(path.name for path in root.iterdir() if not path.name.startswith(store.LOCK))


# -- the content address ---------------------------------------------------------------------------


def test_key_is_that_of_the_content() -> None:
    packages = PACKAGES["trixie"]
    assert ImageSpec().key == ImageSpec("trixie").key == ImageSpec("trixie", packages).key
    assert ImageSpec("trixie", tuple(reversed(packages))).key == ImageSpec().key
    assert ImageSpec("trixie", (*packages, "tmux")).key != ImageSpec().key
    assert ImageSpec("bookworm").key.startswith("bookworm-")


def test_key_follows_the_trimming(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ImageSpec().key
    monkeypatch.setattr("harness.image.spec.FINISH", "true")
    assert ImageSpec().key != before


def test_unknown_suite_names_the_known() -> None:
    with pytest.raises(UsageError, match="unknown image suite 'lenny'; known: bookworm, sid, trixie"):
        ImageSpec("lenny")


# -- there wholly or not at all --------------------------------------------------------------------


def test_built_image_is_found_listed_and_removed(images: Path) -> None:
    assert store.find(SPEC) is None
    built = store.build(SPEC, ignore, fill)
    assert store.find(SPEC) == built == images / SPEC.key
    assert store.ensure(SPEC, ignore) == built
    (info,) = store.list_images()
    assert (info.key, info.suite, info.packages) == (SPEC.key, "bookworm", {"keepalived": "1:2.2.7-1"})
    assert info.size_bytes > 0
    store.remove(SPEC.key)
    assert visible(images) == []


def test_failed_build_leaves_nothing(images: Path) -> None:
    def fail(
        spec: ImageSpec, rootfs: Path, log: Path, own: IdMap, lock: int, progress: mmdebstrap.Progress
    ) -> None:
        (rootfs / "half").write_text("made")
        raise TestbedError("no luck")

    with pytest.raises(TestbedError, match="no luck"):
        store.build(SPEC, ignore, fail)
    assert visible(images) == []


def test_disk_that_becomes_full_is_one_sentence(images: Path) -> None:
    def fail(
        spec: ImageSpec, rootfs: Path, log: Path, own: IdMap, lock: int, progress: mmdebstrap.Progress
    ) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match=r"disk became full .* VIPDRILL_CACHE"):
        store.build(SPEC, ignore, fail)


def test_too_small_a_disk_is_known_before(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "NEEDED_BYTES", 1 << 62)
    with pytest.raises(UsageError, match=r"a node image needs .* MB are free"):
        store.build(SPEC, ignore, fill)


KILLED_BUILDER = """
import os, signal
from harness.image import store
from harness.image.spec import ImageSpec

def die(spec, rootfs, log, own, lock, progress):
    (rootfs / "half").write_text("made")
    os.kill(os.getpid(), signal.SIGKILL)

store.NEEDED_BYTES = 0
store.build(ImageSpec("bookworm", ("keepalived",)), print, die)
"""


def test_killed_build_is_no_image_and_is_swept(images: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_BUILDER], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert visible(images) == [f"{store.BUILDING}{SPEC.key}"]
    assert store.find(SPEC) is None
    assert store.list_images() == []
    assert visible(images) == []


def test_sweeping_spares_a_build_that_goes_on(images: Path) -> None:
    def sweep_meanwhile(
        spec: ImageSpec, rootfs: Path, log: Path, own: IdMap, lock: int, progress: mmdebstrap.Progress
    ) -> None:
        fill(spec, rootfs, log, own, lock, progress)
        assert store.list_images() == []
        assert rootfs.is_dir()

    assert store.build(SPEC, ignore, sweep_meanwhile).is_dir()


def test_image_of_other_ids_is_built_anew(images: Path) -> None:
    manifest = store.build(SPEC, ignore, fill) / "image.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "ids": "0:4711:1"}))
    assert store.find(SPEC) is None
    assert store.find(SPEC) != store.build(SPEC, ignore, fill) == store.find(SPEC)


# -- built once ------------------------------------------------------------------------------------


def test_second_builder_waits_and_finds_it_ready(images: Path) -> None:
    second_waits = threading.Event()
    builds: list[str] = []
    stages: list[str] = []
    found: list[Path] = []

    def second() -> None:
        def note(stage: str, percent: float) -> None:
            stages.append(stage)
            second_waits.set()

        found.append(store.build(SPEC, note, fill))

    def first(
        spec: ImageSpec, rootfs: Path, log: Path, own: IdMap, lock: int, progress: mmdebstrap.Progress
    ) -> None:
        other.start()
        assert second_waits.wait(DEADLINE_S)
        builds.append("first")
        fill(spec, rootfs, log, own, lock, progress)

    other = threading.Thread(target=second)
    built = store.build(SPEC, ignore, first)
    other.join(DEADLINE_S)
    assert found == [built]
    assert builds == ["first"]
    assert stages == ["waiting for another build of this image"]


def test_image_in_use_is_not_removed(images: Path) -> None:
    held = store.hold(store.build(SPEC, ignore, fill))
    with pytest.raises(UsageError, match="in use"):
        store.remove(SPEC.key)
    os.close(held)
    store.remove(SPEC.key)
    with pytest.raises(UsageError, match="unknown image"):
        store.remove(SPEC.key)


# -- the cell --------------------------------------------------------------------------------------


def test_cell_runs_as_root_of_its_own_namespaces(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        status, output = confine.run(["sh", "-c", "id -u; exit 3"], ids.id_map(), lock.fileno())
    assert (status, output.strip()) == (3, "0")


ORPHANED_CELL = """
import os, signal, sys
from harness.image import confine, ids

running = confine.Cell(["sh", "-c", "echo started; exec sleep infinity"], ids.id_map(), int(sys.argv[1]), {})
assert running.stdout.readline() == "started\\n"
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_cell_dies_with_its_starter_and_frees_the_lock_only_then(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-c", ORPHANED_CELL, str(lock.fileno())]
        starter = subprocess.run(command, pass_fds=[lock.fileno()], check=False, timeout=DEADLINE_S)
    assert starter.returncode == -signal.SIGKILL
    # The starter is dead and we closed the lock: only the cell can still hold it.
    assert subprocess.run(["flock", "--wait", "10", path, "true"], check=False).returncode == 0


# -- ids -------------------------------------------------------------------------------------------


def test_subordinate_ids_fill_the_map(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text("other:100000:65536\nme:200000:1000\n1000:300000:65536\n")
    assert ids._subordinate(str(table), {"me", "1000"}) == ((1, 200000, 1000), (1001, 300000, 64535))


@pytest.mark.parametrize("text", ["", "me:200000:1000\n", "other:1:65536\n", "me:x:65536\n"])
def test_too_few_subordinate_ids_are_none(tmp_path: Path, text: str) -> None:
    table = tmp_path / "subuid"
    table.write_text(text)
    assert ids._subordinate(str(table), {"me"}) == ()


def test_maps_with_the_same_owners_have_one_label() -> None:
    root = IdMap(((0, 0, 4294967295),), ((0, 0, 4294967295),), unshare=False)
    planned = IdMap(((0, 1000, 1), (1, 100000, 65536)), ((0, 1000, 1),), unshare=True)
    entered = IdMap(((0, 1000, 1), (1, 100000, 65535)), ((0, 1000, 1),), unshare=False)
    assert root.label == "0:0:65536"
    assert planned.label == entered.label == "0:1000:1,1:100000:65535"
    assert planned.complete
    assert not IdMap(((0, 1000, 1),), ((0, 1000, 1),), unshare=True).complete


@pytest.mark.parametrize("machine", fakeids.ARCHITECTURES)
def test_filter_answers_changes_of_owner_only(machine: str) -> None:
    audit, numbers = fakeids.ARCHITECTURES[machine]
    answers = {number: run_filter(fakeids.program(machine), audit, number) for number in range(512)}
    assert {number for number, answer in answers.items() if answer == fakeids.ANSWER_ZERO} == set(numbers)
    assert set(answers.values()) == {fakeids.ANSWER_ZERO, fakeids.ALLOW}
    assert run_filter(fakeids.program(machine), 0x40000003, numbers[0]) == fakeids.ALLOW


def run_filter(program: bytes, audit: int, number: int) -> int:
    """What the kernel would answer: an interpreter for the three instructions that are used."""
    data = {fakeids.ARCH_OFFSET: audit, fakeids.NUMBER_OFFSET: number}
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = steps[position]
        position += 1
        if code == fakeids.RETURN:
            return int(operand)
        if code == fakeids.LOAD_WORD:
            accumulator = data[operand]
        else:
            assert code == fakeids.JUMP_IF_EQUAL
            position += if_true if accumulator == operand else if_false


# -- mmdebstrap's output ---------------------------------------------------------------------------


def test_progress_only_grows() -> None:
    seen: list[tuple[str, float]] = []
    meter = mmdebstrap.Meter(lambda stage, percent: seen.append((stage, percent)))
    for line in (
        "I: running apt-get update...",
        "Get:1 http://example.org trixie InRelease [1 kB]",
        "I: downloading packages with apt...",
        "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
        "Get:1 http://example.org trixie/main amd64 dpkg",
        "Get:2 http://example.org trixie/main amd64 bash",
        "I: installing remaining packages inside the chroot...",
        "0 upgraded, 1 newly installed, 0 to remove and 0 not upgraded.",
        "Unpacking keepalived (1:2.3.3-1) ...",
        "Setting up keepalived (1:2.3.3-1) ...",
        "I: cleaning package lists and apt cache...",
    ):
        meter.feed(line)
    percents = [percent for _, percent in seen]
    assert percents == sorted(percents)
    assert percents[-1] == 98.0
    assert len({stage for stage, _ in seen}) == 4


@pytest.mark.parametrize(
    ("status", "output", "kind", "text"),
    [
        (cell.CELL_FAILED, "cell: a user namespace cannot be made\n", MissingCapability, "user namespace"),
        (25, "dpkg: error: No space left on device\n", UsageError, "disk became full"),
        (25, "E: Unable to locate package haproxi\n", UsageError, "no package 'haproxi'"),
        (25, "W: NO_PUBKEY 0E98404D386FA1D9\n", MissingCapability, "debian-archive-keyring"),
        (25, "Err:1 x trixie\n  Could not resolve 'x'\n", MissingCapability, "Could not resolve 'x'"),
        (25, "I: start\nE: setup failed\n", TestbedError, "status 25: E: setup failed"),
    ],
)
def test_failure_is_told_in_a_sentence(
    tmp_path: Path, status: int, output: str, kind: type[Exception], text: str
) -> None:
    log = tmp_path / "build.log"
    error = mmdebstrap.explain(output, status, SPEC, log)
    assert type(error) is kind
    assert text in str(error)
    assert "\n" not in str(error)


def test_mirror_can_be_named_or_left_to_mmdebstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIPDRILL_MIRROR", "http://mirror.example/debian")
    assert archive.sources("sid") == ["deb http://mirror.example/debian sid main"]
    assert len(archive.sources("trixie")) == 2
    monkeypatch.setenv("VIPDRILL_MIRROR", "")
    assert archive.sources("trixie") == []


# -- places ----------------------------------------------------------------------------------------


def test_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIPDRILL_CACHE", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert paths.cache_dir() == Path("/home/me/.cache/vipdrill")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache/me")
    assert paths.cache_dir() == Path("/var/cache/me/vipdrill")


def test_unusable_cache_names_the_cure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="set VIPDRILL_CACHE"):
        paths.make_private(tmp_path / "file" / "images")


@pytest.mark.smoke
def test_default_image_is_there_and_reads_no_default_configuration() -> None:
    image = store.find(ImageSpec())
    assert image is not None
    (info,) = (info for info in store.list_images() if info.path == image)
    assert info.packages.keys() >= {"keepalived", "haproxy", "nginx", "ipvsadm", "bird2", "tcpdump"}
    rootfs = image / "rootfs"
    for mountpoint in ("proc", "sys", "dev", "run", "tmp", "vipdrill"):
        assert list((rootfs / mountpoint).iterdir()) == []
    for absent in ("keepalived/keepalived.conf", "haproxy/haproxy.cfg", "nginx/nginx.conf", "bird/bird.conf"):
        assert not (rootfs / "etc" / absent).exists()
