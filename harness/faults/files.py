"""Files that are not what they were: a program removed, permissions that a daemon objects to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from harness.errors import UsageError
from harness.faults.base import Fault
from harness.faults.parameters import Parameter
from harness.faults.target import Target

if TYPE_CHECKING:
    from harness.testbed import Testbed

_given: WeakKeyDictionary[Testbed, dict[tuple[str, str], dict[str, str]]] = WeakKeyDictionary()
_PATH = Parameter("path", "", "the file", required=True)


class _File(Fault):
    """What is done to a file on a disk, which outlives its host's reboot."""

    def _prepare(self, targets: list[Target]) -> None:
        for target in targets:
            if not self.testbed.node(target.node).exists(self.values["path"]):
                raise UsageError(f"{target.node} has no file {self.values['path']!r}")

    def _run(self, target: Target, *argv: str) -> str:
        return self._up(target).run(argv)


class FileMissing(_File):
    """A file is gone, such as a program that a check script needs; healed by putting it back."""

    name = "file-missing"
    parameters: ClassVar[tuple[Parameter, ...]] = (_PATH,)

    @property
    def _aside(self) -> str:
        return f"{self.values['path']}.{self.id}"

    def _act(self, target: Target) -> None:
        self._run(target, "mv", self.values["path"], self._aside)

    def _verify(self, target: Target) -> None:
        if self.testbed.node(target.node).exists(self.values["path"]):
            raise self._fails(f"{self.values['path']} is there again")

    def _heal(self, target: Target) -> None:
        self._run(target, "mv", self._aside, self.values["path"])


class FileMode(_File):
    """A file has other permissions, such as a script that others may write to; healed by its own."""

    name = "file-mode"
    parameters: ClassVar[tuple[Parameter, ...]] = (
        _PATH,
        Parameter("mode", "0777", "permissions as of chmod(1): 0777, g+w, a-x"),
    )

    def _modes(self, target: Target) -> dict[str, str]:
        """The permissions that this file was given, its own first and then by fault."""
        return _given.setdefault(self.testbed, {}).setdefault((target.node, self.values["path"]), {})

    def _act(self, target: Target) -> None:
        modes = self._modes(target)
        if not modes:
            modes["own"] = self._run(target, "stat", "-c", "%a", self.values["path"]).strip()
        self._run(target, "chmod", self.values["mode"], self.values["path"])
        modes[self.id] = self.values["mode"]

    def _verify(self, target: Target) -> None:
        """chmod has succeeded."""

    def _heal(self, target: Target) -> None:
        modes = self._modes(target)
        modes.pop(self.id, None)  # none was put where chmod has failed
        for mode in modes.values():
            self._run(target, "chmod", mode, self.values["path"])
        if list(modes) == ["own"]:
            modes.clear()
