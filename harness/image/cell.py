"""Run one command as root of namespaces that die with whoever started them.

    python cell.py MAP -- COMMAND...

MAP is JSON: `{"unshare": bool, "uids": [[inside, outside, count]...], "gids": [...], "fake": bool,
"alive": fd}`; `alive` reads end of file once the starter is gone, `fake` installs `fakeids`.
The command gets its own PID and mount namespaces, and a user namespace with the map where
`unshare` says so.  When the starter dies, by SIGKILL too, the kernel ends every process in the
cell and every mount goes with them; the lock that the starter passed on is free only then.

This runs as a script in a fresh interpreter, so that forking is safe whatever threads the starter
has; beside the standard library it imports its sibling `fakeids` only.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID = 0x20000, 0x10000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

# Distinct from any status of mmdebstrap or a shell: the cell itself could not be made.
CELL_FAILED = 97

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError with the C library's errno if `result` is not 0."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent(alive: int) -> None:
    """Ask for SIGKILL at the parent's death; `alive` is a pipe that the parent's death closes."""
    check(libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if select.select([alive], [], [], 0)[0]:
        os._exit(CELL_FAILED)


def enter_user_namespace(uids: list[list[int]], gids: list[list[int]]) -> None:
    """Unshare the user namespace and have a helper outside write its id maps."""
    pid = os.getpid()
    unshared_read, unshared_write = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(unshared_write)
        os._exit(_write_maps(pid, uids, gids) if os.read(unshared_read, 1) else 1)
    os.close(unshared_read)
    check(libc.unshare(CLONE_NEWUSER), "a user namespace cannot be made")
    os.write(unshared_write, b"u")
    if os.waitpid(helper, 0)[1] != 0:
        raise OSError(0, "the id map of the user namespace cannot be set")


def _write_maps(pid: int, uids: list[list[int]], gids: list[list[int]]) -> int:
    """Write the maps of `pid`, through newuidmap(1) if they hold more than the caller's own id."""
    if len(uids) > 1:
        for tool, entries in (("newuidmap", uids), ("newgidmap", gids)):
            numbers = [str(number) for entry in entries for number in entry]
            if os.spawnvp(os.P_WAIT, tool, [tool, str(pid), *numbers]) != 0:
                return 1
        return 0
    process = Path(f"/proc/{pid}")
    (process / "setgroups").write_text("deny")
    (process / "gid_map").write_text(" ".join(map(str, gids[0])))
    (process / "uid_map").write_text(" ".join(map(str, uids[0])))
    return 0


def run_as_init(command: list[str], fake: bool) -> NoReturn:
    """As process 1: own mounts, the command, and the reaping of whatever it leaves."""
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mounts cannot be made private")
    # Not possible where parts of /proc are hidden (unprivileged containers); builds work without.
    libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
    if fake:
        # The sibling file: a script's own folder is on its module path.
        importlib.import_module("fakeids").install()
    os.umask(0o022)
    child = os.fork()
    if child == 0:
        os.execvp(command[0], command)
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main(argv: list[str]) -> int:
    """Make the namespaces, run the command in them, and return its exit status."""
    options: dict[str, Any] = json.loads(argv[1])
    command = argv[argv.index("--") + 1 :]
    starter_alive = int(options["alive"])
    if options["unshare"]:
        enter_user_namespace(options["uids"], options["gids"])
    check(libc.unshare(CLONE_NEWNS | CLONE_NEWPID), "mount and PID namespaces cannot be made")
    die_with_parent(starter_alive)
    alive_read, alive_write = os.pipe()
    init = os.fork()
    if init == 0:
        os.close(alive_write)
        die_with_parent(alive_read)
        run_as_init(command, options["fake"])
    return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except OSError as error:
        print(f"cell: {error.strerror}", file=sys.stderr)
        sys.exit(CELL_FAILED)
