"""Workers of pytest-xdist that are no children of the run: over ssh, in bubbles of their own machines.

            net 10.9.0.0/24
ctl .1 ───────┬──────────┬─────── w1 .11   sshd; its sessions see this machine's files
pytest        └──────────┴─────── w2 .12
"""

from __future__ import annotations

import ctypes
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.patience import ENDS_S
from checks.selftest.test_plugin import Repository
from harness import bubble, paths
from harness.image import store
from harness.image.spec import ImageSpec
from harness.nodes.netns import NetnsNode
from harness.testbed import Testbed
from harness.topology import Interface, NodeSpec, Segment, Topology

_VENV = Path(sys.executable).parent
_WORKERS = {"w1": "10.9.0.11", "w2": "10.9.0.12"}
_ROOT = Path(__file__).resolve().parents[2]
_SSHD = """\
ListenAddress {address}
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
ForceCommand /usr/local/bin/enter
"""
# As on another machine its root is the root: a chroot would be left with the first setns(2).
_ENTER = """\
#!/bin/sh
export ORIGINAL="cd && $SSH_ORIGINAL_COMMAND"
exec unshare --mount --propagation private /bin/sh -c '
    cd /host && pivot_root . . && umount -l . && exec /usr/bin/env -i HOME={home} LANG=C.UTF-8 \\
    PATH=/usr/sbin:/usr/bin:/sbin:/bin VIPDRILL_CACHE={cache} PYTHONPATH={root} /bin/sh -c "$ORIGINAL"'
"""
_SUITE = """
    import os, platform, pytest

    @pytest.mark.testbed("vip-l7", advert_int=0.1)
    @pytest.mark.parametrize("fault", ["stop", "kill"])
    def test_drill(drill, judge, fault):
        drill.steady()
        drill.strike(fault)
        drill.watch(0.5)
        drill.finish()
        judge()

    @pytest.mark.parametrize("n", range(6))
    def test_plain(n):
        pass

    @pytest.fixture(autouse=True)
    def where(record_property):
        assert os.environ["VIPDRILL_BUBBLE"] == os.readlink("/proc/self/ns/pid")
        record_property("where", platform.node())
        record_property("bubble", os.environ["VIPDRILL_BUBBLE"])
        record_property("seed", os.environ["VIPDRILL_SEED"])
"""

# open_tree(2) and move_mount(2); the numbers are those of every architecture.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429
_CLONE_RECURSIVE, _FROM_DESCRIPTOR = 0x1 | 0x8000 | os.O_CLOEXEC, 0x4
_libc = ctypes.CDLL(None, use_errno=True)


def _show_our_files(node: NetnsNode) -> None:
    """Mount this bubble's whole tree to /host in a node."""

    def checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    tree = checked(_libc.syscall(_SYS_OPEN_TREE, -100, b"/", _CLONE_RECURSIVE))

    def attach() -> None:
        os.makedirs("/host", exist_ok=True)
        checked(_libc.syscall(_SYS_MOVE_MOUNT, tree, b"", -100, b"/host", _FROM_DESCRIPTOR))

    try:
        node._inside(attach)
    finally:
        os.close(tree)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Testbed]:
    """A controller's machine, and two with sshd."""
    if shutil.which("ssh") is None or shutil.which("nsenter") is None:
        pytest.skip("this machine has no ssh client, or no nsenter")
    image = store.ensure(ImageSpec("trixie", ("openssh-server", "catatonit")), lambda *_: None)
    nodes = {"ctl": "10.9.0.1", **_WORKERS}
    topology = Topology(
        "machines",
        {},
        (Segment("net"),),
        tuple(
            NodeSpec(name, "client", (Interface("eth0", "net", (f"{address}/24",)),))
            for name, address in nodes.items()
        ),
        (),
        (),
    )
    testbed = Testbed(topology, image / "rootfs", tmp_path / "machines")
    try:
        testbed.build_network()
        yield testbed
    finally:
        testbed.close()


def _serve_ssh(testbed: Testbed, folder: Path) -> Path:
    """sshd on the workers; the client's configuration for them."""
    ctl = testbed.node("ctl")
    ctl.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/key"])
    key = folder / "key"
    key.write_bytes(ctl.read("/key"))
    key.chmod(0o600)
    enter = _ENTER.format(home=folder / "home", cache=paths.cache_dir(), root=_ROOT)
    (folder / "home").mkdir()
    lines = [f"IdentityFile {key}", "User root", "StrictHostKeyChecking no", "UserKnownHostsFile /dev/null"]
    lines += ["LogLevel ERROR", "IdentityAgent none"]
    for name, address in _WORKERS.items():
        node = testbed.node(name)
        _show_our_files(node)
        node.write("/etc/ssh/authorized", ctl.read("/key.pub"))
        node.write("/etc/ssh/vipdrill.conf", _SSHD.format(address=address))
        node.write("/usr/local/bin/enter", enter, 0o755)
        node.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/host_key"])
        node.run(["mkdir", "-p", "/run/sshd"])
        node.run(["/usr/sbin/sshd", "-f", "/etc/ssh/vipdrill.conf"])
        lines += [f"Host {name}", f"    HostName {address}"]
    config = folder / "ssh_config"
    config.write_text("\n".join(lines) + "\n")
    return config


def test_two_workers_over_ssh_share_one_run(machines: Testbed, tmp_path: Path) -> None:
    config = _serve_ssh(machines, tmp_path)
    (tmp_path / "repository").mkdir()
    repository = Repository(tmp_path / "repository")
    repository.write(_SUITE)
    python = f"{_VENV / 'vipdrill'} bubble -- {sys.executable}"
    remote = [f"--tx=ssh={name}//ssh_config={config}//python={python}" for name in _WORKERS]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-d",
        *remote,
        "--rsyncdir=.",
        "--junit-xml=junit.xml",
        str(repository.folder / "test_mine.py"),
    ]
    command += ["--vipdrill-seed=11", f"--vipdrill-artifacts={tmp_path / 'artifacts'}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("VIPDRILL_", "PYTEST_"))}
    environment["VIPDRILL_CACHE"] = str(paths.cache_dir())
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{machines.node('ctl').init_pid}/ns/net", "--", *command],
        cwd=repository.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b8 passed", done.stdout)
    told: dict[str, set[str]] = {}
    for entry in repository.junit().iter("property"):
        told.setdefault(str(entry.get("name")), set()).add(str(entry.get("value")))
    assert told["where"] == {"w1", "w2"}
    assert len(told["bubble"]) == 2
    assert os.environ.get("VIPDRILL_BUBBLE") not in told["bubble"]
    assert told["seed"] == {"11"}
    assert "vip-migration: takeover / stop of the active" in done.stdout
    assert "vip-migration: takeover / kill of the active" in done.stdout


def test_a_worker_without_a_bubble_is_told_how_to_get_one(repository_outside: Repository) -> None:
    python = shlex.join([sys.executable])
    done = repository_outside.run("-d", f"--tx=popen//python=env -u VIPDRILL_BUBBLE {python}", "test_mine.py")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "vipdrill bubble -- python3" in done.stdout


@pytest.fixture
def repository_outside(tmp_path: Path) -> Repository:
    """A repository with one drill."""
    repository = Repository(tmp_path)
    repository.write(
        """
        import pytest

        @pytest.mark.testbed("vip-l7")
        def test_drill(testbed):
            pass
        """
    )
    assert bubble.inside()
    return repository
