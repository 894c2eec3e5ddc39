"""A drill in virtual time, from outside: the guest makes the timeline, and here it is followed."""

from __future__ import annotations

import base64
import dataclasses
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from harness import faults, paths, session
from harness.errors import UsageError, VipdrillError
from harness.plan import Plan
from harness.timeline import Event, Timeline, parse_event
from harness.topology import Topology
from harness.virtual import library
from harness.virtual.guest import Guest


class DrillFailed(VipdrillError):
    """What ended a drill inside of a guest, in its own words and with its own exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(text)


def means(*written: str, kernel: str = "auto") -> tuple[session.Kernel, Path]:
    """What drills of these faults need here beside the node image; raises UsageError or MissingCapability."""
    for fault in written:
        faults.find(faults.split(fault)[0]).check_virtual()
    if kernel == "uml":
        raise UsageError(
            "in virtual time all nodes run on the guest's kernel, which has what IPVS needs: "
            "leave out --kernel uml, or drill in real time"
        )
    clock = library.ensure()
    return session.kernel(), clock


class VirtualStage:
    """A guest carries the plan out; its artifacts are written straight to `folder`.

    `topology` is what is to be built, where that is not the plan's architecture.
    """

    def __init__(
        self,
        plan: Plan,
        image: session.Image,
        kernel: session.Kernel,
        clock: Path,
        folder: Path,
        topology: Topology | None = None,
    ) -> None:
        self.folder = folder
        versions = {**image.versions, "kernel": f"{kernel.release} (User-Mode Linux)"}
        job = {
            "plan": dataclasses.asdict(plan),
            "topology": base64.b64encode(pickle.dumps(topology or plan.topology)).decode(),
            "rootfs": str(image.rootfs),
            "versions": versions,
            "environment": {"VIPDRILL_CACHE": str(paths.cache_dir())},
        }
        self._guest = Guest(job, kernel.rootfs, clock, plan.seed, folder)

    @property
    def timeline(self) -> Timeline:
        """What was seen until now."""
        path = self.folder / "timeline.jsonl"
        # If the guest was ended in the middle of a line, that one is left out.
        return Timeline.load(path, lambda number, why: None) if path.exists() else Timeline()

    def now_ns(self) -> int:
        """The present in the guest."""
        return self._guest.now_ns

    def perform(self, take: Callable[[Event], None]) -> None:
        """Start the guest and follow it to its end. Raises DrillFailed with what went wrong inside."""
        path = self.folder / "timeline.jsonl"
        path.touch()
        with self._guest as guest:
            tail, errors = Tail(path, take), Output(guest.exchange / "stderr", sys.stderr)
            outcome = guest.wait({path: tail.read, errors.path: errors.read})
        if outcome["status"]:
            error = outcome.get("error", {})
            text = error.get("text", f"the drill ended with {outcome['status']} inside the guest")
            raise DrillFailed(text, error.get("exit_code", VipdrillError.exit_code))


class Tail:
    """Follows a timeline that is being written, and hands on each event once it is there."""

    def __init__(self, path: Path, take: Callable[[Event], None]) -> None:
        # Open for good: in the end a timeline in order of time takes this one's place.
        self._file = path.open("rb")
        self._partial, self._take = b"", take

    def read(self) -> None:
        """Take in what has been added."""
        *lines, self._partial = (self._partial + self._file.read()).split(b"\n")
        for line in lines:
            self._take(parse_event(line))


class Output:
    """Passes on what a guest writes to a file of the exchange."""

    def __init__(self, path: Path, out: TextIO) -> None:
        self.path, self._file, self._out = path, path.open("rb"), out

    def read(self) -> None:
        """Pass on what has been added."""
        data = self._file.read()
        if data:
            self._out.write(data.decode(errors="replace"))
            self._out.flush()
