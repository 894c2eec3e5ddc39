"""The commands' end of the connection to a lab."""

from __future__ import annotations

from typing import Any

from harness.errors import TestbedError, UsageError
from harness.lab.channel import Channel, LabError, Message, connect
from harness.lab.registry import LabInfo


class Client(Channel):
    """Asks a lab and hears its answers; use it in a `with` block."""

    def __init__(self, info: LabInfo) -> None:
        self.info = info
        if not info.is_up:
            raise UsageError(f"the lab {info.name} is being built or taken down just now")
        try:
            super().__init__(connect(info.folder / "socket"))
        except OSError as error:
            raise TestbedError(f"the lab {info.name} does not answer ({error.strerror})") from None

    def ask(self, do: str, *, fds: tuple[int, ...] = (), **fields: Any) -> Any:
        """Have something done: what the lab answers. Raises LabError where it cannot, or has ended."""
        try:
            self.send({"do": do, **fields}, fds)
        except OSError:
            raise self.gone() from None
        return self.answer()

    def answer(self) -> Any:
        """The answer to what was asked before; what else comes meanwhile is passed over."""
        while (message := self.read()) is not None:
            checked(message)
            if "ok" in message:
                return message["ok"]
        raise self.gone()

    def gone(self) -> LabError:
        """The error for a lab that ended meanwhile."""
        return LabError(f"the lab {self.info.name} has ended", TestbedError.exit_code)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def checked(message: Message) -> Message:
    """The message; raises LabError if it is the lab's refusal."""
    if "error" in message:
        raise LabError(str(message["error"]), int(message.get("exit_code", TestbedError.exit_code)))
    return message
