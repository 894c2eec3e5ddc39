"""The user's own way of failing a balancer, for balancers of which only the outside is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target

if TYPE_CHECKING:
    from harness.topology import Topology


class Trip(Fault):
    """The balancer fails by your own command (`--trip`), run on it; healed by another one (`--untrip`)."""

    name = "trip"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("command", "", "shell command that fails the balancer (default: the option --trip)"),
        Parameter("undo", "", "shell command that brings it back (default: the option --untrip)"),
    )

    @classmethod
    def check_options(cls, topology: Topology, given: Mapping[str, object]) -> None:
        """Without a command there is nothing that it could do."""
        if not (given.get("command") or topology.options.get("trip")):
            raise UsageError("the fault trip runs a command of yours: give it with --trip COMMAND")

    def _prepare(self, targets: list[Target]) -> None:
        self.check_options(self.testbed.topology, self.values)

    def _command(self, parameter: str, option: str) -> str:
        return str(self.values[parameter] or self.testbed.topology.options.get(option, ""))

    def _act(self, target: Target) -> None:
        self._run(target, self._command("command", "trip"))

    def _run(self, target: Target, command: str) -> None:
        done = self.testbed.node(target.node).status(["sh", "-c", command])
        if not done.ok:
            said = (done.stderr or done.stdout).strip() or "it said nothing"
            raise self._fails(f"{command!r} on {target} exited with {done.status}: {said}")

    def _verify(self, target: Target) -> None:
        """What it did is for the witnesses outside to tell."""

    def heal(self) -> None:
        """Run the undo command; without one the fault acts to the end."""
        if self.targets and not self._command("undo", "untrip"):
            self.testbed.recorder.emit("note", text=f"{self.id} is not healed: there is no --untrip COMMAND")
            return
        super().heal()

    def _heal(self, target: Target) -> None:
        self._run(target, self._command("undo", "untrip"))
